"""Sharing a body that still arrives, giving up what nobody waits for, and what answers while a backend is silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy
from twisted.python.failure import Failure

from caching_proxy.cache.backend.tee import ABANDONED_SECONDS
from caching_proxy.http.body import HIGH_WATER
from caching_proxy.interfaces import IncompleteBody, UpstreamTimeout, UpstreamUnreachable

FRESH = "Cache-Control: max-age=900"
MakeProxy = Callable[..., MemoryProxy]


class Tap:
    """The backend's end of a body."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.paused = 0

    def pause_body(self) -> None:
        self.paused += 1

    def resume_body(self) -> None: ...

    def cancel_body(self) -> None:
        self.cancelled += 1


def test_followers_read_along_and_get_every_byte(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH, "X-Own: 1")
    proxy.backend.script = lambda head, body: response
    proxy.backend.hold()
    early = [proxy.start("GET", "/x") for _ in range(3)]
    proxy.backend.release()
    response.body.feed(b"ab")
    late = proxy.start("GET", "/x")
    assert proxy.count == 1
    assert all(exchange.reply is not None for exchange in [*early, late]), "the head is here"
    response.body.feed(b"cd")
    response.body.end()
    assert [exchange.answer.body for exchange in [*early, late] if exchange.answer] == [b"abcd"] * 4
    assert late.answer is not None
    assert (late.answer["X-Own"], late.answer.cache) == ("1", "MISS")
    assert late.answer.why == "fwd=uri-miss; ttl=900; collapsed"
    assert proxy.key_state.collapsed == 3
    assert proxy.get().cache == "HOT_HIT"
    assert proxy.quiet


def test_a_follower_that_leaves_or_breaks_off_disturbs_nobody(proxy: MemoryProxy) -> None:
    tap = Tap()
    response = proxy.open_response(FRESH, source=tap)
    proxy.backend.script = lambda head, body: response
    leader, follower = proxy.start("GET", "/x"), proxy.start("GET", "/x", read=False)
    response.body.feed(b"ab")
    leader.leave()
    follower.leave()
    other = proxy.start("GET", "/x")
    response.body.end()
    assert tap.cancelled == 0
    assert other.answer is not None
    assert other.answer.body == b"ab"


def test_a_body_that_breaks_off_fails_all_who_read_it(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    readers = [proxy.start("GET", "/x") for _ in range(3)]
    response.body.feed(b"ab")
    response.body.fail(Failure(IncompleteBody("early")))
    assert all(exchange.answer is not None and exchange.answer.error for exchange in readers)
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"
    assert proxy.quiet


@pytest.mark.parametrize(
    "line",
    ["Content-Type: text/event-stream", "Content-Type: Multipart/X-Mixed-Replace; boundary=x"],
)
@pytest.mark.parametrize("control", ["X-None: 1", FRESH])
def test_endless_types_are_never_shared(make_proxy: MakeProxy, line: str, control: str) -> None:
    proxy = make_proxy(default_ttl=1800)
    taps = [Tap() for _ in range(3)]
    responses = [proxy.open_response(line, control, source=tap) for tap in taps]
    proxy.backend.script = lambda head, body: responses[proxy.count - 1]
    proxy.backend.hold()
    streams = [proxy.start("GET", "/x", read=False) for _ in range(2)]
    proxy.backend.release()
    streams.append(proxy.start("GET", "/x", read=False))
    assert proxy.count == 3
    for exchange in streams:
        exchange.leave()
    proxy.advance(ABANDONED_SECONDS)
    assert [tap.cancelled for tap in taps] == [1, 1, 1]


def test_a_guess_about_an_endless_type_is_not_made(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(default_ttl=1800)
    proxy.says("Content-Type: text/event-stream", body=b"data: x\n\n")
    assert [proxy.get().cache for _ in range(2)] == ["MISS", "MISS"]


def test_what_outgrows_the_cache_is_shared_no_more(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(max_body=HIGH_WATER)
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response if proxy.count == 1 else proxy.reply(body=b"own")
    leader, follower = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    response.body.feed(b"x" * HIGH_WATER)
    response.body.feed(b"y")
    assert proxy.start("GET", "/x").answer is not None, "asks for itself"
    response.body.end()
    assert leader.answer is not None
    assert follower.answer is not None
    assert leader.answer.body == follower.answer.body == b"x" * HIGH_WATER + b"y"
    assert proxy.quiet


def test_with_nobody_left_a_fetch_ends_and_frees_its_connection(proxy: MemoryProxy) -> None:
    tap = Tap()
    response = proxy.open_response(FRESH, source=tap)
    proxy.backend.script = lambda head, body: response
    readers = [proxy.start("GET", "/x", read=False) for _ in range(2)]
    response.body.feed(b"ab")
    for exchange in readers:
        exchange.leave()
    proxy.advance(ABANDONED_SECONDS)
    assert tap.cancelled == 1
    assert proxy.quiet
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"


def test_a_validation_in_the_background_is_not_given_up(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, stale-while-revalidate=600")
    proxy.get()
    proxy.advance(4)
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    assert proxy.get().cache == "STALE"
    proxy.advance(ABANDONED_SECONDS + 1)
    response.body.feed(b"new")
    response.body.end()
    assert proxy.get().body == b"new"


def test_conditional_and_partial_requests_do_not_wait_for_a_body_under_way(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response if proxy.count == 1 else proxy.reply(status=304, body=b"")
    proxy.start("GET", "/x")
    part = proxy.start("GET", "/x", "Range: bytes=0-1")
    condition = proxy.start("GET", "/x", 'If-None-Match: "a"')
    assert part.answer is not None
    assert condition.answer is not None
    response.body.end()


def test_an_invalidation_keeps_later_requests_from_joining(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response if proxy.count == 1 else proxy.reply(FRESH, body=b"new")
    before = proxy.start("GET", "/x")
    proxy.invalidate("cache:GET:*:/x")
    after = proxy.start("GET", "/x")
    response.body.feed(b"old")
    response.body.end()
    assert before.answer is not None
    assert after.answer is not None
    assert (before.answer.body, after.answer.body) == (b"old", b"new")
    assert proxy.get().body == b"new"


# -- STALE_WAIT_SECONDS

STALE = "Cache-Control: max-age=2, stale-if-error=600"


def _stale(proxy: MemoryProxy, *lines: str) -> None:
    proxy.says(*(lines or (STALE,)), body=b"old")
    proxy.get()
    proxy.advance(4)
    proxy.backend.hold()


def test_E5_a_silent_backend_is_not_waited_for(proxy: MemoryProxy) -> None:
    _stale(proxy)
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    proxy.advance(0.9)
    assert not any(exchange.answer for exchange in waiting)
    proxy.advance(0.1)
    assert [(e.answer.cache, e.answer.body) for e in waiting if e.answer] == [("STALE", b"old")] * 3
    proxy.says(STALE, body=b"new")
    proxy.backend.release()
    again = proxy.get()
    assert (again.cache, again.body) == ("HOT_HIT", b"new"), "the fetch went on for the cache"
    assert proxy.quiet


@pytest.mark.parametrize("error", [UpstreamTimeout("silent"), UpstreamUnreachable("gone")])
def test_E5_what_fails_after_the_stale_answer_hurts_nobody(proxy: MemoryProxy, error: Exception) -> None:
    _stale(proxy)
    exchange = proxy.start("GET", "/x")
    proxy.advance(1)
    assert exchange.answer is not None
    proxy.says_each(error)
    proxy.backend.release()
    assert proxy.quiet


def test_E1_a_strict_response_is_waited_for(proxy: MemoryProxy) -> None:
    _stale(proxy, "Cache-Control: max-age=2, must-revalidate, stale-if-error=600")
    exchange = proxy.start("GET", "/x")
    proxy.advance(5)
    assert exchange.answer is None
    proxy.backend.release()
    assert exchange.answer is not None


def test_a_quick_backend_leaves_no_timer(proxy: MemoryProxy) -> None:
    _stale(proxy)
    exchange = proxy.start("GET", "/x")
    proxy.backend.release()
    assert exchange.answer is not None
    assert exchange.answer.cache == "MISS"
    proxy.advance(2)
    assert proxy.quiet


def test_the_client_leaves_while_the_backend_is_silent(proxy: MemoryProxy) -> None:
    _stale(proxy)
    proxy.start("GET", "/x").leave()
    proxy.advance(2)
    assert proxy.backend.requests[-1].cancelled
    assert proxy.quiet
