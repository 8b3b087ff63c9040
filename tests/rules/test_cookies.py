"""Which cookies make a request pass the cache by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.cookies import (
    MAX_NAME,
    MAX_NAMES,
    _ignored,
    cookie_names,
    cookie_names_of_any,
    has_session_cookie,
    names_session,
)
from caching_proxy.rules.policy import CachePolicy

POLICY = CachePolicy(ignored_cookies=(b"_ga*", b"theme"))


def session(*lines: bytes, policy: CachePolicy = POLICY) -> bool:
    return has_session_cookie(RequestHead(b"GET", b"/", Fields((b"Cookie", line) for line in lines)), policy)


@pytest.mark.parametrize(
    "lines",
    [(), (b"",), (b" ; ;",), (b"_ga=1",), (b"_gat_x=GA1.2,3; theme=dark",), (b"theme=a b",), (b"_ga=1", b"theme=")],
)
def test_Z3_no_session(lines: tuple[bytes, ...]) -> None:
    assert not session(*lines)


@pytest.mark.parametrize(
    "lines",
    [
        (b"session=1",),
        (b"_ga=1; session=1",),
        (b"_ga=1", b"session=1"),
        (b"_ga=1;session=1",),
        (b"_ga=1, session=1",),
        (b"_ga=1 session=1",),
        (b'_ga="x; session=1"',),
        (b"theme",),
        (b"=theme",),
        (b"Theme=1",),
        (b"theme =1",),
        (b"x_ga=1",),
    ],
)
def test_Z3_session(lines: tuple[bytes, ...]) -> None:
    assert session(*lines)


def test_Z3_nothing_is_ignored_by_default() -> None:
    assert session(b"theme=1", policy=CachePolicy())
    assert not session(policy=CachePolicy())


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=30))
def test_no_bytes_raise(line: bytes) -> None:
    assert session(line + b"; session=1")


PARTS = ("a=b", "c", "=d", "a = b", "", " ", "; ", ";", ";  ", ",", "\t", '"x;y"', "e=f=g")


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(["a=b", "c", "=d", "a = b", "", " ", "; ", ";", ";  ", ",", "\t", '"x;y"', "e=f=g"]), max_size=9
    )
)
def test_the_ordinary_form_of_a_line_is_no_exception(parts):
    line = "".join(parts).encode()
    assert cookie_names(line) == cookie_names_of_any(line)


def test_what_is_remembered_of_names_is_bounded_and_changes_nothing():
    policy = CachePolicy(ignored_cookies=(b"_ga*", b"x"))
    names = [b"_ga%d" % n if n % 2 else b"other%d" % n for n in range(5 * MAX_NAMES)]
    for _ in range(2):
        for name in (*names, b"x", b"_ga" + b"y" * MAX_NAME, b"y" * (MAX_NAME + 1)):
            ignored = name == b"x" or name.startswith(b"_ga")
            assert names_session([b"x=1; %b=2" % name], policy) is not ignored
    assert _ignored(policy.ignored_cookies).held <= 2 * MAX_NAMES
    assert all(len(name) <= MAX_NAME for name in _ignored(policy.ignored_cookies))
