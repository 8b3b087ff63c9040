"""Looking into the cache: both tiers as one."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down
from support.stored import KEY, entry, put
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError, Unreadable
from caching_proxy.rules.codec import encode
from caching_proxy.rules.listing import Page, parse_cursor

FRESH = "Cache-Control: max-age=900"


def result(deferred: Deferred) -> object:  # type: ignore[type-arg]
    found: list[object] = []
    deferred.addBoth(found.append)
    return found[0]


def test_inspector_sees_both_tiers_as_one(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    for target in ("/a", "/b", "/c"):
        proxy.get(target)
    proxy.hot.remove(b"cache:GET:anonymous:/a")
    proxy.store.inner.delete([b"cache:GET:anonymous:/b"])
    keys = [b"cache:GET:anonymous:/" + name for name in (b"a", b"b", b"c")]
    assert result(proxy.inspector.keys(None)) == Page(keys)
    assert result(proxy.inspector.keys(b"*/[bc]")) == Page(keys[1:])
    for key in keys:
        entries = result(proxy.inspector.entries(key))
        assert isinstance(entries, list)
        assert [each.body for each in entries] == [b"one"]
    assert result(proxy.inspector.entries(b"absent")) == []


@pytest.mark.parametrize("limit", [1, 7, 100, 1500, 10_000])
@pytest.mark.slow
def test_inspector_pages_give_every_key(proxy: MemoryProxy, limit: int) -> None:
    keys = {b"cache:GET:anonymous:/%d" % number for number in range(2500)}
    for key in keys:
        proxy.store.inner.put(key, b"-", b"x", 900_000)
    proxy.says(FRESH)
    for target in ("/memory/1", "/memory/2", "/memory/3"):
        proxy.get(target)
        proxy.store.inner.delete([b"cache:GET:anonymous:" + target.encode()])
        keys.add(b"cache:GET:anonymous:" + target.encode())
    pages, cursor = [], None
    while not pages or pages[-1].cursor is not None:
        page = proxy.inspector.keys(b"cache:*", limit, cursor)
        while not page.called:
            proxy.advance(0)
        pages.append(result(page))
        cursor = parse_cursor(pages[-1].cursor) if pages[-1].cursor else None
        assert pages[-1].keys == sorted(pages[-1].keys)
    found = [key for page in pages for key in page.keys]
    assert (sorted(found), max(len(page.keys) for page in pages)) == (sorted(keys), min(limit, len(keys)))


def test_inspector_lists_variants_and_prefers_the_later_copy(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy, b"old")))
    put(proxy, b"bad", b"junk")
    proxy.advance(1)
    proxy.hot.put(entry(proxy, b"new"), proxy.clock.seconds())
    proxy.hot.put(entry(proxy, b"other", foo=b"1"), proxy.clock.seconds())
    entries = result(proxy.inspector.entries(KEY))
    assert isinstance(entries, list)
    assert sorted(each.body for each in entries) == [b"new", b"other"]


def test_inspector_does_not_show_what_was_invalidated(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.store.hold("scan")
    proxy.invalidate("cache:*:/x")
    proxy.store.release()
    proxy.get()
    proxy.store.failing = down()
    proxy.invalidate("cache:*:/x")
    proxy.store.failing = None
    assert result(proxy.inspector.keys(None)) == Page([])
    assert result(proxy.inspector.entries(KEY)) == []
    proxy.advance(1)


def test_inspector_finds_nothing_under_a_foreign_key(proxy: MemoryProxy) -> None:
    proxy.store.failing = Unreadable("WRONGTYPE")
    assert result(proxy.inspector.entries(KEY)) == []
    proxy.store.failing = down()
    failure = result(proxy.inspector.entries(KEY))
    assert isinstance(failure, Failure)
    assert failure.check(StoreError)
