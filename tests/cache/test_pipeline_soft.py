"""Soft invalidation, by whatever names the entries: stale is served and validated."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy

FRESH = "Cache-Control: max-age=900"
TAG = "Surrogate-Key: one two"


@pytest.mark.parametrize("way", ["tags", "pattern", "key", "target"])
@pytest.mark.parametrize("forget", [False, True], ids=["memory", "store"])
def test_softly_stale_is_served_and_validated(proxy: MemoryProxy, way: str, forget: bool) -> None:
    proxy.says(FRESH + ", stale-while-revalidate=60", 'ETag: "a"', TAG, body=b"old")
    proxy.get("/x")
    proxy.advance(10)
    if forget:
        proxy.forget_memory()
    if way == "tags":
        assert proxy.invalidate_tags(b"one", soft=True) == [1]
    elif way == "target":
        proxy.invalidator.invalidate_target(b"/x", lambda outcome: None, soft=True)
    else:
        pattern = "cache:*" if way == "pattern" else "cache:GET:anonymous:/x"
        assert proxy.invalidate(pattern, soft=True) == [1]
    proxy.advance(20)
    proxy.says(FRESH, 'ETag: "a"', status=304, body=b"")
    stale = proxy.get("/x")
    assert (stale.cache, stale.body, stale["X-Cache-Expires-In"]) == ("STALE", b"old", "0s")
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.get("/x").cache == "HOT_HIT", "freshened behind the answer"


def test_softly_stale_ends_with_its_window(proxy: MemoryProxy) -> None:
    proxy.says(FRESH + ", stale-while-revalidate=60, stale-if-error=120", body=b"old")
    proxy.get("/x")
    proxy.invalidate("cache:*", soft=True)
    proxy.advance(61)
    proxy.says(FRESH, status=503, body=b"bad")
    assert proxy.get("/x").body == b"old", "stale-if-error"
    proxy.advance(60)
    assert proxy.get("/x").body == b"bad"


def test_without_a_window_it_is_asked_about(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    proxy.get("/x")
    proxy.invalidate("cache:*", soft=True)
    proxy.says(FRESH, 'ETag: "a"', status=304, body=b"")
    assert proxy.get("/x").cache == "REVALIDATED"
    assert proxy.get("/x").cache == "HOT_HIT"


def test_what_is_stored_after_it_is_fresh_beside_what_is_stale(proxy: MemoryProxy) -> None:
    for language in ("de", "en"):
        proxy.says(FRESH, "Vary: Accept-Language", f'ETag: "{language}"', body=language.encode())
        proxy.get("/x", f"Accept-Language: {language}")
    proxy.invalidate("cache:*", soft=True)
    proxy.says(FRESH, "Vary: Accept-Language", body=b"new")
    assert proxy.get("/x", "Accept-Language: de").body == b"new"
    assert proxy.get("/x", "Accept-Language: de").cache == "HOT_HIT"
    proxy.forget_memory()
    assert proxy.get("/x", "Accept-Language: de").cache == "HIT"
    asked = proxy.count
    proxy.get("/x", "Accept-Language: en")
    assert proxy.count == asked + 1


def test_soft_and_hard_patterns_that_share_a_walk(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    for target in ("/a", "/b", "/c"):
        proxy.get(target)
    proxy.store.hold("scan")
    first = proxy.invalidate("cache:*/nothing*")
    soft, hard = proxy.invalidate("cache:*/[ab]", soft=True), proxy.invalidate("cache:*/[bc]")
    proxy.store.release()
    assert (first, soft, hard) == ([0], [2], [2])
    assert [len(proxy.store.fields_of(b"cache:GET:anonymous:/%b" % name)) for name in (b"a", b"b", b"c")] == [1, 0, 0]
