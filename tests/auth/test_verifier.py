"""Which Authorization fields a verifier accepts: tokens honest and hostile, against each kind of key."""

from __future__ import annotations

import json
import math

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tokens import (
    ANONYMOUS,
    EC,
    ED,
    HS,
    INVALID,
    NOW,
    OTHER_RSA,
    RSA,
    SECRET,
    UNKNOWN,
    b64,
    claims,
    pem,
    raw,
    request,
    token,
    verifier,
)
from zope.interface.verify import verifyObject

from caching_proxy.interfaces import Identity, ITokenVerifier


def test_verifier_provides_its_interface():
    assert verifyObject(ITokenVerifier, verifier(secret=SECRET))


def test_no_authorization_is_anonymous():
    assert verifier(secret=SECRET).identify(request()) == ANONYMOUS


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  ", b" Bearer \t"])
def test_scheme_is_case_insensitive(scheme):
    assert verifier(secret=SECRET).identify(request(scheme + token())).role == b"editor"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")],
    ids=["rs256", "rs512", "ps256", "es256", "eddsa"],
)
def test_public_keys_verify(key, algorithm):
    assert verifier(public_key=pem(key)).identify(request(b"Bearer " + token(key, algorithm))).role == b"editor"


FORGERIES = {
    "alg-none": raw({"alg": "none"}, claims()),
    "alg-none-unsigned": b64(b'{"alg":"none"}') + b"." + b64(json.dumps(claims()).encode()) + b".",
    "alg-None": raw({"alg": "NoNe"}, claims()),
    "alg-missing": raw({"typ": "JWT"}, claims()),
    "alg-list": raw({"alg": ["HS256"]}, claims()),
    "alg-number": raw({"alg": 7}, claims()),
    "hs-with-public-key": raw(HS, claims(), pem(RSA)),
    "hs384-of-another-secret": token(b"x" * 64, "HS384"),
    "other-key": token(OTHER_RSA, "RS256"),
    "other-key-type": token(EC, "ES256"),
    "jku": token(OTHER_RSA, "RS256", {"jku": "http://127.0.0.1:1/keys", "kid": "x"}),
    "x5u": token(OTHER_RSA, "RS256", {"x5u": "http://127.0.0.1:1/cert"}),
    "embedded-jwk": token(
        OTHER_RSA, "RS256", {"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))}
    ),
    "crit": raw({"alg": "HS256", "crit": ["exp"], "exp": 1}, claims()),
    "b64-false": raw({"alg": "HS256", "b64": False, "crit": ["b64"]}, b""),
    "kid-number": raw({"alg": "HS256", "kid": 1}, claims()),
    "kid-path": raw({"alg": "HS256", "kid": "../../../dev/null"}, claims(), b""),
    "header-deep": raw(b'{"alg":"HS256","x":' + b"[" * 2500 + b"]" * 2500 + b"}", claims()),
    "empty-signature": token(RSA, "RS256").rpartition(b".")[0] + b".",
    "cut": token(RSA, "RS256")[:-4],
    "junk-in-signature": token(RSA, "RS256")[:-4] + b"!!!!",
    "malformed-base64": b"eyJhbGciOiJIUzI1NiJ9.%%%.AAAA",
    "empty-parts": b"..",
    "not-json": raw(b"\xff\xfe", claims()),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_tokens_bypass_a_public_key(name):
    subject = verifier(public_key=pem(RSA))
    value = b"Bearer " + FORGERIES[name]
    assert subject.identify(request(value)) == INVALID
    assert subject.remembered(value) is None


@pytest.mark.parametrize("algorithms", [(), ("RS256", "HS256")], ids=["default", "both-configured"])
def test_a_public_key_is_never_a_secret(algorithms):
    subject = verifier(public_key=pem(RSA), algorithms=algorithms)
    assert subject.identify(request(b"Bearer " + raw(HS, claims(roles="administrator"), pem(RSA)))) == INVALID


@pytest.mark.parametrize(
    "payload",
    [
        {"roles": ["a"]},
        claims(exp=None),
        claims(exp=int(NOW)),
        claims(exp=int(NOW) - 1),
        claims(exp=str(int(NOW) + 60)),
        claims(exp=True),
        claims(exp=[int(NOW) + 60]),
        claims(exp=10**400),
        claims(exp=math.inf),
        claims(exp=math.nan),
        claims(nbf=int(NOW) + 1),
        claims(nbf="soon"),
        claims(nbf=-math.inf),
        [],
        "text",
        b"{" * 3000,
        b"[" * 5000,
        b'{"exp":' + b"9" * 5000 + b"}",
        b"",
        b"\x00",
    ],
    ids=lambda value: repr(value)[-28:],
)
def test_signed_tokens_that_do_not_hold_bypass(payload):
    assert verifier(secret=SECRET).identify(request(b"Bearer " + raw(HS, payload))) == INVALID


@pytest.mark.parametrize(
    ("config", "extra", "good"),
    [
        ({"audience": ("us",)}, {"aud": "us"}, True),
        ({"audience": ("us",)}, {"aud": ["them", "us"]}, True),
        ({"audience": ("us",)}, {"aud": "them"}, False),
        ({"audience": ("us",)}, {}, False),
        ({"audience": ("us",)}, {"aud": 7}, False),
        ({"audience": ("us",)}, {"aud": [7]}, False),
        ({}, {"aud": "them"}, True),
        ({"issuer": "i"}, {"iss": "i"}, True),
        ({"issuer": "i"}, {"iss": "j"}, False),
        ({"issuer": "i"}, {}, False),
        ({"issuer": "i"}, {"iss": ["i"]}, False),
        ({}, {"sub": 42}, True),
        ({}, {"jti": 42, "iat": "yesterday"}, True),
        ({"leeway": 5.0}, {"exp": int(NOW) - 4}, True),
        ({"leeway": 5.0}, {"exp": int(NOW) - 5}, False),
        ({"leeway": 5.0}, {"nbf": int(NOW) + 5}, True),
        ({"leeway": 5.0}, {"nbf": int(NOW) + 6}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("keyed", [True, False], ids=["key", "no-key"])
def test_claims_that_decide(config, extra, good, keyed):
    subject = verifier(secret=SECRET if keyed else None, trust="trust", **config)
    identity = subject.identify(request(b"Bearer " + raw(HS, claims(**extra))))
    assert identity == (Identity(b"editor", "editor") if good else INVALID)


@pytest.mark.parametrize(
    "values",
    [
        (b"Bearer " + token(), b"Bearer " + token()),
        (b"Bearer " + token(), b"Basic eDp5"),
        (b"Bearer " + token() + b", Bearer " + token(),),
        (b"Bearer " + token() + b"," + token(),),
        (b"Bearer " + token() + b" " + token(),),
        (b"Bearer " + raw(HS, claims(fill="x" * 8192)),),
        (b"Basic " + b"x" * 9000,),
    ],
    ids=["twice", "two-schemes", "list", "comma", "space", "huge", "huge-basic"],
)
@pytest.mark.parametrize("config", [{"secret": SECRET}, {}, {"trust": "trust"}], ids=["key", "isolate", "trust"])
def test_several_or_huge_credentials_bypass(values, config):
    assert verifier(**config).identify(request(*values)) == INVALID


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic eDp5",
        b"Bearer opaque-token",
        b"Digest a=b, c=d",
        b"Bearer a.b.c.d.e",
        b"\xff",
    ],
    ids=repr,
)
@pytest.mark.parametrize("config", [{"secret": SECRET}, {}, {"trust": "trust"}], ids=["key", "isolate", "trust"])
def test_other_credentials_are_never_anonymous(value, config):
    assert verifier(**config).identify(request(value)) == UNKNOWN


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.lists(st.binary(max_size=20), min_size=3, max_size=3).map(
            lambda parts: b"Bearer " + b".".join(map(b64, parts))
        ),
    )
)
def test_any_field_value_has_an_answer_and_only_signed_ones_a_role(value):
    identity = verifier(secret=SECRET).identify(request(value))
    assert identity in (INVALID, UNKNOWN)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.dictionaries(st.sampled_from(["exp", "nbf", "aud", "iss", "sub", "roles", "iat", "jti"]), json_values))
def test_any_claims_have_an_answer(values):
    for config in ({"secret": SECRET, "audience": ("x",), "issuer": "y"}, {"trust": "trust"}, {}):
        identity = verifier(**config).identify(request(b"Bearer " + raw(HS, values)))
        assert identity == INVALID or identity.role
