"""PEM files in the settings: a wrong one stops the start with a line that names variable, file and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.authority import Authority, dns, pem_key

from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError

AUTHORITY = Authority()


def settings(**environment: str) -> Settings:
    return load({"BACKEND_URL": "https://localhost", **environment}, {}, {})[0]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    certificate, key = AUTHORITY.issue(*dns("localhost"))
    _, other = AUTHORITY.issue(*dns("other"))
    contents = {
        "ca": AUTHORITY.pem,
        "certificate": certificate.public_bytes(Encoding.PEM),
        "key": pem_key(key),
        "other": pem_key(other),
        "junk": b"junk",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: str(tmp_path / name) for name in (*contents, "missing")}


@pytest.mark.parametrize(("prefix", "attribute"), [("BACKEND", "backend_tls"), ("CACHE", "cache_tls")])
def test_all_three(files: dict[str, str], prefix: str, attribute: str) -> None:
    made = settings(
        **{
            f"{prefix}_CA_FILE": files["ca"],
            f"{prefix}_CERT_FILE": files["certificate"],
            f"{prefix}_KEY_FILE": files["key"],
        }
    )
    config = getattr(made, attribute)
    assert config.authorities == (AUTHORITY.certificate,)
    assert len(config.chain) == 1
    assert config.key is not None
    assert config.verify


def test_the_key_sets_authority(files: dict[str, str]) -> None:
    assert settings(JWT_JWKS_CA_FILE=files["ca"]).jwks_tls.authorities == (AUTHORITY.certificate,)


def test_unverified(files: dict[str, str]) -> None:
    assert not settings(BACKEND_TLS_VERIFY="false").backend_tls.verify


@pytest.mark.parametrize(
    ("given", "variable", "reason"),
    [
        ({"BACKEND_CA_FILE": "missing"}, "BACKEND_CA_FILE", "No such file"),
        ({"BACKEND_CA_FILE": "junk"}, "BACKEND_CA_FILE", "no PEM certificates"),
        ({"CACHE_CA_FILE": "key"}, "CACHE_CA_FILE", "no PEM certificates"),
        ({"JWT_JWKS_CA_FILE": "junk"}, "JWT_JWKS_CA_FILE", "no PEM certificates"),
        ({"BACKEND_CERT_FILE": "certificate"}, "BACKEND_CERT_FILE", "BACKEND_KEY_FILE to be set as well"),
        ({"CACHE_KEY_FILE": "key"}, "CACHE_KEY_FILE", "CACHE_CERT_FILE to be set as well"),
        (
            {"BACKEND_CERT_FILE": "certificate", "BACKEND_KEY_FILE": "other"},
            "BACKEND_KEY_FILE",
            "not the key of the certificate",
        ),
        ({"CACHE_CERT_FILE": "certificate", "CACHE_KEY_FILE": "ca"}, "CACHE_KEY_FILE", "no PEM private key"),
    ],
)
def test_what_cannot_work(files: dict[str, str], given: dict[str, str], variable: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{name: files[file] for name, file in given.items()})
    line = str(caught.value)
    assert line.startswith(f"{variable}: ")
    assert reason in line
    assert "\n" not in line
