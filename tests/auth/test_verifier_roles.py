"""The role that a token gives, with a key and without one, and how long it is remembered."""

from __future__ import annotations

import pytest
from support.tokens import HS, INVALID, NOW, SECRET, UNKNOWN, claims, clock_at, raw, request, token, verifier

from caching_proxy.interfaces import Identity
from caching_proxy.rules.role import isolated, role_of


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["editor"], b"editor"),
        (["b", "a"], b"a-b"),
        (["administrator", "x"], b"admin"),
        ("editor", b"editor"),
        ([], b"authenticated"),
        (None, b"authenticated"),
        ("", b"authenticated"),
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


@pytest.mark.parametrize("claim", ["realm_access.roles", "https://example.org/roles"])
def test_roles_claim_is_a_path(claim):
    value = token(realm_access={"roles": ["r"]}, **{"https://example.org/roles": ["r"]})
    assert verifier(secret=SECRET, roles_claim=claim).identify(request(b"Bearer " + value)).role == b"r"


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


@pytest.mark.parametrize(
    "value",
    [b"Basic eDp5", b"", b"Bearer", b"Bearer opaque", b"bearer  a.b ", b"Bearer a, b", b"Bearer " + b"a" * 9000],
)
def test_what_is_no_token_is_plain_to_see(value):
    subject = verifier(secret=SECRET)
    seen = subject.remembered(value)
    assert seen is not None
    assert seen is subject.identify(request(value))


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


def test_what_is_remembered_of_good_tokens_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr("caching_proxy.auth.verifier.GOOD_BYTES", 20_000)
    clock = clock_at()
    subject = verifier(clock, secret=SECRET)
    values = [b"Bearer " + token(exp=int(NOW) + 60, jti=str(n)) for n in range(200)]
    for value in values:
        assert subject.identify(request(value)).role == b"editor"
    held = [value for value in values if subject.remembered(value)]
    assert 0 < sum(len(value) for value in held) <= 40_000
    assert values[-1] in held


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
