"""Validation through the whole pipeline: HTTP-CACHING.md sections 7 and 8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

from caching_proxy.http.dates import format_date

TAG = 'ETag: "a"'
OLD = "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"
SHORT = "Cache-Control: max-age=2"


def stale(proxy: MemoryProxy, *lines: str, body: bytes = b"one") -> None:
    """Store a response to /x that is stale now; then have the backend confirm it."""
    proxy.says(SHORT, *lines, body=body)
    assert proxy.get().status == 200
    proxy.advance(3)
    proxy.says(SHORT, *lines, status=304, body=b"")


@pytest.mark.parametrize("tag", ['"a"', 'W/"k"', 'W/"\xe9"'], ids=["strong", "weak", "bytes"])
def test_V1_tag_is_sent_byte_for_byte(proxy: MemoryProxy, tag: str) -> None:
    stale(proxy, f"ETag: {tag}")
    answer = proxy.get()
    assert (answer.status, answer.body, answer.cache) == (200, b"one", "REVALIDATED")
    assert proxy.sent("If-None-Match") == tag


def test_V2_last_modified_alone(proxy: MemoryProxy) -> None:
    stale(proxy, OLD)
    assert proxy.get().cache == "REVALIDATED"
    assert proxy.sent("If-Modified-Since") == "Wed, 01 Jan 2020 00:00:00 GMT"
    assert proxy.sent("If-None-Match") is None


def test_V2_both_validators(proxy: MemoryProxy) -> None:
    stale(proxy, OLD, TAG)
    proxy.get()
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.sent("If-Modified-Since") == "Wed, 01 Jan 2020 00:00:00 GMT"


def test_V2_non_2xx_is_fetched_anew(proxy: MemoryProxy) -> None:
    proxy.says(SHORT, TAG, status=404)
    proxy.get()
    proxy.advance(3)
    assert proxy.get().cache == "MISS"
    assert proxy.sent("If-None-Match") is None


def test_V3_starts_from_the_clients_request(proxy: MemoryProxy) -> None:
    proxy.says(SHORT, TAG, "Vary: Abc")
    proxy.get("/x", "Abc: 7")
    proxy.advance(3)
    proxy.says(TAG, status=304, body=b"")
    proxy.get("/x", "Abc: 7", 'If-None-Match: "mine"', "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT")
    assert proxy.sent("Abc") == "7"
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.sent("If-Modified-Since") is None


def test_V3_background_takes_the_stored_values(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, stale-while-revalidate=60", TAG, "Vary: Accept-Language")
    proxy.get("/x", "Accept-Language: en, it")
    proxy.advance(3)
    proxy.says(TAG, status=304, body=b"")
    proxy.get("/x", "Accept-Language: it;q=1, en", 'If-None-Match: "b"', "Range: bytes=0-1")
    assert proxy.count == 2
    assert proxy.sent("Accept-Language") == "en, it"
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.sent("Range") is None


def test_V4_304_to_a_client_that_has_it(proxy: MemoryProxy) -> None:
    stale(proxy, OLD)
    answer = proxy.get("/x", "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT")
    assert (answer.status, answer.body) == (304, b"")
    assert proxy.count == 2


def test_V4_whole_to_a_client_that_has_something_else(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    answer = proxy.get("/x", 'If-None-Match: "b"')
    assert (answer.status, answer.body) == (200, b"one")
    assert proxy.sent("If-None-Match") == '"a"'


def test_V5_bare_304(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says("Cache-Control: max-age=60", status=304, body=b"")
    assert proxy.get().body == b"one"
    proxy.advance(29)
    assert (proxy.get().cache, proxy.count) == ("HOT_HIT", 2)


def test_V6_strong_tag_updates_every_response_that_may_be_selected(proxy: MemoryProxy) -> None:
    proxy.says(SHORT, TAG, "Vary: Foo")
    proxy.get("/x", "Foo: 1")
    proxy.advance(3)
    proxy.says(SHORT, TAG, "Vary: Bar", body=b"two")
    proxy.get("/x", "Foo: 2", "Bar: 1")
    proxy.advance(3)
    assert len(proxy.store.fields_of(b"cache:GET:anonymous:/x")) == 2
    proxy.says("Cache-Control: max-age=900", TAG, status=304, body=b"")
    proxy.get("/x", "Foo: 1", "Bar: 1")
    count = proxy.count
    proxy.forget_memory()
    assert proxy.get("/x", "Foo: 1", "Bar: 9").body == b"one"
    assert proxy.get("/x", "Foo: 9", "Bar: 1").body == b"two"
    assert proxy.count == count


def test_V6_weak_tag_updates_the_newest_only(proxy: MemoryProxy) -> None:
    weak = 'ETag: W/"a"'
    proxy.says(SHORT, weak, "Vary: Foo")
    proxy.get("/x", "Foo: 1")
    proxy.advance(3)
    proxy.says(SHORT, weak, "Vary: Bar", body=b"two")
    proxy.get("/x", "Foo: 2", "Bar: 1")
    proxy.advance(3)
    proxy.says("Cache-Control: max-age=900", weak, status=304, body=b"")
    proxy.get("/x", "Foo: 1", "Bar: 1")
    count = proxy.count
    assert proxy.get("/x", "Foo: 9", "Bar: 1").body == b"two"
    assert proxy.count == count
    proxy.get("/x", "Foo: 1", "Bar: 9")
    assert proxy.count == count + 1


def test_V7_304_that_names_nothing_stored(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says_each(proxy.reply('ETag: "b"', status=304, body=b""), proxy.reply(SHORT, 'ETag: "b"', body=b"two"))
    answer = proxy.get()
    assert (answer.status, answer.body) == (200, b"two")
    assert proxy.sent("If-None-Match") is None
    assert proxy.get().body == b"two"
    assert proxy.count == 3


def test_V7_304_that_the_client_asked_for_is_relayed(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says('ETag: "b"', status=304, body=b"")
    answer = proxy.get("/x", 'If-None-Match: "b"')
    assert answer.status == 304
    assert proxy.count == 2


def test_V7_repeated_304_without_conditions_is_an_error(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says('ETag: "b"', status=304, body=b"")
    answer = proxy.get("/x", 'If-None-Match: "c"')
    assert answer.cache == "STALE"  # the backend is as good as gone
    assert proxy.count == 3


def test_V8_fields_of_a_304_replace_stored_ones(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(store_set_cookie=True)
    proxy.says(SHORT + ", public", TAG, "A: 1", "B: 1", "Set-Cookie: x=1", "Content-Type: text/plain")
    proxy.get()
    proxy.advance(3)
    proxy.says("Cache-Control: max-age=900, public", TAG, "A: 2", "Content-Type: text/html", status=304, body=b"")
    for answer in (proxy.get(), proxy.get()):
        assert (answer["A"], answer["B"], answer["Set-Cookie"]) == ("2", "1", "x=1")
        assert answer["Content-Type"] == "text/html"


def test_V9_length_stays(proxy: MemoryProxy) -> None:
    stale(proxy, TAG, "Content-Length: 3")
    proxy.says("Cache-Control: max-age=900", TAG, "Content-Length: 8", "Connection: A", "A: 9", status=304, body=b"")
    assert proxy.get()["Content-Length"] == "3"
    assert proxy.get()["A"] is None


def test_V10_freshness_begins_anew(proxy: MemoryProxy) -> None:
    proxy.says(SHORT, TAG, "Age: 1")
    proxy.get()
    proxy.advance(3)
    proxy.says("Cache-Control: max-age=900", status=304, body=b"")
    assert proxy.get()["Age"] == "0"
    proxy.advance(899)
    assert (proxy.get()["Age"], proxy.count) == ("899", 2)
    proxy.advance(1)
    proxy.get()
    assert proxy.count == 3


def test_V10_vary_of_the_304_is_recorded_anew(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says("Cache-Control: max-age=900", TAG, "Vary: Foo", status=304, body=b"")
    proxy.get("/x", "Foo: 1")
    proxy.forget_memory()
    assert proxy.get("/x", "Foo: 1").cache == "HIT"
    assert len(proxy.store.fields_of(b"cache:GET:anonymous:/x")) == 1, "the response without Vary is the same one"


def test_V11_full_answer_replaces(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says("Cache-Control: max-age=900", 'ETag: "b"', body=b"two")
    assert proxy.get().body == b"two"
    proxy.forget_memory()
    assert (proxy.get().body, proxy.count) == (b"two", 2)


def test_V11_full_answer_under_another_variant_replaces_too(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says("Cache-Control: max-age=900", 'ETag: "b"', "Vary: Foo", body=b"two")
    proxy.get("/x", "Foo: 1")
    assert len(proxy.store.fields_of(b"cache:GET:anonymous:/x")) == 1
    record = proxy.hot.get(b"cache:GET:anonymous:/x", proxy.clock.seconds())
    assert record is not None
    assert [entry.body for entry in record.entries] == [b"two"]


def test_V12_must_revalidate(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, must-revalidate", TAG)
    proxy.get()
    proxy.advance(1)
    assert proxy.get().cache == "HOT_HIT"
    proxy.advance(2)
    proxy.says(TAG, status=304, body=b"")
    assert proxy.get("/x", "Cache-Control: max-stale").cache == "REVALIDATED"


def test_V13_client_conditions_go_untouched_on_a_miss(proxy: MemoryProxy) -> None:
    proxy.says('ETag: "z"', "Cache-Control: max-age=60", status=304, body=b"")
    answer = proxy.get("/x", 'If-None-Match: "z"')
    assert (answer.status, proxy.sent("If-None-Match")) == (304, '"z"')
    assert proxy.store.fields_of(b"cache:GET:anonymous:/x") == []


def test_V13_304_to_an_unconditional_request(proxy: MemoryProxy) -> None:
    proxy.says('ETag: "z"', status=304, body=b"")
    assert proxy.get().status == 502


@pytest.mark.parametrize("line", ['If-Match: "a"', "If-Unmodified-Since: Wed, 01 Jan 2020 00:00:00 GMT"])
def test_V13_preconditions_for_the_backend_alone(proxy: MemoryProxy, line: str) -> None:
    proxy.says("Cache-Control: max-age=60", TAG)
    proxy.get()
    answer = proxy.get("/x", line)
    assert (answer.cache, proxy.count) == ("BYPASS", 2)
    name, _, value = line.partition(": ")
    assert proxy.sent(name) == value


@pytest.mark.parametrize("start", ["fresh", "stale"])
def test_V14_head_with_the_same_validators_renews(proxy: MemoryProxy, start: str) -> None:
    proxy.says(SHORT, TAG, "A: 1")
    proxy.get()
    proxy.advance(1 if start == "fresh" else 3)
    proxy.says("Cache-Control: max-age=900", TAG, "A: 2", "Content-Length: 3", body=b"")
    proxy.head("/x", *(["Cache-Control: no-cache"] if start == "fresh" else []))
    proxy.forget_memory()
    proxy.advance(100)
    answer = proxy.get()
    assert (answer.cache, answer.body, answer["A"]) == ("HIT", b"one", "2")


@pytest.mark.parametrize("line", ['ETag: "b"', "Content-Length: 99"])
@pytest.mark.parametrize("memory", [True, False], ids=["hot", "store"])
def test_V14_head_that_differs_makes_stale(proxy: MemoryProxy, line: str, memory: bool) -> None:
    proxy.says("Cache-Control: max-age=900", TAG)
    proxy.get()
    proxy.says("Cache-Control: max-age=900", line, body=b"")
    proxy.head("/x", "Cache-Control: no-cache")
    if not memory:
        proxy.forget_memory()
    proxy.says(TAG, status=304, body=b"")
    assert proxy.get().cache == "REVALIDATED"
    assert proxy.sent("If-None-Match") == '"a"'


def test_V14_other_statuses_change_nothing(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900", TAG)
    proxy.get()
    proxy.says(status=404, body=b"")
    proxy.head("/x", "Cache-Control: no-cache")
    assert proxy.get().cache == "HOT_HIT"


def test_304_after_which_nothing_may_be_stored(proxy: MemoryProxy) -> None:
    stale(proxy, TAG)
    proxy.says("Cache-Control: no-store", TAG, "A: 2", status=304, body=b"")
    answer = proxy.get()
    assert (answer.body, answer["A"], answer["Cache-Control"]) == (b"one", "2", "no-store")
    assert proxy.store.fields_of(b"cache:GET:anonymous:/x") == []
    assert proxy.hot.get(b"cache:GET:anonymous:/x", proxy.clock.seconds()) is None


# -- answering the client's own conditions (section 8)


def test_N1_fresh_match(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900", 'ETag: "k"', "Content-Type: text/plain", "X-Frame-Options: DENY")
    proxy.get()
    answer = proxy.get("/x", 'If-None-Match: "k"')
    assert (answer.status, answer.body, answer["ETag"], proxy.count) == (304, b"", '"k"', 1)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (['If-None-Match: "j", W/"k"'], 304),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "j"'], 200),
    ],
    ids=["list", "star", "other"],
)
def test_N2_weak_comparison(proxy: MemoryProxy, lines: list[str], status: int) -> None:
    proxy.says("Cache-Control: max-age=900", 'ETag: W/"k"')
    proxy.get()
    assert proxy.get("/x", *lines).status == status
    assert proxy.count == 1


def test_N3_tag_beats_date(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900", 'ETag: "k"', OLD)
    proxy.get()
    long_ago = "If-Modified-Since: Tue, 01 Jan 2019 00:00:00 GMT"
    assert proxy.get("/x", 'If-None-Match: "k"', long_ago).status == 304
    same = "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT"
    assert proxy.get("/x", 'If-None-Match: "j"', same).status == 200


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("Wed, 01 Jan 2020 00:00:00 GMT", 304),
        ("Wednesday, 01-Jan-20 00:01:00 GMT", 304),
        ("Tue, 31 Dec 2019 23:59:00 GMT", 200),
        ("soon", 200),
    ],
    ids=["equal", "later", "earlier", "invalid"],
)
def test_N4_date(proxy: MemoryProxy, since: str, status: int) -> None:
    proxy.says("Cache-Control: max-age=900", OLD)
    proxy.get()
    assert proxy.get("/x", f"If-Modified-Since: {since}").status == status


def test_N5_date_without_last_modified(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900")
    proxy.get()
    now = proxy.clock.seconds()
    assert proxy.get("/x", "If-Modified-Since: " + format_date(now + 5).decode()).status == 304
    assert proxy.get("/x", "If-Modified-Since: " + format_date(now - 60).decode()).status == 200


def test_N6_fields_of_a_generated_304(proxy: MemoryProxy) -> None:
    kept = ("Content-Location: /y", 'ETag: "k"', "Vary: Foo", "X-Frame-Options: DENY")
    proxy.says("Cache-Control: max-age=900", *kept, "Content-Type: text/plain", "Content-Language: en")
    proxy.get()
    proxy.advance(2)
    answer = proxy.get("/x", 'If-None-Match: "k"')
    for line in ("Cache-Control: max-age=900", *kept):
        name, _, value = line.partition(": ")
        assert answer[name] == value
    assert answer["Age"] == "2"
    assert answer["Content-Type"] is answer["Content-Language"] is answer["Content-Length"] is None


def test_N7_malformed_tag(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900", "ETag: k")
    proxy.get()
    assert proxy.get("/x", "If-None-Match: k").status == 304
    assert proxy.get("/x", 'If-None-Match: "k"').status == 200


def test_N8_not_for_other_statuses(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=900", 'ETag: "k"', status=404)
    proxy.get()
    assert proxy.get("/x", 'If-None-Match: "k"').status == 404


def test_conditional_clients_share_one_validation(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy()
    stale(proxy, TAG)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", 'If-None-Match: "a"') for _ in range(5)]
    waiting += [proxy.start("GET", "/x", "Range: bytes=0-0")]
    proxy.backend.release()
    assert [exchange.answer.status for exchange in waiting if exchange.answer] == [304] * 5 + [206]
    assert proxy.count == 2
