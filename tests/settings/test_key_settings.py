"""Keys for tokens in the settings: what is wrong is said in one line with the variable and the reason."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.authority import Authority, dns, pem_key
from support.tokens import EC, ED, RSA, SECRET, pem

from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError

CERTIFICATE, KEY = Authority().issue(*dns("a"))
PEM = CERTIFICATE.public_bytes(Encoding.PEM)


def settings(**environment: str) -> Settings:
    return load({"BACKEND_URL": "http://localhost", **environment}, {}, {})[0]


@pytest.mark.parametrize("text", [pem(RSA), pem(EC), pem(ED), PEM], ids=["rsa", "ec", "ed", "certificate"])
def test_a_key_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(text)
    assert settings(JWT_PUBLIC_KEY_FILE=str(path)).jwt_public_key == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no public key"),
        (b"junk", "no public key"),
        (pem_key(KEY), "private key"),
        (PEM[:200], "no public key"),
    ],
    ids=["empty", "junk", "private", "half"],
)
def test_a_key_file_of_no_use(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=reason) as caught:
        settings(JWT_PUBLIC_KEY_FILE=str(path))
    assert caught.value.variable == "JWT_PUBLIC_KEY_FILE"
    assert "\n" not in str(caught.value)


def test_a_key_file_that_is_not_there() -> None:
    with pytest.raises(SettingsError, match="No such file"):
        settings(JWT_PUBLIC_KEY_FILE="/nonexistent/key.pem")


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [("rsa", "ES256"), ("ec", "RS256"), ("ec", "ES384"), ("ed", "Ed448"), ("rsa", "HS256")],
)
def test_algorithms_that_do_not_fit(tmp_path: Path, kind: str, algorithms: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem({"rsa": RSA, "ec": EC, "ed": ED}[kind]))
    with pytest.raises(SettingsError, match="fit the key") as caught:
        settings(JWT_PUBLIC_KEY_FILE=str(path), JWT_ALGORITHMS=algorithms)
    assert caught.value.variable == "JWT_ALGORITHMS"


def test_a_secret_in_base64() -> None:
    raw = bytes(range(256))
    for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        made = settings(JWT_SECRET_BASE64=text.decode())
        assert made.jwt_secret_base64 == raw
        assert made.verifies_tokens
        assert text.decode() not in repr(made)


def test_secrets_that_are_none() -> None:
    with pytest.raises(SettingsError, match="base64") as caught:
        settings(JWT_SECRET_BASE64="not base64!")
    assert "not base64!" not in str(caught.value)
    with pytest.raises(SettingsError, match="PEM or SSH"):
        settings(JWT_SECRET=pem(RSA).decode())
    with pytest.raises(SettingsError, match="only one of"):
        settings(JWT_SECRET=SECRET.decode(), JWT_SECRET_BASE64="YWFh")


def test_audiences_are_a_list() -> None:
    assert settings(JWT_AUDIENCE="a, b ,c").jwt_audience == ("a", "b", "c")
    assert settings().jwt_audience == ()
