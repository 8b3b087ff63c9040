"""Role identifiers: SPEC section 4."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.role import ADMIN, ANONYMOUS, AUTHENTICATED, OPAQUE, Role, UnclearRoles, isolated, role_of

BUILT_IN = {role.identifier for role in (ADMIN, ANONYMOUS, AUTHENTICATED, OPAQUE)}
DIGEST = re.compile(rb"~[0-9a-f]{32}")


@pytest.mark.parametrize(
    ("claim", "identifier"),
    [
        pytest.param(["user"], b"user", id="one"),
        pytest.param("user", b"user", id="string"),
        pytest.param(["b", "a", "b"], b"a-b", id="sorted-once"),
        pytest.param(["user", "administrator"], b"admin", id="admin"),
        pytest.param("administrator", b"admin", id="admin-string"),
        pytest.param("administrators", b"administrators", id="not-admin"),
        pytest.param([], b"authenticated", id="empty-list"),
        pytest.param(None, b"authenticated", id="null"),
        pytest.param("", b"authenticated", id="empty-text"),
        pytest.param([""], b"%", id="empty-name"),
        pytest.param(["", "a"], b"%-a", id="empty-name-and-more"),
        pytest.param(["a-b"], b"a%2Db", id="hyphen"),
        pytest.param(["a:b*/%\n~"], b"a%3Ab%2A%2F%25%0A%7E", id="syntax"),
        pytest.param(["Ab_9.x"], b"Ab_9.x", id="kept"),
        pytest.param(["é"], b"%C3%A9", id="utf-8"),
        pytest.param(["\ud800"], b"%ED%A0%80", id="lone-surrogate"),
        pytest.param(["admin"], b"%61dmin", id="literal-admin"),
        pytest.param(["anonymous", "x"], b"%61nonymous-x", id="literal-anonymous"),
        pytest.param(["authenticated"], b"%61uthenticated", id="literal-authenticated"),
        pytest.param(["opaque"], b"%6Fpaque", id="literal-opaque"),
        pytest.param(["ADMIN"], b"ADMIN", id="case-matters"),
    ],
)
def test_identifier(claim: object, identifier: bytes) -> None:
    assert role_of({"roles": claim}) == Role(identifier, identifier.decode())


@pytest.mark.parametrize(
    ("claims", "path", "identifier"),
    [
        pytest.param({}, "roles", b"authenticated", id="absent"),
        pytest.param({"realm_access": {"roles": ["a"]}}, "realm_access.roles", b"a", id="dotted"),
        pytest.param({"https://x.y/roles": ["a"]}, "https://x.y/roles", b"a", id="dots-in-name"),
        pytest.param({"https://x.y/": {"roles": "a"}}, "https://x.y/.roles", b"a", id="dots-in-outer-name"),
        pytest.param({"a.b": "name", "a": {"b": "path"}}, "a.b", b"name", id="name-first"),
        pytest.param({"a": {"b": {"c": "deep"}}}, "a.b.c", b"deep", id="deep"),
        pytest.param({"a": {"b": None}, "a.b": {"c": "x"}}, "a.b.c", b"x", id="other-split"),
    ],
)
def test_where_the_claim_is(claims: dict[str, object], path: str, identifier: bytes) -> None:
    assert role_of(claims, path).identifier == identifier


def test_long_identifiers_become_a_digest() -> None:
    longest = role_of({"roles": "x" * 200})
    first, second = role_of({"roles": "x" * 201}), role_of({"roles": "x" * 200 + "y"})
    assert longest.identifier == b"x" * 200
    assert DIGEST.fullmatch(first.identifier)
    assert DIGEST.fullmatch(second.identifier)
    assert first != second
    assert first.label == first.identifier.decode()


def test_isolated_roles_are_per_token_and_keep_their_label() -> None:
    one, two = isolated(ADMIN, b"token-1"), isolated(ADMIN, b"token-2")
    assert one != two
    assert one == isolated(ADMIN, b"token-1")
    assert one.identifier.startswith(b"admin~")
    assert DIGEST.fullmatch(one.identifier[len(b"admin") :])
    assert one.label == two.label == "admin"
    assert isolated(Role(b"opaque", "opaque"), b"t").identifier != isolated(OPAQUE, b"t").identifier


tricky = st.sampled_from(
    ["", "-", "%", "%2D", "admin", "%61dmin", "anonymous", "authenticated", "opaque", "~", "a-b", "a"]
)
names = tricky | st.text(st.characters(exclude_categories=()), max_size=5)
sets = st.frozensets(names.filter(lambda name: name != "administrator"), min_size=1, max_size=4)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(sets, sets)
def test_different_sets_have_different_identifiers(one: frozenset[str], two: frozenset[str]) -> None:
    first, second = role_of({"roles": list(one)}).identifier, role_of({"roles": list(two)}).identifier
    assert (first == second) is (one == two)
    assert first not in BUILT_IN


@settings(deadline=None, derandomize=True, max_examples=200)
@given(sets, st.binary(max_size=40))
def test_only_safe_characters(roles: frozenset[str], token: bytes) -> None:
    role = role_of({"roles": list(roles)})
    assert re.fullmatch(rb"(?:[A-Za-z0-9_.%-]|\A~)+", role.identifier)
    alone = isolated(role, token).identifier
    assert DIGEST.fullmatch(alone.removeprefix(role.identifier))
    assert alone not in BUILT_IN


@pytest.mark.parametrize(
    ("claims", "path", "shape"),
    [
        ({"roles": 7}, "roles", "one number"),
        ({"roles": {"user": True}}, "roles", "one object"),
        ({"roles": ["user", 7]}, "roles", "a list of number and string"),
        ({"roles": ["administrator", None]}, "roles", "a list of null and string"),
        ({"a": "x"}, "a.b", "one string on the way to it"),
        ({"a": ["x"]}, "a.0", "a list of string on the way to it"),
    ],
)
def test_a_claim_that_is_not_understood_is_no_role(claims: dict[str, object], path: str, shape: str) -> None:
    with pytest.raises(UnclearRoles, match=f"^{shape}$"):
        role_of(claims, path)
