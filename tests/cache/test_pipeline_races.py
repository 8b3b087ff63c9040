"""Invalidations, writes and reads that cross one another: nothing outdated is ever put over something newer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy, down

from caching_proxy.rules.codec import encode
from caching_proxy.rules.entry import CacheEntry

KEY = b"cache:GET:anonymous:/x"
FRESH = "Cache-Control: max-age=900"


def stored(proxy: MemoryProxy, body: bytes = b"old", *lines: str) -> None:
    """/x is in the store only."""
    proxy.says(FRESH, *lines, body=body)
    proxy.get("/x", "Cache-Control: no-cache")
    proxy.forget_memory()
    proxy.advance(1)


def test_read_before_an_invalidation_is_not_used_after_it(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.store.delay("lookup")
    reader = proxy.start("GET", "/x")
    proxy.invalidate("cache:*")
    proxy.says(FRESH, body=b"new")
    proxy.store.release()
    assert reader.answer is not None
    assert reader.answer.body == b"new"
    assert (proxy.get().body, proxy.count) == (b"new", 2)
    proxy.hot.clear()
    assert proxy.get().body == b"new"


@pytest.mark.parametrize("operation", ["scan", "delete"])
def test_nothing_comes_back_while_the_store_has_yet_to_delete(proxy: MemoryProxy, operation: str) -> None:
    stored(proxy)
    proxy.store.hold(operation)
    result = proxy.invalidate("cache:*")
    proxy.says(FRESH, body=b"new")
    assert result == []
    assert proxy.get().body == b"new"
    proxy.store.release()
    assert result == [1]
    assert proxy.get().body == b"new"
    proxy.forget_memory()
    proxy.says(FRESH, body=b"newer")
    assert proxy.get().body == b"newer", "the deletion took what was put meanwhile as well"


def test_read_that_outlasts_the_deletion(proxy: MemoryProxy) -> None:
    """It began after the invalidation, saw the store before the deletion, and is answered after it."""
    stored(proxy)
    proxy.store.hold("scan")
    proxy.invalidate("cache:*")
    proxy.store.delay("lookup")
    reader = proxy.start("GET", "/x")
    proxy.store.release("scan")
    assert proxy.invalidator.pending == 0
    proxy.says(FRESH, body=b"new")
    proxy.store.release()
    assert reader.answer is not None
    assert reader.answer.body == b"new"
    proxy.hot.clear()
    assert proxy.get().body == b"new", "nor has the burst tier kept it"


def test_write_under_way_is_taken_back(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"old")
    proxy.store.hold("put")
    proxy.get()
    proxy.invalidate("cache:*")
    proxy.advance(1)
    proxy.store.release()
    assert proxy.store.fields_of(KEY) == []
    proxy.says(FRESH, body=b"new")
    assert proxy.get().body == b"new"


def test_write_that_lands_after_the_deletion_is_not_believed(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"old")
    proxy.store.delay("put")
    proxy.get()
    proxy.invalidate("cache:*")
    land_late(proxy, b"old")
    proxy.advance(1)
    proxy.says(FRESH, body=b"new")
    assert proxy.get().body == b"new", "hidden while it is not taken back"
    proxy.store.release()
    proxy.forget_memory()
    assert (proxy.get().body, proxy.count) == (b"new", 2), "and what came later stays"


def land_late(proxy: MemoryProxy, body: bytes) -> None:
    """The store comes to a write of /x only now."""
    entry = CacheEntry(KEY, 200, b"OK", b"", body, proxy.clock.seconds(), lifetime=900, keep=900)
    proxy.store.inner.put(KEY, b"-", encode(entry), 900_000)


def test_what_cannot_be_taken_back_is_hidden_and_deleted_later(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"old")
    proxy.store.delay("put")
    proxy.get()
    proxy.invalidate("cache:*")
    proxy.advance(1)
    land_late(proxy, b"old")
    proxy.store.failing = down()
    proxy.store.release()
    assert proxy.invalidator.pending == 1
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.invalidator.pending == 0
    assert proxy.store.fields_of(KEY) == []


def test_writes_of_a_key_keep_their_order(proxy: MemoryProxy) -> None:
    proxy.store.hold("put")
    for body in (b"1", b"2", b"3"):
        proxy.says(FRESH, body=body)
        proxy.get("/x", "Cache-Control: no-cache")
    proxy.says(FRESH)
    proxy.get("/other")
    assert proxy.store.calls.count("put") == 2, "one of this key, and another key does not wait for it"
    proxy.store.release()
    proxy.forget_memory()
    assert proxy.get().body == b"3"


def test_discard_waits_for_the_write_before_it(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.store.hold("put")
    proxy.get()
    proxy.says("Cache-Control: no-store", body=b"two")
    proxy.get("/x", "Cache-Control: no-cache")
    assert "discard" not in proxy.store.calls
    proxy.store.release()
    assert proxy.store.fields_of(KEY) == []


def test_discarded_entry_is_hidden_until_the_store_has_forgotten_it(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.store.hold("discard")
    proxy.says("Cache-Control: no-store", body=b"two")
    proxy.get("/x", "Cache-Control: no-cache")
    assert proxy.get().body == b"two"
    proxy.store.release()
    assert proxy.get().body == b"two"


def test_discard_that_fails_is_made_good(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.says("Cache-Control: no-store", body=b"two")
    proxy.store.hold("discard")
    proxy.get("/x", "Cache-Control: no-cache")
    proxy.store.failing = down()
    proxy.store.release()
    proxy.store.failing = None
    assert proxy.get().body == b"two", "hidden"
    proxy.advance(1)
    assert proxy.store.fields_of(KEY) == []
    assert proxy.invalidator.pending == 0


def test_read_from_before_a_write_does_not_cover_it(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.store.delay("lookup")
    reader = proxy.start("GET", "/x")
    refresher = proxy.start("GET", "/x", "Cache-Control: no-cache")
    proxy.says(FRESH, body=b"new")
    proxy.store.release()
    assert reader.answer is not None
    assert refresher.answer is not None
    assert refresher.answer.body == b"new"
    assert proxy.get().body == b"new"
    proxy.hot.clear()
    assert proxy.get().body == b"new", "nor does the burst tier"


@pytest.mark.parametrize("slower", ["lookup", "put"])
def test_read_that_crosses_a_write_is_not_remembered(proxy: MemoryProxy, slower: str) -> None:
    stored(proxy)
    proxy.backend.hold()
    proxy.says(FRESH, body=b"new")
    proxy.start("GET", "/x", "Cache-Control: no-cache")
    proxy.store.delay("lookup")
    proxy.burst.clear()
    if slower == "put":
        proxy.store.hold("put")
        proxy.backend.release()
        proxy.hot.clear()
        proxy.start("GET", "/x")
        proxy.store.release("lookup")
        proxy.store.release("put")
    else:
        proxy.start("GET", "/x")
        proxy.backend.release()
        proxy.store.release()
    proxy.hot.clear()
    assert proxy.get().body == b"new"


def test_read_that_crosses_a_discard_is_not_remembered(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.backend.hold()
    proxy.says("Cache-Control: no-store", body=b"new")
    proxy.start("GET", "/x", "Cache-Control: no-cache")
    proxy.store.delay("lookup")
    proxy.burst.clear()
    reader = proxy.start("GET", "/x")
    proxy.backend.release()
    proxy.store.release()
    assert reader.answer is not None
    assert proxy.get().body == b"new"


def test_slow_read_merges_what_became_hot_meanwhile(proxy: MemoryProxy) -> None:
    stored(proxy)
    proxy.store.delay("lookup")
    reader = proxy.start("GET", "/x")
    proxy.says(FRESH, body=b"new")
    refresher = proxy.start("GET", "/x", "Cache-Control: no-cache")
    proxy.store.release()
    assert refresher.answer is not None
    assert reader.answer is not None
    record = proxy.hot.get(KEY, proxy.clock.seconds())
    assert record is not None
    assert [entry.body for entry in record.entries] == [b"new"]


def test_follower_outlives_an_invalidation(proxy: MemoryProxy) -> None:
    """It waited for a fetch that began before; alone, it fetches anew, and that may be stored."""
    proxy.backend.hold()
    leader, follower = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    proxy.invalidate("cache:*")
    late = proxy.start("GET", "/x")
    assert proxy.count == 2, "who comes after the invalidation does not join"
    proxy.says_each(
        proxy.reply("Cache-Control: private", body=b"1"),
        proxy.reply(FRESH, body=b"2"),
        proxy.reply(FRESH, body=b"3"),
    )
    proxy.advance(1)
    proxy.backend.requests[0].answer(proxy.reply("Cache-Control: private", body=b"1"))
    assert leader.answer is not None
    proxy.backend.requests[2].answer(proxy.reply(FRESH, body=b"3"))
    assert follower.answer is not None
    assert follower.answer.body == b"3"
    assert proxy.store.fields_of(KEY) == [b"-"]
    proxy.backend.requests[1].answer(proxy.reply(FRESH, body=b"2"))
    assert late.answer is not None


def test_validation_under_way_does_not_bring_it_back(proxy: MemoryProxy) -> None:
    stored(proxy, b"old", 'ETag: "a"')
    proxy.backend.hold()
    proxy.start("GET", "/x", "Cache-Control: no-cache")
    proxy.invalidate("cache:*")
    proxy.says('ETag: "a"', status=304, body=b"")
    proxy.backend.release()
    assert proxy.store.fields_of(KEY) == []
    assert proxy.hot.get(KEY, proxy.clock.seconds()) is None


def test_background_validation_under_way_does_not_bring_it_back(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, stale-while-revalidate=60")
    proxy.get()
    proxy.advance(3)
    proxy.backend.hold()
    assert proxy.get().cache == "STALE"
    proxy.invalidate("cache:*")
    proxy.says(FRESH, body=b"new")
    proxy.backend.release()
    assert proxy.store.fields_of(KEY) == []


def test_hot_tier_forgets_in_its_own_time_whatever_is_put(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy()
    for value in range(7):
        proxy.says(FRESH, "Vary: Foo")
        proxy.get("/x", f"Foo: {value}")
        proxy.advance(5)
    record = proxy.hot.get(KEY, proxy.clock.seconds())
    assert record is not None
    assert record.expires_at <= proxy.clock.seconds() + 30
    proxy.store.inner.delete([KEY])  # another proxy did
    proxy.burst.clear()
    proxy.advance(30)
    assert proxy.get("/x", "Foo: 0").cache == "MISS"
