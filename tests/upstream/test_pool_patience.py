"""Fetches from the backend that end early: silence before the head or within the body, and cancelling."""

from __future__ import annotations

import pytest
from support.upstream_net import GET, OK, Net
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from caching_proxy.interfaces import IncompleteBody, UpstreamResponse, UpstreamTimeout


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
