"""Variants of a key through the whole cache: what is read for a request, what may answer it, what is bounded."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down

FRESH = "Cache-Control: max-age=900"
KEY = b"cache:GET:anonymous:/x"


def varying(proxy: MemoryProxy, *values: str, size: int = 1) -> None:
    """Store a variant for each value of Foo, and let the store alone have them."""
    for value in values:
        proxy.says(FRESH, "Vary: Foo", body=value.encode() * size)
        proxy.get("/x", f"Foo: {value}")
    proxy.forget_memory()
    proxy.backend.requests.clear()
    proxy.lookups.clear()


def loaded(proxy: MemoryProxy) -> int:
    """Variants in the hot tier that have their body there."""
    record = proxy.hot.get(KEY, proxy.clock.seconds())
    return 0 if record is None else sum(entry.missing is None for entry in record.entries)


# -- one variant, one round trip


def test_a_lookup_reads_the_one_variant_that_is_selected(proxy: MemoryProxy) -> None:
    varying(proxy, "a", "b", "c")
    for number, value in enumerate("bca", 1):
        answer = proxy.get("/x", f"Foo: {value}")
        assert (answer.cache, answer.body) == ("HIT", value.encode())
        assert (len(proxy.lookups), len(proxy.lookups[-1]), loaded(proxy)) == (number, 1, number)
    assert proxy.count == 0


def test_a_key_that_others_resemble_is_read_in_one_round_trip(proxy: MemoryProxy) -> None:
    varying(proxy, "a")
    proxy.says(FRESH, "Vary: Foo", body=b"b")
    proxy.get("/y", "Foo: b")
    proxy.forget_memory()
    proxy.varying._by_key.clear()
    proxy.lookups.clear()
    assert proxy.get("/y", "Foo: b").cache == "HIT"
    assert len(proxy.lookups) == 1


def test_a_wrong_guess_costs_a_second_round_trip_once(proxy: MemoryProxy) -> None:
    varying(proxy, "a", "b")
    proxy.varying.__init__()  # type: ignore[misc]
    assert proxy.get("/x", "Foo: a").body == b"a"
    assert len(proxy.lookups) == 2
    assert proxy.get("/x", "Foo: b").body == b"b"
    assert len(proxy.lookups) == 3


def test_a_plain_key_after_a_varying_one_is_found(proxy: MemoryProxy) -> None:
    varying(proxy, "a")
    proxy.invalidate("cache:*")
    proxy.says(FRESH, body=b"plain")
    proxy.get("/x")
    learnt = proxy.varying._by_key
    proxy.forget_memory()
    learnt[KEY] = ((b"foo",),)
    assert (proxy.get("/x").cache, proxy.get("/x").body) == ("HIT", b"plain")


def test_a_variant_that_went_between_two_round_trips_is_fetched(proxy: MemoryProxy) -> None:
    varying(proxy, "a", "b")
    proxy.varying.__init__()  # type: ignore[misc]
    proxy.says(FRESH, "Vary: Foo", body=b"new")
    proxy.store.hold("lookup")
    exchange = proxy.start("GET", "/x", "Foo: a")
    proxy.store.release_one("lookup")
    assert proxy.store.waiting("lookup") == 1
    proxy.store.inner.delete([KEY])
    proxy.store.release()
    assert exchange.answer is not None
    assert (exchange.answer.cache, exchange.answer.body) == ("MISS", b"new")


def test_an_outline_in_the_hot_tier_is_read_from_the_store(proxy: MemoryProxy) -> None:
    varying(proxy, "a", "b")
    proxy.get("/x", "Foo: a")
    assert proxy.get("/x", "Foo: b").cache == "HIT"
    assert [proxy.get("/x", f"Foo: {value}").cache for value in "ab"] == ["HOT_HIT", "HOT_HIT"]


def test_an_outline_whose_value_cannot_be_read_is_fetched(proxy: MemoryProxy) -> None:
    varying(proxy, "a", "b")
    proxy.get("/x", "Foo: a")
    proxy.store.failing = down()
    proxy.says(FRESH, "Vary: Foo", body=b"new")
    answer = proxy.get("/x", "Foo: b")
    assert (answer.cache, answer.body) == ("ERROR", b"new")
    assert proxy.get("/x", "Foo: a").cache == "HOT_HIT"


def test_V4_a_304_that_names_an_outline_renews_what_is_in_the_store(proxy: MemoryProxy) -> None:
    for value in "ab":
        proxy.says(FRESH, "Vary: Foo", f'ETag: "{value}"', body=value.encode())
        proxy.get("/x", f"Foo: {value}")
    proxy.forget_memory()
    proxy.says(FRESH, "Vary: Foo", 'ETag: "b"', status=304, body=b"")
    answer = proxy.get("/x", "Foo: c")
    assert (answer.status, answer.body, answer.cache) == (200, b"b", "REVALIDATED")
    assert proxy.get("/x", "Foo: c").body == b"b"


def test_V4_a_304_that_names_an_outline_that_is_gone_is_asked_again(proxy: MemoryProxy) -> None:
    varying(proxy, "a")
    proxy.says(FRESH, "Vary: Foo", 'ETag: "b"', body=b"b")
    proxy.get("/x", "Foo: b")
    proxy.forget_memory()
    not_modified = proxy.reply(FRESH, "Vary: Foo", 'ETag: "b"', status=304, body=b"")
    proxy.says_each(not_modified, proxy.reply(FRESH, "Vary: Foo", body=b"c"))
    proxy.store.hold("lookup")
    exchange = proxy.start("GET", "/x", "Foo: c")
    proxy.store.release_one("lookup")
    proxy.invalidate("cache:*")
    proxy.store.release()
    assert exchange.answer is not None
    assert (exchange.answer.status, exchange.answer.body) == (200, b"c")


# -- bounds


def test_the_hot_tier_keeps_outlines_of_what_is_too_much_for_one_key(proxy: MemoryProxy) -> None:
    proxy.hot._max_variant_bytes = 20_000
    varying(proxy, *"abcdefgh", size=5000)
    for value in "abcdefgh" * 2:
        assert proxy.get("/x", f"Foo: {value}").body == value.encode() * 5000
    assert loaded(proxy) == 2
    assert proxy.hot.bytes <= 20_000
    assert proxy.count == 0


# -- Y10


def test_Y10_a_plain_response_serves_those_who_do_not_send_what_others_vary_by(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Vary: Origin", body=b"cors")
    proxy.get("/x", "Origin: https://a.test")
    proxy.says(FRESH, body=b"plain")
    for _ in range(20):
        assert proxy.get("/x").body == b"plain"
        assert proxy.get("/x", "Origin: https://a.test").body == b"cors"
    proxy.forget_memory()
    assert (proxy.get("/x").body, proxy.get("/x", "Origin: https://a.test").body) == (b"plain", b"cors")
    assert proxy.count == 2
    assert proxy.get("/x", "Origin: https://b.test").cache == "MISS"


def test_Y10_a_plain_response_serves_those_who_send_what_its_own_request_sent(proxy: MemoryProxy) -> None:
    varying(proxy, "1")
    proxy.says(FRESH, body=b"plain")
    assert proxy.get("/x", "Foo: 2").cache == "MISS"
    assert (proxy.get("/x", "Foo: 2").cache, proxy.get("/x", "Foo: 2").body) == ("HOT_HIT", b"plain")
    assert proxy.get("/x", "Foo: 1").body == b"1"
    assert proxy.get("/x", "Foo: 3").cache == "MISS"


# -- the slash, scheme and host


@pytest.mark.parametrize("forget", [False, True], ids=["hot", "stored"])
def test_B18_slash_and_no_slash_do_not_answer_for_one_another(proxy: MemoryProxy, forget: bool) -> None:
    proxy.says(FRESH, body=b"list")
    proxy.get("/docs/")
    proxy.says(FRESH, "Location: /docs/", status=301, body=b"")
    if forget:
        proxy.forget_memory()
    answer = proxy.get("/docs")
    assert (answer.status, answer.cache) == (301, "MISS")
    if forget:
        proxy.forget_memory()
    assert (proxy.get("/docs/").body, proxy.count) == (b"list", 2)
    assert proxy.store.inner.entries == 1, "one key"
    assert proxy.invalidate("cache:GET:anonymous:/docs") == [1]
    assert proxy.get("/docs/").cache == proxy.get("/docs").cache == "MISS"


def test_B18_a_404_of_one_spelling_is_not_the_other_s(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, status=404, body=b"no")
    proxy.get("/x/")
    proxy.says(FRESH, body=b"yes")
    assert [proxy.get(target).status for target in ("/x", "/x/", "/x")] == [200, 404, 200]
    assert proxy.count == 2


def test_B18_a_validation_keeps_the_spelling(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=5", 'ETag: "a"', body=b"slash")
    proxy.get("/x/")
    proxy.advance(6)
    proxy.says("Cache-Control: max-age=5", 'ETag: "a"', status=304, body=b"")
    assert proxy.get("/x/").cache == "REVALIDATED"
    assert proxy.get("/x/").cache == "HOT_HIT"
    proxy.says(FRESH, body=b"bare")
    assert proxy.get("/x").body == b"bare"


def test_B18_followers_of_the_other_spelling_fetch_for_themselves(proxy: MemoryProxy) -> None:
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, body=head.target)
    proxy.store.hold("lookup")
    slash, bare = proxy.start("GET", "/x/"), proxy.start("GET", "/x")
    proxy.store.release()
    assert [exchange.answer and exchange.answer.body for exchange in (slash, bare)] == [b"/x/", b"/x"]


@pytest.mark.parametrize("forget", [False, True], ids=["hot", "stored"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("X-Forwarded-Proto: http", "X-Forwarded-Proto: https"),
        ("X-Forwarded-Host: a.test", "X-Forwarded-Host: b.test"),
        ("Forwarded: proto=http;host=a.test", "Forwarded: proto=https;host=a.test"),
    ],
)
def test_B18_what_a_trusted_proxy_says_tells_variants_apart(
    proxy: MemoryProxy, one: str, other: str, forget: bool
) -> None:
    for line in (one, other, one, other):
        proxy.says(FRESH, body=line.encode())
        assert proxy.get("/x", line, trusted=True).body == line.encode()
        if forget:
            proxy.forget_memory()
    assert proxy.count == 2
    assert proxy.store.inner.entries == 1


def test_B18_nobody_else_can_choose_a_variant(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get("/x")
    assert proxy.get("/x", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test").cache == "HOT_HIT"


# -- credentials without a role


@pytest.mark.parametrize("control", ["public, max-age=9", "s-maxage=9", "must-revalidate, max-age=9"])
def test_B13_what_may_be_shared_is_stored_where_anonymous_requests_find_it(proxy: MemoryProxy, control: str) -> None:
    proxy.says(f"Cache-Control: {control}", body=b"all")
    proxy.get("/x", "Authorization: Basic eDp5")
    assert [proxy.get("/x").cache, proxy.get("/x", "Authorization: Basic Ojo=").cache] == ["HOT_HIT", "HOT_HIT"]
    proxy.forget_memory()
    assert proxy.get("/x", "Authorization: Basic Ojo=").cache == "HIT"
    assert proxy.count == 1


def test_B13_what_is_merely_anonymous_answers_no_credentials(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"all")
    proxy.get("/x")
    proxy.says(FRESH, body=b"personal")
    for _ in range(2):
        assert proxy.get("/x", "Authorization: Basic eDp5").body == b"personal"
    assert proxy.get("/x").body == b"all"
    assert proxy.count == 3


def test_B13_credentials_do_not_keep_anonymous_requests_from_waiting_for_one_another(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"personal")
    proxy.get("/x", "Authorization: Basic eDp5")
    assert not proxy.key_state.hit_for_miss.covers(KEY, proxy.clock.seconds())
