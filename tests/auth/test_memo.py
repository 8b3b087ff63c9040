"""The memory of judged tokens."""

from __future__ import annotations

import pytest

from caching_proxy.auth.memo import Memo
from caching_proxy.interfaces import Identity

ALICE = Identity(b"a", "a")


@pytest.mark.parametrize(
    ("expires", "at", "known"),
    [(None, 299.9, True), (None, 300.0, False), (50.0, 49.9, True), (50.0, 50.0, False), (9999.0, 300.0, False)],
)
def test_never_past_expiry_nor_five_minutes(expires, at, known):
    memo = Memo()
    memo.put(b"x", ALICE, expires, 0.0)
    assert memo.get(b"x", at) is (ALICE if known else None)
    assert len(memo) == known


def test_least_recently_used_goes_first():
    memo = Memo(max_entries=2)
    memo.put(b"1", ALICE, None, 0.0)
    memo.put(b"2", ALICE, None, 0.0)
    memo.get(b"1", 1.0)
    memo.put(b"3", ALICE, None, 2.0)
    assert [name for name in (b"1", b"2", b"3") if memo.get(name, 3.0)] == [b"1", b"3"]


def test_reading_does_not_extend():
    memo = Memo()
    memo.put(b"x", ALICE, None, 0.0)
    for second in range(0, 300, 10):
        assert memo.get(b"x", second) is ALICE
    assert memo.get(b"x", 300.0) is None


def test_clear_forgets():
    memo = Memo()
    memo.put(b"x", ALICE, None, 0.0)
    memo.clear()
    assert memo.get(b"x", 0.0) is None
