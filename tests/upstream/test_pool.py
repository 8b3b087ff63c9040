"""Connections to the backend: reuse, bounds, the line, idling, stopping."""

from __future__ import annotations

import pytest
from support.upstream_net import GET, Fetched, Net
from twisted.internet.defer import CancelledError

from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable
from caching_proxy.upstream import pool as module


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


def test_what_waits_in_the_line_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are all here take no connection yet, and with a backend that hangs all of them would wait."""
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 50_000)
    net = Net(max_connections=1)
    net.fetch()
    coming = Body(100_000)
    coming.feed(bytes(20_000))
    bodies = (Body.of(bytes(20_000)), coming, Body.of(bytes(20_000)), Body.of(bytes(20_000)))
    large = [net.fetch(b"POST", body, peer=b"%d" % n) for n, body in enumerate(bodies)]
    assert [isinstance(one.error, UpstreamTimeout) for one in large] == [False, False, True, True]
    assert net.fetch(b"POST", Body.of(bytes(10_000))).error is None, "a short one waits all the same"
    assert (net.upstream.waiting, net.upstream._waiting_bytes > 50_000) == (3, True)
    coming.feed(bytes(80_000))
    coming.end()
    for _ in range(4):
        net.answer()
    assert net.counts[2] == net.upstream._waiting_bytes == 0
    net.settle()


@pytest.mark.parametrize("gives_up", [False, True])
def test_who_leaves_the_line_makes_room(gives_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 30_000)
    net = Net(max_connections=1)
    first = net.fetch()
    waits = net.fetch(b"POST", Body.of(bytes(20_000)))
    assert isinstance(net.fetch(b"POST", Body.of(bytes(20_000))).error, UpstreamTimeout)
    if gives_up:
        waits.deferred.cancel()
    else:
        net.answer(0, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        for _ in range(65):
            net.clock.advance(1)
            net.answer(0, b"x")
    assert net.upstream._waiting_bytes == 0
    assert waits.error is not None
    first.deferred.cancel()
    if first.response is not None:
        first.response.body.cancel()
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
        pytest.param(OutgoingRequest(b"GET", b"/", b"A: b\r\nC: d\r\n", 1), id="line-too-many"),
        pytest.param(OutgoingRequest(b"GET", b"/", b"A: b\nc\r\n", 1), id="lf"),
    ],
)
def test_a_request_that_would_read_as_another_is_not_written(request_head: RequestHead | OutgoingRequest) -> None:
    net = Net()
    fetch = Fetched(net.upstream.fetch(request_head))
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert net.peers == []
    assert (net.observer.reasons, net.observer.events) == ([fetch.error], []), "no fault of the backend"
    net.settle()


def test_the_observer_hears_how_long_an_answer_took() -> None:
    net = Net(max_connections=1, asking=True)
    net.fetch()
    net.fetch()
    net.clock.advance(1)
    net.attempts[0]()
    net.clock.advance(2)
    net.answer(0, b"HTTP/1.1 103 Early Hints\r\n\r\n")
    net.clock.advance(4)
    net.answer()
    net.clock.advance(8)
    net.answer(0, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    assert net.observer.answers == [(200, 7), (500, 15)]
    assert net.observer.reasons == []
    net.settle()


def test_the_observer_hears_why_there_is_no_answer() -> None:
    net = Net()
    failed, left = net.fetch(b"POST"), net.fetch()
    left.deferred.cancel()
    net.peers[0].close()
    net.pump()
    assert net.observer.reasons == [failed.error], "a client that leaves is no failure"
    assert net.observer.events == ["connected", "connected", "protocol"]
    assert net.observer.answers == []
    net.settle()
