"""``OTEL_EXPORTER_OTLP_ENDPOINT``: a URL, and nothing without the extra."""

from __future__ import annotations

import pytest

from caching_proxy.settings import checks
from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError

NAME = "OTEL_EXPORTER_OTLP_ENDPOINT"


def settings(**given: str) -> Settings:
    return load({"BACKEND_URL": "http://b", **given}, {}, {})[0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://otel.example/base", "http://[::1]:4318/"])
def test_collectors(url: str) -> None:
    assert settings(**{NAME: url}).otel_exporter_otlp_endpoint == url


def test_nobody_is_told_by_default() -> None:
    assert settings().otel_exporter_otlp_endpoint is None


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4318",
        "grpc://h:4317",
        "http://",
        "http:///v1",
        "http://h:0",
        "http://h:x",
        "http://u:p@h",
        "http://h?a",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match=NAME):
        settings(**{NAME: url})


def test_the_extra_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "traces", lambda: False)
    with pytest.raises(SettingsError, match=r"\[otel\]"):
        settings(**{NAME: "http://127.0.0.1:4318"})
