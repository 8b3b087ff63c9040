"""Serving stale, through the whole pipeline: HTTP-CACHING.md section 10."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable

GONE = [UpstreamUnreachable("refused"), UpstreamTimeout("silent"), UpstreamProtocolError("closed")]


def stale(proxy: MemoryProxy, control: str, *lines: str, after: float = 3) -> None:
    proxy.says(f"Cache-Control: max-age=2{control}", *lines)
    proxy.get()
    proxy.advance(after)


@pytest.mark.parametrize("word", ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=2"])
def test_E1_never_stale(proxy: MemoryProxy, word: str) -> None:
    stale(proxy, f", stale-if-error=600, stale-while-revalidate=600, {word}", 'ETag: "a"')
    proxy.says_each(*GONE)
    for _ in GONE:
        answer = proxy.get("/x", "Cache-Control: max-stale")
        assert (answer.status, answer["Cache-Status"], answer["Content-Type"]) == (504, None, "application/json")


def test_E2_backend_within_reach_is_asked(proxy: MemoryProxy) -> None:
    stale(proxy, "", 'ETag: "a"')
    proxy.says('ETag: "a"', status=304, body=b"")
    assert proxy.get().cache == "REVALIDATED"


@pytest.mark.parametrize("error", GONE, ids=["connect", "timeout", "closed"])
def test_E3_disconnected(make_proxy: Callable[..., MemoryProxy], error: Exception) -> None:
    proxy = make_proxy()
    stale(proxy, "")
    proxy.says_each(error, error)
    answer = proxy.get()
    assert (answer.status, answer.body, answer.cache, answer["Age"]) == (200, b"one", "STALE", "3")
    expected = 504 if isinstance(error, UpstreamTimeout) else 502
    assert proxy.get("/other").status == expected


def test_E3_not_past_the_time_that_entries_are_kept(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(keep_stale=600)
    stale(proxy, "", after=601)
    proxy.says_each(GONE[0], GONE[0])
    assert proxy.get().status == 200
    proxy.advance(1)
    assert proxy.get().status == 502


def test_E4_one_validation_behind_the_answer(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-while-revalidate=600", 'ETag: "a"', after=4)
    proxy.backend.hold()
    for _ in range(3):
        assert (proxy.get().cache, proxy.get()["Age"]) == ("STALE", "4")
    assert proxy.count == 2
    assert proxy.sent("If-None-Match") == '"a"'
    proxy.says("Cache-Control: max-age=9", 'ETag: "a"', status=304, body=b"")
    proxy.backend.release()
    assert proxy.get().cache == "HOT_HIT"
    assert proxy.count == 2


def test_E4_full_answer_behind(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-while-revalidate=600")
    proxy.says("Cache-Control: max-age=9", body=b"two")
    assert proxy.get().body == b"one"
    assert (proxy.get().body, proxy.count) == (b"two", 2)


def test_E4_result_that_must_be_validated(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-while-revalidate=600", 'ETag: "a"')
    proxy.says("Cache-Control: no-cache", 'ETag: "b"', body=b"two")
    assert proxy.get().body == b"one"
    assert (proxy.get().body, proxy.count) == (b"two", 3)


def test_E4_past_the_window(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-while-revalidate=10", 'ETag: "a"', after=13)
    proxy.says('ETag: "a"', status=304, body=b"")
    assert proxy.get().cache == "REVALIDATED"


def test_E4_head_validates_with_a_get(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-while-revalidate=600", 'ETag: "a"')
    answer = proxy.head()
    assert (answer.cache, answer.body, proxy.seen[-1].method) == ("STALE", b"", b"GET")


@pytest.mark.parametrize("error", [*GONE, 500, 503], ids=["connect", "timeout", "closed", "500", "503"])
def test_E4_failure_behind_leaves_it(make_proxy: Callable[..., MemoryProxy], error: Exception | int) -> None:
    proxy = make_proxy()
    stale(proxy, ", stale-while-revalidate=600")
    proxy.says_each(*[proxy.reply(status=error) if isinstance(error, int) else error] * 2)
    assert [proxy.get().cache, proxy.get().cache, proxy.count] == ["STALE", "STALE", 3]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_E5_error_is_replaced(proxy: MemoryProxy, status: int) -> None:
    stale(proxy, ", stale-if-error=60", after=4)
    proxy.says(status=status, body=b"oops")
    answer = proxy.get()
    assert (answer.status, answer.body, answer.cache, answer["Age"]) == (200, b"one", "STALE", "4")
    assert answer.why == f"fwd=stale; fwd-status={status}; ttl=-2"
    proxy.advance(86)
    assert proxy.get().status == status


def test_E5_by_the_request(proxy: MemoryProxy) -> None:
    stale(proxy, "")
    proxy.says(status=503, body=b"oops")
    assert proxy.get("/x", "Cache-Control: stale-if-error=60").cache == "STALE"
    assert proxy.get().status == 503


def test_E5_other_statuses_pass(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-if-error=60")
    proxy.says(status=404, body=b"oops")
    assert proxy.get().status == 404


def test_E5_followers_get_the_stale_answer_too(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-if-error=60")
    proxy.says(status=503, body=b"oops")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(5)]
    proxy.backend.release()
    assert [exchange.answer.status for exchange in waiting if exchange.answer] == [200] * 5
    assert proxy.count == 2


def test_E6_error_without_permission(proxy: MemoryProxy) -> None:
    stale(proxy, "", 'ETag: "a"')
    proxy.says(status=500, body=b"oops")
    assert proxy.get().status == 500
    proxy.says('ETag: "a"', status=304, body=b"")
    assert proxy.get().cache == "REVALIDATED", "the error has not replaced what is stored"


def test_E7_true_age(proxy: MemoryProxy) -> None:
    stale(proxy, "", after=4)
    answer = proxy.get("/x", "Cache-Control: max-stale")
    assert (answer["Age"], answer["Warning"]) == ("4", None)


def test_stale_copy_invalidated_meanwhile_does_not_stand_in(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-if-error=60")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x"), proxy.start("GET", "/x")]
    proxy.invalidate("cache:*")
    proxy.says_each(GONE[0], GONE[0])
    proxy.backend.release()
    assert [exchange.answer.status for exchange in waiting if exchange.answer] == [502, 502]


def test_E5_not_with_what_was_invalidated_meanwhile(proxy: MemoryProxy) -> None:
    stale(proxy, ", stale-if-error=60")
    proxy.backend.hold()
    exchange = proxy.start("GET", "/x")
    proxy.invalidate("cache:*")
    proxy.says(status=503)
    proxy.backend.release()
    assert exchange.answer is not None
    assert exchange.answer.status == 503


def test_E3_whole_survives_a_part_that_may_not_be_stored(proxy: MemoryProxy) -> None:
    stale(proxy, "")
    proxy.says("Cache-Control: no-store", "Content-Range: bytes 0-1/3", status=206, body=b"on")
    assert proxy.get("/x", "Range: bytes=0-1").status == 206
    proxy.says_each(GONE[0])
    assert proxy.get().cache == "STALE"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UpstreamUnreachable("refused"), 502, "The backend could not be reached"),
        (UpstreamProtocolError("the connection ended"), 502, "The backend gave no usable response"),
        (UpstreamTimeout("silence"), 504, "The backend did not answer in time"),
    ],
    ids=["connect", "closed", "timeout"],
)
def test_the_error_says_what_the_backend_did(proxy: MemoryProxy, error: UpstreamError, status: int, text: str) -> None:
    proxy.says_each(error)
    answer = proxy.get()
    assert (answer.status, json.loads(answer.body)["error"]) == (status, text)
