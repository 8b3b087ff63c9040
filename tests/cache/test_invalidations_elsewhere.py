"""What a proxy tells others of its invalidations, and what it makes of theirs."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down

from caching_proxy.rules.bus_message import Invalidation

FRESH = "Cache-Control: max-age=900"
X = b"cache:GET:anonymous:/x"


def hot(proxy: MemoryProxy) -> list[bytes]:
    return proxy.hot.keys(proxy.clock.seconds())


def fill(proxy: MemoryProxy) -> None:
    for target in ("/x", "/y"):
        proxy.says(FRESH, f"Surrogate-Key: {target[1:]}")
        proxy.get(target)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [(b"cache:*:/x", Invalidation(patterns=(b"cache:*:/x",))), (X, Invalidation(keys=(X,)))],
)
def test_others_are_told_before_the_store_begins_and_when_it_is_done(
    proxy: MemoryProxy, pattern: bytes, told: Invalidation
) -> None:
    fill(proxy)
    proxy.store.calls.clear()
    proxy.invalidator.invalidate(pattern)
    calls = proxy.store.calls
    assert (calls[0], calls[-1], proxy.store.marks) == ("mark", "mark", [told, told])
    assert "delete" in calls[1:-1]


def test_dropping_a_target_tells_by_itself(proxy: MemoryProxy) -> None:
    proxy.invalidator.invalidate_target(b"/x", lambda removed: None)
    assert proxy.store.calls == ["delete_target"]


def test_tags_and_what_is_soft_tell_like_the_others(proxy: MemoryProxy) -> None:
    fill(proxy)
    for begin, told in (
        (lambda: proxy.invalidate_tags(b"x"), Invalidation(tags=(b"x",))),
        (lambda: proxy.invalidate_tags(b"x", soft=True), Invalidation(tags=(b"x",), soft=True)),
        (lambda: proxy.invalidate(X.decode(), soft=True), Invalidation(keys=(X,), soft=True)),
        (lambda: proxy.invalidate("cache:*", soft=True), Invalidation(patterns=(b"cache:*",), soft=True)),
    ):
        proxy.store.calls.clear()
        proxy.store.marks.clear()
        begin()
        assert (proxy.store.calls[0], proxy.store.calls[-1], proxy.store.marks) == ("mark", "mark", [told, told])


@pytest.mark.parametrize("pattern", [b"cache:*:/x", X])
@pytest.mark.parametrize("nth", [1, 2])
def test_it_is_not_done_before_the_others_are_told(proxy: MemoryProxy, pattern: bytes, nth: int) -> None:
    fill(proxy)
    proxy.store.hold("mark")
    answers: list[int] = []
    proxy.invalidator.invalidate(pattern).addCallback(len).addCallback(answers.append)
    for _ in range(nth - 1):
        proxy.store.release_one("mark")
    assert (answers, "delete" in proxy.store.calls) == ([], nth > 1)
    assert proxy.invalidator.hides(X)
    proxy.store.release()
    assert (answers, proxy.invalidator.pending) == ([1], 0)


def test_what_could_not_be_told_is_begun_again(proxy: MemoryProxy) -> None:
    proxy.store.failing = down()
    proxy.invalidator.invalidate(b"cache:*:/x").addErrback(lambda failure: None)
    assert proxy.store.marks == []
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.store.marks == [Invalidation(patterns=(b"cache:*:/x",))] * 2


def test_a_write_that_is_taken_back_is_nobody_elses_business(proxy: MemoryProxy) -> None:
    proxy.invalidator.purge_key(X)
    assert proxy.store.marks == []


@pytest.mark.parametrize(
    "invalidation",
    [
        Invalidation(targets=(b"/x",)),
        Invalidation(keys=(X,)),
        Invalidation(patterns=(b"cache:*:/x",)),
        Invalidation(tags=(b"none", b"x")),
    ],
)
def test_what_others_tell_leaves_memory_and_not_the_store(proxy: MemoryProxy, invalidation: Invalidation) -> None:
    fill(proxy)
    calls = list(proxy.store.calls)
    lease = proxy.key_state.open(X)
    assert lease.carry([b"x"])
    proxy.invalidator.carried_out_elsewhere(invalidation)
    assert hot(proxy) == [b"cache:GET:anonymous:/y"]
    assert not lease.valid
    lease.close()
    assert (list(proxy.store.calls), proxy.invalidator.pending) == (calls, 0)


def test_after_a_gap_nothing_is_trusted(proxy: MemoryProxy) -> None:
    fill(proxy)
    lease = proxy.key_state.open(X)
    proxy.invalidator.forget()
    assert (hot(proxy), proxy.hot.entries, lease.valid) == ([], 0, False)
    lease.close()
    assert proxy.get("/x").cache == "HIT", "the store has it"
