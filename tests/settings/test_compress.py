"""COMPRESS: which codings, in which order, and what they need."""

from __future__ import annotations

import pytest

from caching_proxy.settings import checks
from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError


def settings(**environment: str) -> Settings:
    return load({"BACKEND_URL": "http://localhost", **environment}, {}, {})[0]


@pytest.mark.parametrize(
    ("text", "codings"),
    [("off", ()), ("OFF", ()), ("gzip", (b"gzip",)), (" br , GZIP,zstd", (b"br", b"gzip", b"zstd"))],
)
def test_codings(text: str, codings: tuple[bytes, ...]) -> None:
    assert settings(COMPRESS=text).compress == codings


def test_off_by_default() -> None:
    assert settings().compress == ()
    assert settings().compress_min_bytes == 1024


@pytest.mark.parametrize(("missing", "value"), [(b"br", "gzip,br"), (b"zstd", "zstd")])
def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, missing: bytes, value: str) -> None:
    monkeypatch.setattr(checks, "available", lambda coding: coding != missing)
    with pytest.raises(SettingsError, match=r"\[compress\]") as raised:
        settings(COMPRESS=value)
    assert "COMPRESS" in str(raised.value)
