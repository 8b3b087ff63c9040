"""Several patterns together give what each gives alone, and their cost is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.pattern_set import PatternSet

PARTS = [b"*", b"?", b"[ab]", b"[^a]", b"a", b"b", b"cache:", b"/", b"\\*", b"[", b"]", b"???????????????[ab]a"]
patterns = st.lists(st.sampled_from(PARTS), max_size=6).map(b"".join)
keys = st.lists(st.lists(st.sampled_from([b"a", b"b", b"/", b"*", b"cache:"]), max_size=24).map(b"".join), max_size=12)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.lists(patterns, min_size=1, max_size=4), keys)
@pytest.mark.slow
def test_a_set_matches_what_any_of_its_patterns_matches(some: list[bytes], keys: list[bytes]) -> None:
    together = PatternSet(*some)
    expected = [key for key in keys if any(compile_glob(pattern)(key) for pattern in some)]
    assert sorted(set(together.select(keys))) == sorted(set(expected))
    assert [key for key in keys if together(key)] == expected
    assert all(key.startswith(together.prefix) for key in expected)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(patterns, min_size=1, max_size=4), keys, st.integers(1, 2000))
def test_slices_are_all_keys_in_order(some: list[bytes], keys: list[bytes], steps: int) -> None:
    together = PatternSet(*some)
    pieces = list(together.slices(keys, steps))
    assert [key for piece in pieces for key in piece] == keys
    assert all(len(piece) == 1 or together.steps(piece) <= steps for piece in pieces)


def test_a_costly_pattern_costs_more_and_never_more_than_in_proportion() -> None:
    wide, plain = PatternSet(b"*" + b"[ab]" * 400 + b"c*"), PatternSet(b"*abc*")
    short, long = [b"a" * 1000], [b"a" * 4000]
    assert wide.steps(short) > 100 * plain.steps(short)
    assert wide.steps(long) <= 5 * wide.steps(short)
