"""Globs: what needs no Redis to be checked. The comparison with real servers is in the contract tests."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules import glob
from caching_proxy.rules.glob import compile_glob, escape, shorten


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        (b"cache:GET:*:/api/users*", b"cache:GET:admin:/api/users?page=2", True),
        (b"cache:GET:*:/api/users*", b"cache:GET:admin:/api/user", False),
        (b"cache:GET:*:/api/users", b"cache:GET:admin:/api/users/1", False),
        (b"cache:GET:ann?:*", b"cache:GET:anna:/x", True),
        (b"cache:GET:ann?:*", b"cache:GET:ann:/x", False),
        (b"*[0-9]", b"/items/7", True),
        (b"*[^0-9]", b"/items/7", False),
        (b"/a\\*", b"/a*", True),
        (b"/a\\*", b"/ab", False),
        (b"*\n*", b"a\nb", True),
        (b"a?b", b"a\nb", True),
        (b"*.b", b"a.b\n", False),
    ],
)
def test_matching(pattern: bytes, key: bytes, expected: bool) -> None:
    assert compile_glob(pattern)(key) is expected


@pytest.mark.parametrize(
    ("pattern", "limit", "short"),
    [
        (b"abc", 3, b"abc"),
        (b"abcd", 3, b"ab*"),
        (b"a\\*cd", 3, b"a*"),
        (b"a[xyz]b", 5, b"a*"),
        (b"a[xyz]b", 6, b"a*"),
        (b"ab", 1, b"*"),
    ],
)
def test_shorten_cuts_between_tokens(pattern: bytes, limit: int, short: bytes) -> None:
    assert shorten(pattern, limit) == short


@settings(deadline=None, derandomize=True, max_examples=2000)
@given(st.lists(st.sampled_from([b"a", b"\n", b"\\", b"*", b"?", b"[", b"]", b"^", b"-", b"\\a", b"\\*"]), max_size=8))
def test_a_literal_is_what_its_tokens_accept(parts: list[bytes]) -> None:
    pattern = b"".join(parts)
    accepted = [each for _, each in glob._tokens(pattern)]
    single = all(each is not None and len(each) == 1 for each in accepted)
    assert glob.literal(pattern) == (b"".join(each or b"" for each in accepted) if single else None)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_escaped_text_matches_itself_only(literal: bytes, other: bytes) -> None:
    matches = compile_glob(escape(literal))
    assert matches(literal)
    assert matches(other) is (other == literal)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(min_size=1, max_size=8), st.integers(0, 255).map(lambda byte: bytes((byte,))))
def test_escaped_text_in_a_class_is_its_bytes(literal: bytes, byte: bytes) -> None:
    assert compile_glob(b"[" + escape(literal) + b"]")(byte) is (byte in literal)
    assert compile_glob(b"[^" + escape(literal) + b"]")(byte) is (byte not in literal)


@pytest.mark.parametrize(
    "pattern", [b"*a" * 500 + b"b", b"*[ab]?" * 500 + b"c", b"*" * 4000 + b"b", b"a*" * 500 + b"b?"]
)
def test_stars_do_not_explode(pattern: bytes) -> None:
    """With backtracking these would run for longer than the universe; the bound is generous for slow machines."""
    matches = compile_glob(pattern)
    started = time.perf_counter()
    assert not matches(b"a" * 8000)
    assert time.perf_counter() - started < 2
