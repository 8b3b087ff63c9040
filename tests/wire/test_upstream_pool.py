"""Connections to the backend: reuse, bounds, the line, the retry rule, silence, cancelling, stopping."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.body import Body
from caching_proxy.core.messages import Fields, RequestHead
from caching_proxy.interfaces import (
    IncompleteBody,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.testing import MemoryWire, Recorder
from caching_proxy.wire.upstream import Backend, Upstream
from caching_proxy.wire.upstream_connect import Make
from caching_proxy.wire.upstream_connection import UpstreamConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = RequestHead(b"GET", b"/")


class Observer:
    def __init__(self) -> None:
        self.events: list[str] = []

    def connected(self) -> None:
        self.events.append("connected")

    def reused(self) -> None:
        self.events.append("reused")

    def failed(self, kind: str) -> None:
        self.events.append(kind)


class Net:
    """An upstream on in-memory wires. ``asking`` holds connection attempts back; ``refuse`` lets them fail."""

    def __init__(self, *, max_connections: int = 100, asking: bool = False, idle_seconds: float = 30.0) -> None:
        self.clock = Clock()
        self.wires: list[MemoryWire] = []
        self.peers: list[Recorder] = []
        self.observer = Observer()
        self.attempts: list[Callable[[], None]] = []
        self.abandoned = 0
        self.refuse: Exception | None = None
        self.asking = asking
        self.upstream = Upstream(
            self.clock,
            Backend.parse("http://backend"),
            max_connections=max_connections,
            connect_timeout=5,
            timeout=60,
            idle_seconds=idle_seconds,
            observer=self.observer,
            connect=self.connect,
        )

    def connect(self, make: Make) -> Deferred[UpstreamConnection]:
        if self.refuse is not None:
            failed: Deferred[UpstreamConnection] = Deferred()
            failed.errback(Failure(self.refuse))
            return failed
        if not self.asking:
            return succeed(self.made(make))
        later: Deferred[UpstreamConnection] = Deferred(self.abandon)
        self.attempts.append(lambda: later.callback(self.made(make)))
        return later

    def abandon(self, _: Deferred[UpstreamConnection]) -> None:
        self.abandoned += 1

    def made(self, make: Make) -> UpstreamConnection:
        connection, peer = make(UpstreamConnection), Recorder()
        self.wires.append(MemoryWire(connection, peer))
        self.peers.append(peer)
        return connection

    def fetch(self, method: bytes = b"GET", body: Body | None = None) -> Fetched:
        fetched = Fetched(self.upstream.fetch(RequestHead(method, b"/"), body))
        self.pump()
        return fetched

    def answer(self, index: int = -1, raw: bytes = OK) -> None:
        self.peers[index].send(raw)
        self.pump()

    def pump(self) -> None:
        for wire in self.wires:
            wire.pump()

    @property
    def counts(self) -> tuple[int, int, int]:
        self.pump()
        return self.upstream.connections, self.upstream.idle, self.upstream.waiting

    def settle(self) -> None:
        """Stopping ends everything that is idle, and leaves no timer."""
        stopped: list[object] = []
        self.upstream.stop().addCallback(stopped.append)
        self.pump()
        assert stopped == [None]
        assert self.counts == (0, 0, 0)
        assert self.clock.getDelayedCalls() == []


class Fetched:
    def __init__(self, deferred: Deferred[UpstreamResponse]) -> None:
        self.deferred = deferred
        self.response: UpstreamResponse | None = None
        self.error: BaseException | None = None
        deferred.addCallbacks(self._arrived, self._failed)

    def _arrived(self, response: UpstreamResponse) -> None:
        self.response = response

    def _failed(self, reason: Failure) -> None:
        self.error = reason.value

    @property
    def reused(self) -> bool:
        assert self.response is not None
        return self.response.reused


def test_a_connection_is_used_again() -> None:
    net = Net()
    first = net.fetch()
    net.answer()
    assert net.counts == (1, 1, 0)
    second = net.fetch()
    assert net.counts == (1, 0, 0)
    net.answer()
    assert (first.reused, second.reused) == (False, True)
    assert net.observer.events == ["connected", "reused"]
    net.settle()


def test_the_last_one_used_is_the_first_one_used_again() -> None:
    net = Net()
    net.fetch()
    net.fetch()
    net.answer(0)
    net.answer(1)
    net.fetch()
    assert [bytes(peer.data).count(b"GET") for peer in net.peers] == [1, 2]
    net.answer(1)
    net.settle()


def test_the_bound_holds_and_the_line_is_served_in_order() -> None:
    net = Net(max_connections=2)
    fetches = [net.fetch() for _ in range(5)]
    assert net.counts == (2, 0, 3)
    net.answer(0)
    assert net.counts == (2, 0, 2)
    net.answer(0)
    assert [fetch.response is not None for fetch in fetches] == [True, False, True, False, False]
    for _ in range(3):
        net.answer(1)
        net.answer(0)
    assert all(fetch.response for fetch in fetches)
    assert len(net.peers) == 2
    net.settle()


def test_a_lost_connection_makes_room_for_the_line() -> None:
    net = Net(max_connections=1)
    first, second = net.fetch(b"POST"), net.fetch(b"POST")
    net.peers[0].close()
    net.pump()
    assert isinstance(first.error, UpstreamProtocolError)
    net.answer(1)
    assert second.response is not None
    net.settle()


def test_a_failed_attempt_makes_room_for_the_line() -> None:
    net = Net(max_connections=1, asking=True)
    first, second = net.fetch(), net.fetch()
    net.asking = False
    first.deferred.cancel()
    net.answer()
    assert isinstance(first.error, CancelledError)
    assert second.response is not None
    net.settle()


def test_patience_in_the_line_ends() -> None:
    net = Net(max_connections=1)
    first = net.fetch()
    net.clock.advance(40)
    second = net.fetch()
    net.answer()  # the second goes out at 40
    third = net.fetch()
    net.clock.advance(30)
    fourth = net.fetch()
    net.peers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")  # at 70, and never ends
    net.pump()
    for _ in range(35):
        net.clock.advance(1)
        net.peers[0].send(b"x")
        net.pump()
    assert first.response
    assert second.response
    assert isinstance(third.error, UpstreamTimeout)
    assert net.counts == (1, 0, 1)
    fourth.deferred.cancel()
    assert net.counts == (1, 0, 0)
    second.response.body.cancel()
    net.settle()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"])
def test_M7_an_idempotent_request_is_sent_again_on_a_fresh_connection(method: bytes) -> None:
    net = Net()
    net.fetch()
    net.fetch()
    net.answer(0)
    net.answer(1)  # two idle ones, both dead as it turns out
    fetch = net.fetch(method, Body.of(b"x") if method == b"PUT" else None)
    sent = bytes(net.peers[1].data).rpartition(method + b" ")[2]
    net.peers[1].close()
    net.pump()
    assert len(net.peers) == 3
    assert bytes(net.peers[2].data) == method + b" " + sent
    net.answer(2, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert not fetch.reused
    net.settle()


def test_M7_only_once() -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch()
    for peer in (0, 1):
        net.peers[peer].close()
        net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 2
    net.settle()


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"X-FROB"])
def test_M7_other_requests_are_never_sent_again(method: bytes) -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch(method)
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    assert net.observer.events == ["connected", "reused", "protocol"]
    net.settle()


def test_M7_not_after_a_byte_of_the_response() -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch()
    net.answer(0, b"H")
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()


def test_M7_not_on_a_fresh_connection() -> None:
    net = Net()
    fetch = net.fetch()
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()


def test_M7_not_when_the_body_was_streamed() -> None:
    net = Net()
    net.fetch()
    net.answer()
    body = Body(10)
    body.feed(b"12345")
    fetch = net.fetch(b"PUT", body)
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()


def test_a_connection_that_closes_while_idle_is_forgotten() -> None:
    net = Net()
    net.fetch()
    net.answer()
    net.peers[0].close()
    assert net.counts == (0, 0, 0)
    net.settle()


def test_X5_a_connection_with_unasked_bytes_is_not_used_again() -> None:
    net = Net()
    net.fetch()
    net.answer()
    net.answer(0, b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert net.counts == (0, 0, 0)
    second = net.fetch()
    net.answer(1)
    assert not second.reused
    net.settle()


def test_idle_connections_are_closed_in_time() -> None:
    net = Net(idle_seconds=30)
    net.fetch()
    net.fetch()
    net.answer(0)
    net.clock.advance(10)
    net.answer(1)
    net.clock.advance(19)
    assert net.counts == (2, 2, 0)
    net.clock.advance(1)
    assert net.counts == (1, 1, 0)
    net.clock.advance(10)
    assert net.counts == (0, 0, 0)
    net.settle()


def test_we_leave_before_the_backend_does() -> None:
    net = Net(idle_seconds=30)
    net.fetch()
    net.answer(0, b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n")
    net.clock.advance(4)
    fetch = net.fetch(b"POST")
    assert len(net.peers) == 2
    net.answer(1)
    assert not fetch.reused
    net.settle()


@pytest.mark.parametrize(
    "received",
    [pytest.param(b"", id="no-byte"), pytest.param(b"HTTP/1.1 200 OK\r\nA: b", id="half-a-head")],
)
def test_silence_before_the_head_is_a_timeout(received: bytes) -> None:
    net = Net()
    fetch = net.fetch()
    net.clock.advance(59)
    net.answer(0, received or b"HTTP/1.1 102 Processing\r\n\r\n")
    net.clock.advance(59)
    assert fetch.error is None
    net.clock.advance(1)
    assert isinstance(fetch.error, UpstreamTimeout)
    assert net.counts == (0, 0, 0)
    assert net.observer.events == ["connected", "timeout"]
    net.settle()


def test_silence_within_the_body_fails_it() -> None:
    net = Net()
    failures: list[Failure] = []
    net.upstream.fetch(GET).addCallback(lambda response: response.body.collect(100)).addErrback(failures.append)
    net.answer(0, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    net.clock.advance(59)
    net.answer(0, b"c")
    net.clock.advance(59)
    assert failures == []
    net.clock.advance(1)
    assert [failure.type for failure in failures] == [IncompleteBody]
    assert net.observer.events == ["connected", "incomplete"]
    net.settle()


def test_a_pause_of_ours_is_no_silence_of_theirs() -> None:
    net = Net()
    fetch = net.fetch()
    net.answer(0, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    assert fetch.response is not None
    fetch.response.body.pause()
    net.clock.pump([50] * 10)
    fetch.response.body.resume()
    net.clock.advance(59)
    net.answer(0, b"cde")
    assert fetch.response.body.complete
    net.settle()


def test_a_quiet_time_between_requests_does_not_count() -> None:
    net = Net(idle_seconds=1000)
    net.fetch()
    net.answer()
    net.clock.pump([50] * 10)
    fetch = net.fetch()
    net.clock.advance(59)
    assert fetch.error is None
    net.answer()
    assert fetch.reused
    net.settle()


def test_a_peer_that_does_not_answer_our_farewell_is_dropped() -> None:
    net = Net()
    net.fetch()
    net.wires[0].client.registerProducer(object(), True)  # keeps a closing transport open
    net.answer(0, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert net.counts == (1, 0, 0)
    net.clock.advance(60)
    assert net.counts == (0, 0, 0)
    net.settle()


def test_cancelled_in_the_line() -> None:
    net = Net(max_connections=1)
    first, second = net.fetch(), net.fetch()
    second.deferred.cancel()
    assert isinstance(second.error, CancelledError)
    assert net.counts == (1, 0, 0)
    net.answer()
    assert first.response is not None
    net.settle()


def test_cancelled_while_connecting() -> None:
    net = Net(asking=True)
    fetch = net.fetch()
    fetch.deferred.cancel()
    assert isinstance(fetch.error, CancelledError)
    assert net.abandoned == 1
    assert net.counts == (0, 0, 0)
    net.settle()


@pytest.mark.parametrize("received", [b"", b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 2"])
def test_cancelled_while_waiting_for_the_head(received: bytes) -> None:
    net = Net()
    fetch = net.fetch()
    net.answer(0, received)
    fetch.deferred.cancel()
    assert isinstance(fetch.error, CancelledError)
    assert net.counts == (0, 0, 0)
    net.settle()


def test_cancelled_within_an_interim_response() -> None:
    net = Net()
    fetched: Deferred[UpstreamResponse] = net.upstream.fetch(GET, None, lambda head: fetched.cancel())
    errors: list[Failure] = []
    fetched.addErrback(errors.append)
    net.pump()
    net.answer(0, b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 103 y\r\n\r\n" + OK)
    assert [error.type for error in errors] == [CancelledError]
    net.settle()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cancelled_body_drops_the_connection(chunked: bool) -> None:
    net = Net()
    fetch = net.fetch()
    framing = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n" if chunked else b"Content-Length: 5\r\n\r\nab"
    net.answer(0, b"HTTP/1.1 200 OK\r\n" + framing)
    assert fetch.response is not None
    fetch.response.body.cancel()
    assert net.counts == (0, 0, 0)
    net.settle()


def test_an_error_while_connecting_is_passed_on() -> None:
    net = Net()
    net.refuse = UpstreamUnreachable("no")
    fetch = net.fetch()
    assert fetch.error is net.refuse
    assert net.observer.events == ["unreachable"]
    net.settle()


def test_stopping_waits_for_what_is_under_way() -> None:
    net = Net(max_connections=1)
    first, second = net.fetch(), net.fetch()
    stopped: list[object] = []
    net.upstream.stop().addCallback(stopped.append)
    net.upstream.stop().addCallback(stopped.append)
    refused = net.fetch()
    assert isinstance(refused.error, UpstreamUnreachable)
    net.answer()
    assert first.response
    assert stopped == []
    net.answer()
    assert second.response
    net.pump()
    assert stopped == [None, None]
    assert net.clock.getDelayedCalls() == []


def test_the_next_fetch_from_within_an_answer_uses_the_same_connection() -> None:
    net = Net()
    again: list[Fetched] = []
    net.upstream.fetch(GET).addCallback(lambda _: again.append(Fetched(net.upstream.fetch(GET))))
    net.pump()
    net.answer()
    net.answer()
    assert again[0].reused
    assert len(net.peers) == 1
    net.settle()


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(RequestHead(b"GET", b"/", Fields([(b"A", b"b\r\nEvil: 1")])), id="field"),
        pytest.param(RequestHead(b"GET", b"/ HTTP/1.1\r\nA: b\r\n\r\nGET /x"), id="target"),
        pytest.param(RequestHead(b"GET", b"/a b"), id="space"),
    ],
)
def test_a_request_that_would_read_as_another_is_not_written(request_head: RequestHead) -> None:
    net = Net()
    fetch = Fetched(net.upstream.fetch(request_head))
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert net.peers == []
    net.settle()
