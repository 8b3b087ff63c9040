"""The keys of a verifier: which settings are refused, what algorithms each kind allows, and keys that cannot be had."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support.tokens import EC, ED, INVALID, OTHER_RSA, RSA, SECRET, clock_at, pem, request, token, verifier

from caching_proxy.auth.keys import KeyConfigError, StaticKeys, TokenConfig, trusted
from caching_proxy.auth.verifier import TokenVerifier, default_algorithms, key_source


def test_key_source_that_raises_is_a_bypass_and_a_log_line():
    class Broken:
        def keys_for(self, algorithm, kid):
            raise RuntimeError("boom")

        def stop(self):
            """Nothing to stop."""

    subject = TokenVerifier(TokenConfig(), clock_at(), Broken())
    failures = []
    subject._log.failure = lambda *args, **kwargs: failures.append(args)
    assert subject.identify(request(b"Bearer " + token())) == INVALID
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (SECRET, ("HS256",)),
        (RSA.public_key(), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (EC.public_key(), ("ES256",)),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), ("ES384",)),
        (ec.generate_private_key(ec.SECP521R1()).public_key(), ("ES512",)),
        (ED.public_key(), ("EdDSA", "Ed25519")),
    ],
    ids=["secret", "rsa", "p256", "p384", "p521", "ed25519"],
)
def test_default_algorithms(key, expected):
    assert default_algorithms(key) == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"secret": SECRET, "public_key": pem(RSA)}, "several"),
        ({"secret": b""}, "empty"),
        ({"secret": pem(RSA)}, "PEM"),
        ({"secret": SECRET, "algorithms": ("RS256",)}, "cannot be used"),
        ({"secret": SECRET, "algorithms": ("none",)}, "not an algorithm"),
        ({"public_key": pem(RSA), "algorithms": ("HS256",)}, "cannot be used"),
        ({"public_key": b"rubbish"}, "PEM form"),
        ({"public_key": pem(ec.generate_private_key(ec.SECP192R1()))}, "curve"),
        ({"public_key": pem(rsa.generate_private_key(65537, 1024))}, "too short"),
        (
            {
                "public_key": EC.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            },
            "private",
        ),
        ({"jwks_url": "https://example.org/keys"}, "client"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_keys_are_refused(config, reason):
    with pytest.raises(KeyConfigError, match=reason):
        key_source(TokenConfig(**config), clock_at())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/keys", "keys.json", "https://"])
def test_jwks_addresses_are_http(url):
    with pytest.raises(KeyConfigError, match="http"):
        key_source(TokenConfig(jwks_url=url), clock_at(), client=object())


def test_several_algorithms_are_narrowed_to_the_key():
    assert trusted(SECRET, ("RS256", "HS512")).algorithms == ("HS512",)
    subject = verifier(secret=SECRET, algorithms=("HS512",))
    assert subject.identify(request(b"Bearer " + token())) == INVALID


def test_kid_only_narrows():
    keys = StaticKeys([trusted(RSA.public_key(), kid="a"), trusted(OTHER_RSA.public_key(), kid="b")])
    subject = TokenVerifier(TokenConfig(), clock_at(), keys)

    def role(key, kid):
        return subject.identify(request(b"Bearer " + token(key, "RS256", kid and {"kid": kid}))).role

    assert role(RSA, "a") == role(OTHER_RSA, "b") == role(OTHER_RSA, None) == b"editor"
    assert role(RSA, "b") is role(OTHER_RSA, "a") is role(RSA, "c") is None


@pytest.mark.filterwarnings("error")
def test_a_short_secret_works_without_a_warning_a_token():
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        value = token(b"short")
    subject = verifier(secret=b"short")
    assert trusted(b"short").weak
    assert subject.identify(request(b"Bearer " + value)).role == b"editor"


def test_no_secret_in_representations():
    assert SECRET.decode() not in repr(TokenConfig(secret=SECRET)) + repr(trusted(SECRET))
