"""What a client's own directives do to an answer from the cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

FRESH = "Cache-Control: max-age=900"


@pytest.mark.parametrize(
    ("validator", "sent"),
    [('ETag: "a"', "If-None-Match"), ("Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT", "If-Modified-Since")],
    ids=["tag", "date"],
)
def test_Q1_no_cache_validates(proxy: MemoryProxy, validator: str, sent: str) -> None:
    proxy.says(FRESH, validator)
    proxy.get()
    proxy.says(validator, status=304, body=b"")
    answer = proxy.get("/x", "Cache-Control: no-cache")
    assert (answer.status, answer.body, answer.cache) == (200, b"one", "REFRESH")
    assert proxy.sent(sent) == validator.partition(": ")[2]


def test_Q1_without_validator_reloads(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.says(FRESH, body=b"two")
    answer = proxy.get("/x", "Cache-Control: no-cache")
    assert (answer.body, answer.cache) == (b"two", "REFRESH")
    assert (proxy.get().body, proxy.get().cache) == (b"two", "HOT_HIT")


@pytest.mark.parametrize(
    "line", ["Cache-Control: max-age=0", "Pragma: no-cache", "Cache-Refresh: true", "X-Cache-Refresh: true"]
)
@pytest.mark.parametrize("lines", [[FRESH], ["Cache-Control: no-store"]], ids=["storable", "not"])
def test_Z4_every_wish_shows_as_refresh(make_proxy: Callable[..., MemoryProxy], line: str, lines: list[str]) -> None:
    proxy = make_proxy()
    proxy.says(*lines)
    proxy.get()
    assert proxy.get("/x", line).cache == "REFRESH"
    assert proxy.count == 2
    deaf = make_proxy(client_refresh=False)
    deaf.says(FRESH)
    deaf.get()
    assert deaf.get("/x", line).cache == "HOT_HIT"


def test_Q2_max_age(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    proxy.get()
    proxy.advance(20)
    assert proxy.get("/x", "Cache-Control: max-age=20").cache == "HOT_HIT"
    proxy.says('ETag: "a"', status=304, body=b"")
    assert proxy.get("/x", "Cache-Control: max-age=10").cache == "REVALIDATED"


def test_Q3_min_fresh(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.advance(5)
    assert proxy.get("/x", "Cache-Control: min-fresh=895").cache == "HOT_HIT"
    assert proxy.get("/x", "Cache-Control: min-fresh=896").cache == "MISS"


@pytest.mark.parametrize(
    ("wish", "cache"), [("max-stale=60", "STALE"), ("max-stale", "STALE"), ("max-stale=2", "MISS")]
)
def test_Q4_max_stale(proxy: MemoryProxy, wish: str, cache: str) -> None:
    proxy.says("Cache-Control: max-age=2")
    proxy.get()
    proxy.advance(7)
    answer = proxy.get("/x", f"Cache-Control: {wish}")
    assert answer.cache == cache
    if cache == "STALE":
        assert (answer["Age"], answer["X-Cache-Expires-In"], answer["Warning"]) == ("7", "0s", None)


def test_Q5_only_if_cached(proxy: MemoryProxy) -> None:
    only = "Cache-Control: only-if-cached"
    answer = proxy.get("/x", only)
    assert (answer.status, answer["Cache-Status"], proxy.count) == (504, None, 0)
    proxy.says(FRESH)
    proxy.get()
    assert proxy.get("/x", only).cache == "HOT_HIT"


def test_Q6_no_store_is_neither_read_nor_stored(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    assert proxy.get("/x", "Cache-Control: no-store").cache == "BYPASS"
    assert proxy.get().cache == "MISS"
    assert proxy.get("/x", "Cache-Control: no-store").cache == "BYPASS"


def test_Q7_pragma_counts_without_cache_control_only(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    assert proxy.get("/x", "Pragma: zzz").cache == "HOT_HIT"
    assert proxy.get("/x", "Pragma: no-cache", "Cache-Control: max-stale=1").cache == "HOT_HIT"
    assert proxy.get("/x", "Pragma: no-cache").cache == "REFRESH"
