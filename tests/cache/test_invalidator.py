"""Invalidations: every tier, a store that is down, and what waits for it."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down
from twisted.internet.defer import fail
from twisted.python.failure import Failure

from caching_proxy.cache import pending
from caching_proxy.cache import walk as module
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.interfaces import StoreError

FRESH = "Cache-Control: max-age=900"


def fill(proxy: MemoryProxy, *targets: str) -> None:
    proxy.says(FRESH)
    for target in targets:
        proxy.get(target)


def key(target: str) -> bytes:
    return b"cache:GET:anonymous:" + target.encode()


def test_counts_distinct_keys_of_all_tiers(proxy: MemoryProxy) -> None:
    fill(proxy, "/a", "/b", "/c")
    proxy.hot.remove(key("/a"))
    proxy.store.inner.delete([key("/b")])
    assert proxy.invalidate("cache:GET:*:/[ab]") == [2]
    assert proxy.invalidate("cache:GET:*:/[ab]") == [0]
    assert (proxy.hot.keys(proxy.clock.seconds()), proxy.count) == ([key("/c")], 3)


def test_several_patterns_are_one_invalidation(proxy: MemoryProxy) -> None:
    fill(proxy, "/a", "/b", "/c")
    old = b"cache:GET:/a"
    proxy.store.inner.put(old, b"-", b"value", 900_000)
    removed: list[set[bytes]] = []
    proxy.invalidator.invalidate(b"cache:GET:*:/[ab]", b"cache:GET:*:/a", old).addCallback(removed.append)
    assert removed == [{key("/a"), key("/b"), old}], "each key once"
    assert (proxy.store.fields_of(old), proxy.hot.keys(proxy.clock.seconds())) == ([], [key("/c")])


def test_several_patterns_hide_until_the_store_is_back(proxy: MemoryProxy) -> None:
    fill(proxy, "/a")
    proxy.store.failing = down()
    proxy.invalidator.invalidate(b"cache:GET:*:/a", b"cache:GET:/a").addErrback(lambda failure: None)
    assert proxy.invalidator.hides(key("/a"))
    assert proxy.invalidator.hides(b"cache:GET:/a")
    assert not proxy.invalidator.hides(key("/b"))
    proxy.store.failing = None
    proxy.advance(1)
    assert (proxy.invalidator.pending, proxy.store.fields_of(key("/a"))) == (0, [])


def test_many_keys_in_batches(proxy: MemoryProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELETE_BATCH", 2)
    fill(proxy, *(f"/{n}" for n in range(5)))
    assert proxy.invalidate("cache:*") == [5]
    assert proxy.store.calls.count("delete") == 3


def test_observer_hears_what_was_asked_for() -> None:
    heard: list[int] = []
    proxy = MemoryProxy()
    proxy.invalidator._observe = heard.append
    fill(proxy, "/a")
    proxy.invalidate("cache:*")
    proxy.invalidator.purge_key(key("/a"))
    assert heard == [1]


def test_target_of_every_role(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    for role in ("a", "b"):
        for target in ("/x", "/x/y", "/x?q"):
            proxy.get(target, f"Authorization: role {role}")
    result: list[set[bytes]] = []
    proxy.invalidator.invalidate_target(b"/x", result.append)
    assert result == [{b"cache:GET:a:/x", b"cache:GET:b:/x"}]
    assert sorted(proxy.hot.keys(proxy.clock.seconds())) == sorted(
        b"cache:GET:%b:%b" % (role, target) for role in (b"a", b"b") for target in (b"/x/y", b"/x?q")
    )


def test_store_down_pending_retry_done(proxy: MemoryProxy) -> None:
    fill(proxy, "/a")
    proxy.store.failing = down()
    result = proxy.invalidate("cache:*:/a")
    assert isinstance(result[0], Failure)
    assert result[0].check(StoreError)
    assert (proxy.invalidator.pending, proxy.invalidator.hides(key("/a"))) == (1, True)
    assert proxy.hot.get(key("/a"), proxy.clock.seconds()) is None
    proxy.advance(1)
    assert proxy.invalidator.pending == 1, "still down"
    proxy.store.failing = None
    proxy.advance(0.5)
    assert proxy.get("/a").cache == "MISS", "hidden until it is carried out"
    proxy.advance(0.5)
    assert (proxy.invalidator.pending, proxy.store.fields_of(key("/a"))) == (0, [])
    assert not proxy.invalidator.hides(key("/a"))


def test_horizon(proxy: MemoryProxy) -> None:
    never = float("-inf")
    assert proxy.invalidator.invalid_before(key("/a")) == never
    proxy.store.failing = down()
    proxy.invalidate("cache:*:/a")
    then = proxy.clock.seconds()
    assert proxy.invalidator.invalid_before(key("/a")) == then
    assert proxy.invalidator.invalid_before(key("/b")) == never
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.invalidator.invalid_before(key("/a")) == never
    lease = proxy.key_state.open(key("/a"))
    proxy.invalidate("cache:*:/a")
    assert proxy.invalidator.invalid_before(key("/a")) == then + 1, "a voided write may still come"
    lease.close()
    assert proxy.invalidator.invalid_before(key("/a")) == never


def test_the_same_again_waits_once(proxy: MemoryProxy) -> None:
    fill(proxy, "/a")
    proxy.store.hold("scan")
    first, second, third = (proxy.invalidate("cache:*:/a") for _ in range(3))
    assert proxy.invalidator.pending == 2, "the first is under way, the others are one"
    proxy.store.release()
    assert (first, second, third) == ([1], [0], [0])


def test_everybody_who_waits_learns_that_the_store_is_down(proxy: MemoryProxy) -> None:
    proxy.store.hold("scan")
    results = [proxy.invalidate(f"cache:{n}*") for n in range(3)]
    proxy.store.failing = down()
    proxy.store.release()
    assert all(isinstance(result[0], Failure) for result in results)
    assert proxy.invalidator.pending == 3
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.invalidator.pending == 0


def test_one_that_cannot_succeed_does_not_hold_up_the_others(proxy: MemoryProxy) -> None:
    fill(proxy, "/a", "/b")
    delete_target = proxy.store.inner.delete_target

    def broken(target: bytes):  # type: ignore[no-untyped-def]
        return fail(StoreError("refused")) if target == b"/bad" else delete_target(target)

    proxy.store.inner.delete_target = broken  # type: ignore[method-assign]
    for target in (b"/bad", b"/a"):
        proxy.invalidator.invalidate_target(target, lambda outcome: None)
    proxy.invalidate("cache:*:/[b]*")
    proxy.clock.pump([1, 1])
    assert proxy.invalidator.pending == 1
    assert proxy.store.inner.entries == 0
    proxy.store.inner.delete_target = delete_target  # type: ignore[method-assign]
    proxy.advance(1)
    assert proxy.invalidator.pending == 0


def test_patterns_that_wait_share_one_walk(proxy: MemoryProxy) -> None:
    targets = [f"/{n}" for n in range(40)]
    fill(proxy, *targets)
    proxy.store.hold("scan")
    results = [proxy.invalidate(f"cache:GET:*:/{n}*") for n in range(4, 34)]
    proxy.store.release()
    assert proxy.store.calls.count("scan") == 2, "one for the first, one for all others"
    # "/4" takes itself only, as "/40" is not there; what several patterns match is counted for each that finds it
    assert [result[0] for result in results] == [1] * 30
    assert proxy.store.inner.entries == 10


@pytest.mark.parametrize("role", ["anonymous", "*"])
def test_a_rule_that_names_its_target_walks_over_no_keys(proxy: MemoryProxy, role: str) -> None:
    fill(proxy, "/a", "/b", "/a/x")
    counts: list[set[bytes]] = []
    rules = [f"cache:GET:{role}:/a".encode(), b"cache:GET:*:/\\b"]
    proxy.invalidator.invalidate_by_rules(rules, lambda pattern: counts.append)
    assert counts == [{key("/a")}, {key("/b")}]
    assert "scan" not in proxy.store.calls
    assert proxy.hot.keys(proxy.clock.seconds()) == [key("/a/x")]


def test_many_named_targets_wait_without_touching_anything_else(proxy: MemoryProxy) -> None:
    fill(proxy, "/other", "/items")
    proxy.store.hold("delete_target")
    for number in range(1200):
        proxy.invalidator.invalidate_target(b"/items/%d" % number, lambda outcome: None)
    assert proxy.invalidator.pending == 1200
    assert not proxy.invalidator.hides(key("/other"))
    assert proxy.invalidator.hides(key("/items/1199"))
    proxy.store.release()
    assert (proxy.invalidator.pending, proxy.store.inner.entries) == (0, 2)


@pytest.mark.slow
def test_what_waits_is_bounded_in_bytes_and_drops_nothing_far_away(
    proxy: MemoryProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MAX_NAMED_BYTES", 40_000)
    monkeypatch.setattr(pending, "MAX_PATTERN_BYTES", 10_000)
    fill(proxy, "/shop/items/7/x", "/shop/about", "/other")
    proxy.store.failing = down()
    for number in range(2000):
        proxy.invalidator.invalidate_target(b"/shop/items/%d/x" % number, lambda outcome: None)
        proxy.invalidate(f"cache:GET:*:/shop/items/{number}/*")
        assert proxy.invalidator._waiting.named.size <= 41_000
        assert proxy.invalidator._waiting.patterns.size <= 11_000
    assert all(proxy.invalidator.hides(key(f"/shop/items/{number}/x")) for number in (0, 7, 1999))
    assert not proxy.invalidator.hides(key("/other"))
    proxy.store.failing = None
    proxy.clock.pump([1, 1])
    assert proxy.invalidator.pending == 0
    assert proxy.store.fields_of(key("/shop/items/7/x")) == []
    assert proxy.store.fields_of(key("/other")) == proxy.store.fields_of(key("/shop/about")) == [b"-"]


def test_forsaken_key_is_tried_until_it_is_gone(proxy: MemoryProxy) -> None:
    fill(proxy, "/a", "/b")
    proxy.store.failing = down()
    proxy.invalidator.purge_key(key("/a"))
    proxy.store.failing = None
    proxy.advance(1)
    assert (proxy.store.fields_of(key("/a")), proxy.store.fields_of(key("/b"))) == ([], [b"-"])


@pytest.mark.parametrize("when", ["waiting", "under way"])
def test_stop(proxy: MemoryProxy, when: str) -> None:
    if when == "waiting":
        proxy.store.failing = down()
    else:
        proxy.store.hold("scan")
    first, second = proxy.invalidate("cache:1*"), proxy.invalidate("cache:2*")
    proxy.invalidator.stop()
    for result in (first, second):
        assert isinstance(result[0], Failure)
        assert result[0].check(StoreError)
    assert not proxy.clock.getDelayedCalls()


def test_bug_in_the_store_is_logged_and_tried_again(proxy: MemoryProxy, logged_errors) -> None:  # type: ignore[no-untyped-def]
    proxy.store.failing = ZeroDivisionError("bug")
    result = proxy.invalidate("cache:*")
    assert isinstance(result[0], Failure)
    assert len(logged_errors.flush()) == 1
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.invalidator.pending == 0
    assert isinstance(proxy.invalidator, Invalidator)


def test_settled_at_once_where_nothing_waits(proxy: MemoryProxy) -> None:
    assert proxy.invalidator.settled().called


def test_settled_tries_once_more_without_waiting(proxy: MemoryProxy) -> None:
    fill(proxy, "/a", "/b")
    proxy.store.failing = down()
    for target in ("/a", "/b"):
        proxy.invalidate(f"cache:*:{target}")
    settled = proxy.invalidator.settled()
    assert (settled.called, proxy.invalidator.pending) == (True, 2)
    proxy.store.failing = None
    settled = proxy.invalidator.settled()
    assert (settled.called, proxy.invalidator.pending) == (True, 0)
