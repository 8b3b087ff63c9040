"""FILL_ON_CONDITIONAL: clients that only send validators fill the cache too (rule V13)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

FRESH = "Cache-Control: max-age=900"
TAG = 'ETag: "a"'
OLD = "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"
SINCE = "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT"
BEFORE = "If-Modified-Since: Wed, 01 Jan 2019 00:00:00 GMT"
MakeProxy = Callable[..., MemoryProxy]


@pytest.mark.parametrize(
    ("stored", "condition", "status"),
    [
        (TAG, 'If-None-Match: "a"', 304),
        (TAG, 'If-None-Match: W/"a", "b"', 304),
        (TAG, "If-None-Match: *", 304),
        (TAG, 'If-None-Match: "b"', 200),
        (OLD, SINCE, 304),
        (OLD, BEFORE, 200),
        (OLD, 'If-None-Match: "a"', 200),
        ("A: 1", 'If-None-Match: "a"', 200),
    ],
)
def test_V13_the_whole_is_fetched_stored_and_the_condition_judged_here(
    make_proxy: MakeProxy, stored: str, condition: str, status: int
) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(FRESH, stored, "Content-Type: text/plain", "X: 1")
    answer = proxy.get("/x", condition)
    assert (answer.status, answer.body, answer.cache) == (status, b"" if status == 304 else b"one", "MISS")
    assert (proxy.sent("If-None-Match"), proxy.sent("If-Modified-Since")) == (None, None)
    assert (answer["X"], answer["Content-Type"]) == ("1", None if status == 304 else "text/plain")
    assert answer.why.startswith("fwd=uri-miss; " + ("fwd-status=200; ttl=900" if status == 304 else "ttl=900"))
    again = proxy.get("/x", condition)
    assert (again.status, again.cache, proxy.count) == (status, "HOT_HIT", 1)
    assert proxy.get().body == b"one"
    proxy.forget_memory()
    assert (proxy.get().cache, proxy.count) == ("HIT", 1)


def test_V13_a_body_that_arrives_slowly_is_stored_though_the_client_has_its_304(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.backend.hold()
    exchange = proxy.start("GET", "/x", 'If-None-Match: "a"')
    response = proxy.open_response(FRESH, TAG)
    proxy.backend.requests[0].answer(response)
    assert exchange.answer is not None
    assert (exchange.answer.status, exchange.answer.body) == (304, b"")
    response.body.feed(b"whole")
    proxy.advance(5)
    response.body.end()
    assert (proxy.get().body, proxy.get().cache, proxy.count) == (b"whole", "HOT_HIT", 1)


def test_V13_two_at_once_are_one_fetch(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(FRESH, TAG)
    proxy.backend.hold()
    both = [proxy.start("GET", "/x", f'If-None-Match: "{tag}"') for tag in ("a", "b")]
    proxy.backend.release()
    answers = [exchange.answer for exchange in both]
    assert [answer.status for answer in answers if answer is not None] == [304, 200]
    assert proxy.count == 1


def test_V13_what_is_not_cacheable_is_asked_for_as_the_client_asked_from_the_second_time_on(
    make_proxy: MakeProxy,
) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says("Cache-Control: no-store", TAG)
    first = proxy.get("/x", 'If-None-Match: "a"')
    assert (first.status, first.body, proxy.sent("If-None-Match")) == (304, b"", None)
    proxy.says("Cache-Control: no-store", TAG, status=304, body=b"")
    assert proxy.get("/x", 'If-None-Match: "a"').status == 304
    assert proxy.sent("If-None-Match") == '"a"'


@pytest.mark.parametrize("status", [404, 500, 301])
def test_V13_conditions_are_about_successes(make_proxy: MakeProxy, status: int) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(FRESH, TAG, status=status)
    answer = proxy.get("/x", 'If-None-Match: "a"')
    assert (answer.status, answer.body) == (status, b"one")


def test_V13_a_304_to_what_had_no_conditions_is_an_error(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(TAG, status=304, body=b"")
    assert proxy.get("/x", 'If-None-Match: "a"').status == 502


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("HEAD", ('If-None-Match: "a"',)),
        ("GET", ('If-None-Match: "a"', "Range: bytes=0-1")),
        ("GET", ('If-None-Match: "a"', 'If-Range: "a"')),
        ("GET", ('If-None-Match: "a"', 'If-Match: "a"')),
        ("GET", ('If-None-Match: "a"', "Cookie: session=1")),
        ("GET", ('If-None-Match: "a"', "Authorization: none")),
        ("GET", ('If-None-Match: "a"', "Cache-Control: no-store")),
    ],
)
def test_V13_anything_else_goes_on_untouched(make_proxy: MakeProxy, method: str, lines: tuple[str, ...]) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(FRESH, TAG, status=304, body=b"")
    assert proxy.ask(method, "/x", *lines).status == 304
    assert proxy.sent("If-None-Match") == '"a"'


def test_V13_it_is_off_by_default(make_proxy: MakeProxy) -> None:
    proxy = make_proxy()
    proxy.says(FRESH, TAG, status=304, body=b"")
    assert proxy.get("/x", 'If-None-Match: "a"').status == 304
    assert proxy.sent("If-None-Match") == '"a"'


def test_V13_a_variant_with_another_tag_is_asked_about(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(fill_on_conditional=True)
    proxy.says(FRESH, TAG, "Vary: Foo")
    proxy.get("/x", "Foo: 1")
    proxy.says(FRESH, TAG, "Vary: Foo", status=304, body=b"")
    answer = proxy.get("/x", "Foo: 2", 'If-None-Match: "b"')
    assert (answer.status, answer.body) == (200, b"one")
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.get("/x", "Foo: 2", 'If-None-Match: "a"').status == 304
    assert proxy.count == 2
