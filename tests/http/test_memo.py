"""The bounded memory: what it keeps, what it lets go of, and that looking costs no frame."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.http.memo import Memo


def test_what_was_kept_is_found_and_nothing_else():
    memo: Memo[bytes, str] = Memo(3)
    memo.keep(b"a", "A")
    assert (memo[b"a"], memo[b"b"]) == ("A", None)
    assert b"b" not in memo


def test_what_is_asked_for_stays_and_what_is_not_goes():
    memo: Memo[int, str] = Memo(10)
    memo.keep(-1, "used")
    memo.keep(-2, "unused")
    for number in range(100):
        memo.keep(number, "once")
        assert memo[-1] == "used"
    assert memo[-2] is None


@given(st.integers(0, 30), st.lists(st.tuples(st.binary(max_size=12), st.booleans()), max_size=80))
def test_no_more_is_held_than_twice_the_bound(bound, steps):
    memo: Memo[bytes, int] = Memo(bound, len)
    for key, asks in steps:
        if asks:
            assert memo[key] in (None, len(key))
        else:
            memo.keep(key, len(key))
        assert sum(map(len, memo)) <= bound
        assert sum(map(len, memo._older)) <= bound


def test_what_is_too_heavy_is_not_kept_and_pushes_nothing_out():
    memo: Memo[bytes, int] = Memo(5, len)
    memo.keep(b"ab", 1)
    memo.keep(b"abcdef", 2)
    assert (memo[b"ab"], memo[b"abcdef"]) == (1, None)


def test_only_what_comes_a_second_time_is_kept_where_that_is_asked_for():
    memo: Memo[int, int] = Memo(100)
    for number in range(20_000):
        memo.keep_repeated(number, number)
    assert memo.held == 0
    assert memo._seen is not None
    assert len(memo._seen) <= 8192
    memo.keep_repeated(19_999, 1)
    assert memo[19_999] == 1


@pytest.mark.parametrize("turns", [0, 1])
def test_clear_forgets_both_generations(turns):
    memo: Memo[int, int] = Memo(2)
    memo.keep(1, 1)
    for _ in range(turns):
        memo.turn()
    memo.clear()
    assert (memo[1], memo.held) == (None, 0)


def test_a_hit_costs_no_python_frame():
    memo: Memo[int, int] = Memo(2)
    memo.keep(1, 1)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(event))
    try:
        memo[1]
    finally:
        sys.setprofile(None)
    assert "call" not in calls
