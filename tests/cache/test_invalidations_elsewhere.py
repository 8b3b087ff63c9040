"""What a proxy tells others of its invalidations, and what it makes of theirs."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down

from caching_proxy.rules.bus_message import Invalidation

FRESH = "Cache-Control: max-age=900"
X = b"cache:GET:anonymous:/x"


@pytest.fixture
def told(proxy: MemoryProxy) -> list[Invalidation]:
    told: list[Invalidation] = []
    proxy.invalidator._publish = told.append
    return told


def hot(proxy: MemoryProxy) -> list[bytes]:
    return proxy.hot.keys(proxy.clock.seconds())


def fill(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    for target in ("/x", "/y"):
        proxy.get(target)


def test_each_kind_is_told(proxy: MemoryProxy, told: list[Invalidation]) -> None:
    proxy.invalidator.invalidate(b"cache:*:/x")
    proxy.invalidator.invalidate(X)
    proxy.invalidator.invalidate_target(b"/x", lambda removed: None)
    assert told == [Invalidation(patterns=(b"cache:*:/x",)), Invalidation(keys=(X,)), Invalidation(targets=(b"/x",))]


def test_nothing_is_told_before_the_store_has_carried_it_out(proxy: MemoryProxy, told: list[Invalidation]) -> None:
    proxy.store.failing = down()
    proxy.invalidator.invalidate(b"cache:*:/x").addErrback(lambda failure: None)
    proxy.invalidator.invalidate_target(b"/x", lambda removed: None)
    assert told == []
    proxy.store.failing = None
    proxy.advance(1)
    assert sorted(map(str, told)) == sorted(
        map(str, [Invalidation(patterns=(b"cache:*:/x",)), Invalidation(targets=(b"/x",))])
    )


def test_a_write_that_is_taken_back_is_nobody_elses_business(proxy: MemoryProxy, told: list[Invalidation]) -> None:
    proxy.invalidator.purge_key(X)
    assert told == []


@pytest.mark.parametrize(
    "invalidation", [Invalidation(targets=(b"/x",)), Invalidation(keys=(X,)), Invalidation(patterns=(b"cache:*:/x",))]
)
def test_what_others_tell_leaves_memory_and_not_the_store(
    proxy: MemoryProxy, told: list[Invalidation], invalidation: Invalidation
) -> None:
    fill(proxy)
    calls = list(proxy.store.calls)
    lease = proxy.leases.open(X)
    proxy.invalidator.carried_out_elsewhere(invalidation)
    assert hot(proxy) == [b"cache:GET:anonymous:/y"]
    assert not lease.valid
    lease.close()
    assert (list(proxy.store.calls), told, proxy.invalidator.pending) == (calls, [], 0)


def test_after_a_gap_nothing_is_trusted(proxy: MemoryProxy) -> None:
    fill(proxy)
    lease = proxy.leases.open(X)
    proxy.invalidator.forget()
    assert (hot(proxy), proxy.hot.entries, lease.valid) == ([], 0, False)
    lease.close()
    assert proxy.get("/x").cache == "HIT", "the store has it"
