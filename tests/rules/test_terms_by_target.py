"""Which rule holds for a target, and what is done where that is in doubt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.cache_rules import parse_cache_rules
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.terms import Share, shared_role
from caching_proxy.rules.terms_by_target import MAX_SEARCHED, TermsByTarget, as_understood


def terms(*rules: dict[str, object]) -> TermsByTarget:
    made = TermsByTarget(CachePolicy(default_ttl=1), KeyPolicy())
    made.use(parse_cache_rules(json.dumps(rules)))
    return made


def test_the_first_match_holds_and_nothing_is_added_to_it() -> None:
    found = terms({"match": r"^/a/b\?c", "ttl": 2}, {"match": "^/a", "ttl": 3, "collapse": False}, {"match": "b$"})
    assert [found(target).policy.default_ttl for target in (b"/a/b?c=1", b"/a/b", b"/b", b"/c")] == [2, 3, 1, 1]
    assert [found(target).collapse for target in (b"/a/b?c=1", b"/a/b")] == [True, False]


def test_rules_are_replaced_as_a_whole() -> None:
    found = terms({"match": "^/a", "ttl": 2})
    assert found(b"/a").policy.default_ttl == 2
    found.use(parse_cache_rules('[{"match": "^/b", "ttl": 3}]'))
    assert [found(target).policy.default_ttl for target in (b"/a", b"/b")] == [1, 3]
    found.use(())
    assert found(b"/b") is found(b"/anything") is found(b"/b/../c")


@pytest.mark.parametrize(
    ("target", "understood"),
    [
        (b"/a/b?c=%2e", b"/a/b?c=%2e"),
        (b"/a/", b"/a/"),
        (b"/a/../b", b"/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/../a", b"/a"),
        (b"//a//b", b"/a/b"),
        (b"/%61/%2E%2e/b", b"/b"),
        (b"/a%2fb", b"/a/b"),
        (b"/a%5Cb", b"/a/b"),
        (b"/a\\b", b"/a/b"),
        (b"/a;v=1/b;x", b"/a/b"),
        (b"/a%3bx", b"/a"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/a%zz%", b"/a%zz%"),
        (b"/.a/..b/c.", b"/.a/..b/c."),
        (b"*", b"*"),
    ],
)
def test_what_a_backend_may_understand(target: bytes, understood: bytes) -> None:
    assert as_understood(target) == understood


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"%2e", b"%2F", b"%61", b";", b"\\", b"%c3"])).map(b"".join))
def test_what_is_understood_is_understood_as_itself(path: bytes) -> None:
    once = as_understood(b"/" + path)
    assert as_understood(once) == once


@pytest.mark.parametrize(
    ("target", "bypass"),
    [
        (b"/public/a", None),
        (b"/private/a", None),
        (b"/public/../private/a", Bypass.AMBIGUOUS),
        (b"/public/..%2fprivate/a", Bypass.AMBIGUOUS),
        (b"/public/%2e%2e/private/a", Bypass.AMBIGUOUS),
        (b"//private/a", Bypass.AMBIGUOUS),
        (b"/p%75blic/a", Bypass.AMBIGUOUS),
        (b"/public/./a", None),
        (b"/public/caf%c3%a9", None),
        (b"/other/%2e%2e/else", None),
        (b"/private/a;x.css", Bypass.AMBIGUOUS),
    ],
)
def test_what_two_rules_may_mean_is_not_stored(target: bytes, bypass: Bypass | None) -> None:
    found = terms({"match": "css$"}, {"match": "^/public/", "share": "everyone"}, {"match": "^/private/"})
    assert found(target).bypass is bypass
    assert found(target).bypass is bypass, "and again, from memory"


def test_a_target_too_long_to_search_is_not_stored() -> None:
    found = terms({"match": "^/a"})
    assert found(b"/" + b"b" * MAX_SEARCHED).bypass is Bypass.AMBIGUOUS
    assert found(b"/" + b"b" * (MAX_SEARCHED - 1)).bypass is None


@pytest.mark.parametrize(
    ("share", "role", "established", "credentials", "expected"),
    [
        (Share.ROLE, b"admin", True, [b"Bearer x"], b"admin"),
        (Share.EVERYONE, b"admin", True, [b"Bearer x"], b"anonymous"),
        (Share.EVERYONE, b"anonymous", True, [], b"anonymous"),
        (Share.TOKEN, b"anonymous", True, [], b"anonymous"),
    ],
)
def test_who_shares(share: Share, role: bytes, established: bool, credentials: list[bytes], expected: bytes) -> None:
    assert shared_role(share, role, established, credentials) == expected


def test_tokens_apart() -> None:
    """Two tokens, or a token and credentials that no role came of, never share, whatever their roles."""
    asked = [(b"admin", True, b"Bearer x"), (b"admin", True, b"Bearer y"), (b"user", True, b"Bearer x")]
    asked += [(b"anonymous", False, b"Basic x"), (b"anonymous", False, b"Basic y")]
    found = {shared_role(Share.TOKEN, role, established, [value]) for role, established, value in asked}
    assert len(found) == 5
    assert all(b"~" in role and b":" not in role and b"/" not in role for role in found)
    assert not found & {b"anonymous", b"admin", b"user"}
