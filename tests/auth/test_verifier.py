"""Tokens, honest and hostile, against each kind of key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from caching_proxy.auth.keys import KeyConfigError, StaticKeys, TokenConfig, trusted
from caching_proxy.auth.verifier import TokenVerifier, default_algorithms, key_source, token_verifier
from caching_proxy.core.messages import Fields, RequestHead
from caching_proxy.core.role import OPAQUE, isolated, role_of
from caching_proxy.interfaces import Identity, ITokenVerifier

NOW = 1_700_000_000.0
SECRET = b"a secret that is long enough for HS256, surely"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
INVALID = Identity(None, "invalid")
ANONYMOUS = Identity(b"anonymous", "anonymous")
UNKNOWN = Identity(OPAQUE.identifier, "opaque", established=False)


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def clock_at(now=NOW):
    clock = Clock()
    clock.advance(now)
    return clock


def verifier(clock=None, **config):
    return token_verifier(TokenConfig(**config), clock or clock_at())


def request(*authorization):
    return RequestHead(b"GET", b"/", Fields((b"Authorization", value) for value in authorization))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(**extra):
    return {"exp": int(NOW) + 60, "roles": ["editor"], **extra}


def token(key=SECRET, algorithm="HS256", headers=None, **extra):
    return jwt.encode(claims(**extra), key, algorithm, headers).encode()


def raw(header, payload, key=SECRET):
    """A token whose parts are exactly these, signed with HS256 whatever the header says."""
    parts = [b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)]
    signed = b".".join(parts)
    return signed + b"." + b64(hmac.new(key, signed, hashlib.sha256).digest())


HS = {"alg": "HS256", "typ": "JWT"}


def test_verifier_provides_its_interface():
    assert verifyObject(ITokenVerifier, verifier(secret=SECRET))


def test_no_authorization_is_anonymous():
    assert verifier(secret=SECRET).identify(request()) == ANONYMOUS


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["editor"], b"editor"),
        (["b", "a"], b"a-b"),
        (["administrator", "x"], b"admin"),
        ("editor", b"editor"),
        ([], b"authenticated"),
        (None, b"authenticated"),
        (7, b"authenticated"),
        ({"a": 1}, b"authenticated"),
        (["a", 1], b"authenticated"),
        ([["administrator"]], b"authenticated"),
        (["anonymous"], b"%61nonymous"),
        (["a:b*/%\n"], b"a%3Ab%2A%2F%25%0A"),
        (["é"], b"%C3%A9"),
        (["\ud800"], b"%ED%A0%80"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_roles_of_a_verified_token(roles, expected):
    identity = verifier(secret=SECRET).identify(request(b"Bearer " + raw(HS, claims(roles=roles))))
    assert (identity.role, identity.established) == (expected, True)


def test_very_many_roles_still_make_a_short_identifier():
    identity = verifier(secret=SECRET).identify(request(b"Bearer " + token(roles=[f"r{n}" for n in range(300)])))
    assert identity.role is not None
    assert len(identity.role) <= 200


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER  ", b" Bearer \t"])
def test_scheme_is_case_insensitive(scheme):
    assert verifier(secret=SECRET).identify(request(scheme + token())).role == b"editor"


@pytest.mark.parametrize("claim", ["realm_access.roles", "https://example.org/roles"])
def test_roles_claim_is_a_path(claim):
    value = token(realm_access={"roles": ["r"]}, **{"https://example.org/roles": ["r"]})
    assert verifier(secret=SECRET, roles_claim=claim).identify(request(b"Bearer " + value)).role == b"r"


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
        ({"audience": "us"}, {"aud": "us"}, True),
        ({"audience": "us"}, {"aud": ["them", "us"]}, True),
        ({"audience": "us"}, {"aud": "them"}, False),
        ({"audience": "us"}, {}, False),
        ({"audience": "us"}, {"aud": 7}, False),
        ({"audience": "us"}, {"aud": [7]}, False),
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


def test_isolated_tokens_never_share():
    subject = verifier()
    first, second = token(roles=["administrator"]), token(roles=["administrator"], jti="2")
    one, two = (subject.identify(request(b"Bearer " + each)) for each in (first, second))
    assert one == Identity(isolated(role_of({"roles": "administrator"}), first).identifier, "admin")
    assert one.role != two.role
    assert one.role.startswith(b"admin~")


def test_isolation_ignores_spelling_of_the_scheme():
    subject, value = verifier(), token()
    assert subject.identify(request(b"Bearer " + value)) == subject.identify(request(b"bearer  " + value))


def test_trusted_tokens_share_by_role():
    subject = verifier(trust="trust")
    assert subject.identify(request(b"Bearer " + raw(HS, claims(), b"anything"))) == Identity(b"editor", "editor")


@pytest.mark.parametrize("trust", ["isolate", "trust"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (token(exp=int(NOW)), INVALID),
        (token(nbf=int(NOW) + 9), INVALID),
        (raw({"alg": "none"}, claims()), INVALID),
        (raw(HS, claims(exp="x")), INVALID),
        (b"a.b.c", UNKNOWN),
        (b"..", UNKNOWN),
        (raw(b"not json", claims()), UNKNOWN),
        (raw(HS, [1]), UNKNOWN),
    ],
    ids=["expired", "early", "none", "bad-exp", "abc", "dots", "bad-header", "list"],
)
def test_without_a_key(trust, value, expected):
    assert verifier(trust=trust).identify(request(b"Bearer " + value)) == expected


def test_without_a_key_exp_may_be_missing():
    assert verifier(trust="trust").identify(request(b"Bearer " + raw(HS, {"roles": "x"}))).role == b"x"


def test_remembered_until_exp():
    clock = clock_at()
    subject = verifier(clock, secret=SECRET, leeway=2.0)
    value = b"Bearer " + token(exp=int(NOW) + 60)
    assert subject.remembered(value) is None
    identity = subject.identify(request(value))
    clock.advance(61.5)
    assert subject.remembered(value) is identity
    assert subject.identify(request(value)) is identity
    clock.advance(0.5)
    assert subject.remembered(value) is None
    assert subject.identify(request(value)) == INVALID


def test_remembered_for_five_minutes_and_then_judged_again():
    clock = clock_at()
    subject = verifier(clock, secret=SECRET)
    value = b"Bearer " + token(exp=int(NOW) + 86400)
    subject.identify(request(value))
    clock.advance(299.9)
    assert subject.remembered(value) == Identity(b"editor", "editor")
    clock.advance(0.1)
    assert subject.remembered(value) is None
    assert subject.identify(request(value)).role == b"editor"


def test_a_token_that_was_early_is_accepted_later():
    clock = clock_at()
    subject = verifier(clock, secret=SECRET)
    value = b"Bearer " + token(nbf=int(NOW) + 10)
    assert subject.identify(request(value)) == INVALID
    clock.advance(10)
    assert subject.identify(request(value)).role == b"editor"


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
        (ED.public_key(), ("EdDSA",)),
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
    for config in ({"secret": SECRET, "audience": "x", "issuer": "y"}, {"trust": "trust"}, {}):
        identity = verifier(**config).identify(request(b"Bearer " + raw(HS, values)))
        assert identity == INVALID or identity.role
