"""The tee between a backend's body, one client, and the cache."""

from __future__ import annotations

import pytest
from twisted.python.failure import Failure

from caching_proxy.body import HIGH_WATER, Body
from caching_proxy.cache.fill import Fill
from caching_proxy.core.messages import Fields
from caching_proxy.core.outcome import Refusal
from caching_proxy.interfaces import IncompleteBody


class Backend:
    """The connection end behind the upstream body."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_body(self) -> None:
        self.calls.append("pause")

    def resume_body(self) -> None:
        self.calls.append("resume")

    def cancel_body(self) -> None:
        self.calls.append("cancel")


class Client:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[str] = []

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self, trailers: Fields) -> None:
        self.ends.append("ended")

    def failed(self, reason: Failure) -> None:
        self.ends.append("failed")


class Tee:
    """A fill with both ends."""

    def __init__(self, limit: int = 10) -> None:
        self.backend, self.client = Backend(), Client()
        self.done: list[bytes | Refusal] = []
        self.upstream = Body(None, self.backend)
        self.body = Fill(self.upstream, limit, self.done.append).start()


def test_both_get_everything() -> None:
    tee = Tee()
    tee.upstream.feed(b"before ")
    tee.body.attach(tee.client)
    tee.upstream.feed(b"it")
    assert tee.done == []
    tee.upstream.end()
    assert (tee.client.data, tee.client.ends, tee.done) == (b"before it", ["ended"], [b"before it"])


@pytest.mark.parametrize("attached", [True, False])
def test_break_off(attached: bool) -> None:
    tee = Tee()
    if attached:
        tee.body.attach(tee.client)
    tee.upstream.feed(b"one")
    tee.upstream.fail(Failure(IncompleteBody("early")))
    if not attached:
        tee.body.attach(tee.client)
    assert (tee.client.data, tee.client.ends, tee.done) == (b"one", ["failed"], [Refusal.INCOMPLETE])


def test_slow_client_does_not_hold_the_cache_up() -> None:
    tee = Tee(limit=1 << 20)
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"x" * HIGH_WATER * 2)
    assert tee.backend.calls == []
    tee.upstream.end()
    assert tee.done == [b"x" * HIGH_WATER * 2]


def test_past_the_limit_it_streams_at_the_clients_pace() -> None:
    tee = Tee(limit=10)
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"x" * 11)
    assert (tee.done, tee.backend.calls) == ([Refusal.TOO_LARGE], ["pause"])
    tee.body.resume()
    assert tee.backend.calls == ["pause", "resume"]
    tee.upstream.feed(b"y" * 11)
    tee.body.pause()
    assert tee.backend.calls == ["pause", "resume", "pause"]
    tee.upstream.end()
    assert (tee.client.data, tee.client.ends, tee.done) == (b"x" * 11 + b"y" * 11, ["ended"], [Refusal.TOO_LARGE])


def test_client_that_never_reads_is_not_buffered_for_past_the_limit() -> None:
    tee = Tee(limit=10)
    tee.upstream.feed(b"x" * 11)
    tee.upstream.feed(b"y" * HIGH_WATER)
    assert tee.backend.calls == ["pause"]


def test_client_leaves_and_the_cache_still_gets_it() -> None:
    tee = Tee()
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"on")
    tee.body.cancel()
    tee.upstream.feed(b"e")
    tee.upstream.end()
    assert (tee.done, tee.client.data, tee.client.ends) == ([b"one"], b"on", [])
    assert "cancel" not in tee.backend.calls


def test_client_leaves_what_the_cache_does_not_want() -> None:
    tee = Tee(limit=10)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x" * 11)
    tee.body.cancel()
    assert tee.backend.calls == ["cancel"]


def test_client_has_left_when_it_turns_out_too_large() -> None:
    tee = Tee(limit=10)
    tee.body.cancel()
    tee.upstream.feed(b"x" * 11)
    assert (tee.done, tee.backend.calls) == ([Refusal.TOO_LARGE], ["cancel"])


def test_client_has_left_when_it_breaks_off() -> None:
    tee = Tee()
    tee.body.cancel()
    tee.upstream.feed(b"x")
    tee.upstream.fail(Failure(IncompleteBody("early")))
    assert (tee.done, tee.backend.calls) == ([Refusal.INCOMPLETE], [])
