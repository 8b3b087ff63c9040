"""Claims and tokens that are there but not understood: doubt, so the cache is passed by."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import Encoding
from support.authority import Authority, dns
from support.tokens import ED, HS, INVALID, NOW, SECRET, b64, claims, clock_at, pem, raw, request, token, verifier

from caching_proxy.auth.keys import KeyConfigError, load_public_key

UNCLEAR = [
    ([{"name": "admin"}], "a list of object"),
    (["admin", 1], "a list of number and string"),
    ([["administrator"]], "a list of list"),
    ([None], "a list of null"),
    ([True], "a list of boolean"),
    ({"admin": True}, "one object"),
    (7, "one number"),
    (0, "one number"),
    (False, "one boolean"),
    (True, "one boolean"),
    ({}, "one object"),
]


@pytest.mark.parametrize("config", [{"secret": SECRET}, {}, {"trust": "trust"}], ids=["key", "isolate", "trust"])
@pytest.mark.parametrize(("roles", "shape"), UNCLEAR, ids=[shape + repr(roles)[:12] for roles, shape in UNCLEAR])
def test_a_roles_claim_that_is_not_understood(config, roles, shape, logged_lines):
    identity = verifier(**config).identify(request(b"Bearer " + raw(HS, claims(roles=roles))))
    assert identity == INVALID
    [(level, text)] = logged_lines
    assert level == "warn"
    assert f"the claim roles of a token is {shape}," in text
    assert "admin" not in text


def test_something_else_on_the_way_to_the_claim(logged_lines):
    subject = verifier(secret=SECRET, roles_claim="realm_access.roles")
    assert subject.identify(request(b"Bearer " + token(realm_access="all"))) == INVALID
    assert subject.identify(request(b"Bearer " + token(realm_access=None))).role == b"authenticated"
    assert subject.identify(request(b"Bearer " + token())).role == b"authenticated"
    assert len(logged_lines) == 1


def test_one_warning_a_minute(logged_lines):
    clock = clock_at()
    subject = verifier(clock, secret=SECRET)
    for n in range(200):
        subject.identify(request(b"Bearer " + token(roles=[n], exp=int(NOW) + 1000)))
        clock.advance(0.5)
    assert len(logged_lines) == 2


PAYLOAD = json.dumps(claims(roles=["administrator"]))
ENCODED = [PAYLOAD.encode(name) for name in ("utf-16", "utf-16-le", "utf-32-be", "utf-8-sig")]
ENCODED.append(PAYLOAD.replace("administrator", "é").encode("latin-1"))


@pytest.mark.parametrize("config", [{"secret": SECRET}, {}, {"trust": "trust"}], ids=["key", "isolate", "trust"])
@pytest.mark.parametrize("payload", ENCODED, ids=["utf-16", "utf-16-le", "utf-32", "mark", "latin-1"])
def test_a_payload_that_is_not_utf_8(config, payload):
    assert verifier(**config).identify(request(b"Bearer " + raw(HS, payload))) == INVALID


@pytest.mark.parametrize("header", [json.dumps(HS).encode("utf-16"), b"\xff\xfe"], ids=["utf-16", "bytes"])
def test_a_header_that_is_not_utf_8_is_no_token(header):
    assert verifier(secret=SECRET).identify(request(b"Bearer " + raw(header, claims()))) == INVALID
    assert not verifier().identify(request(b"Bearer " + raw(header, claims()))).established


# -- names of algorithms (RFC 9864), certificates, audiences, sizes


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_the_names_of_an_edwards_key(name):
    signed = b64(json.dumps({"alg": name}).encode()) + b"." + b64(json.dumps(claims()).encode())
    value = signed + b"." + b64(ED.sign(signed))
    subject = verifier(public_key=pem(ED))
    assert subject.identify(request(b"Bearer " + value)).role == b"editor"
    assert verifier(public_key=pem(ED), algorithms=(name,)).identify(request(b"Bearer " + value)).role == b"editor"
    other = "EdDSA" if name == "Ed25519" else "Ed25519"
    assert verifier(public_key=pem(ED), algorithms=(other,)).identify(request(b"Bearer " + value)) == INVALID


def test_the_name_of_one_curve_is_not_for_a_key_of_the_other():
    large = ed448.Ed448PrivateKey.generate()
    signed = b64(json.dumps({"alg": "Ed25519"}).encode()) + b"." + b64(json.dumps(claims()).encode())
    value = signed + b"." + b64(large.sign(signed))
    assert verifier(public_key=pem(large)).identify(request(b"Bearer " + value)) == INVALID


def test_a_certificate_is_a_public_key():
    certificate, key = Authority().issue(*dns("a"))
    loaded = load_public_key(certificate.public_bytes(Encoding.PEM))
    assert loaded == key.public_key()
    with pytest.raises(KeyConfigError, match="PEM"):
        load_public_key(b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"junk") + b"\n-----END CERTIFICATE-----\n")


def test_one_of_several_audiences():
    subject = verifier(secret=SECRET, audience=("a", "b"))
    assert subject.identify(request(b"Bearer " + token(aud="b"))).role == b"editor"
    assert subject.identify(request(b"Bearer " + token(aud=["x", "a"]))).role == b"editor"
    assert subject.identify(request(b"Bearer " + token(aud="c"))) == INVALID
    assert subject.identify(request(b"Bearer " + token())) == INVALID


@pytest.mark.parametrize(("limit", "role"), [(20_000, b"editor"), (100, None)])
def test_the_size_that_is_looked_into(limit, role):
    value = b"Bearer " + token(pad="x" * 8000)
    assert verifier(secret=SECRET, max_bytes=limit).identify(request(value)).role == role
