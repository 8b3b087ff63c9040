"""What a request's fields decide beforehand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Field, Fields
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.request_traits import NOTABLE, RequestTraits, traits_of, traits_under

OTHERS = (b"accept", b"authorization", b"connection", b"expect", b"host", b"te", b"x-forwarded-for", b"x-request-id")
VALUES = (b"1", b"1.1 us", b"a=b", b"no-cache", b"no-store", b"true", b"bytes=0-1", b"websocket", b"keep-alive", b"x")
POLICY = CachePolicy(proxy_name=b"us")
CONDITION: Field = (b"If-None-Match", b'"a"')


def traits(*pairs: Field, policy: CachePolicy = POLICY) -> RequestTraits:
    return traits_under(policy)(Fields(pairs))


def test_an_ordinary_request() -> None:
    assert traits((b"Host", b"a"), (b"Connection", b"keep-alive")) == RequestTraits(
        False, None, NO_DIRECTIVES, False, True, None
    )


def test_worked_out_once_for_each_policy() -> None:
    fields, other = Fields([(b"Via", b"1.1 us")]), CachePolicy(proxy_name=b"them")
    ours, theirs = traits_under(POLICY), traits_under(other)
    assert ours(fields) is ours(fields)
    assert (ours(fields).loop, theirs(fields).loop) == (True, False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ((b"Upgrade", b"websocket"), Bypass.UPGRADE),
        ((b"Cookie", b"a=b"), Bypass.COOKIE),
        ((b"If-Match", b"*"), Bypass.PRECONDITION),
        ((b"If-Unmodified-Since", b"x"), Bypass.PRECONDITION),
        ((b"Cache-Control", b"no-store"), Bypass.NO_STORE),
        ((b"Cache-Control", b"max-age=1"), None),
    ],
    ids=lambda value: value[0].decode() if isinstance(value, tuple) else None,
)
def test_why_the_cache_is_passed_by(line: Field, reason: Bypass | None) -> None:
    assert traits(line).bypass is reason


@pytest.mark.parametrize(
    ("name", "conditional", "plain"),
    [
        (b"If-None-Match", True, False),
        (b"If-Modified-Since", True, False),
        (b"Range", False, False),
        (b"If-Range", False, False),
        (b"Accept", False, True),
    ],
)
def test_what_asks_for_less_than_the_whole(name: bytes, conditional: bool, plain: bool) -> None:
    found = traits((name, b"x"))
    assert (found.conditional, found.plain) == (conditional, plain)


def test_what_connection_names_decides_nothing() -> None:
    found = traits(CONDITION, (b"Connection", b"if-none-match"), (b"Accept", b"b"))
    assert (found.conditional, found.plain, found.passing) == (False, True, Fields([(b"Accept", b"b")]))


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(sorted({*NOTABLE, *OTHERS})), st.sampled_from(VALUES)), max_size=3))
def test_the_short_way_decides_as_the_long_one(pairs: list[Field]) -> None:
    assert traits(*pairs) == traits_of(Fields(pairs), POLICY)
