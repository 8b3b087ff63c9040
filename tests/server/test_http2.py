"""HTTP/2 connections in memory: streams are the requests of HTTP/1.1, with flow control both ways."""

from __future__ import annotations

from typing import Any

import pytest
from h2.errors import ErrorCodes
from support.h2_client import PREFACE, frame
from support.http2_connections import Connect, nothing, respond
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.server.limits import Limits

# -- requests and answers ----------------------------------------------------------------------------


def test_a_request_and_its_answer(connect: Connect) -> None:
    client = connect()
    answer = client.get(b"/x?y", (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
    assert (answer.status, answer.body, answer.ended) == (200, b"GET /x?y ", True)
    [request] = client.wire.seen
    assert list(request.head.fields) == [(b"Host", b"a"), (b"accept", b"*/*"), (b"cookie", b"a=1; b=2")]
    assert request.clientproto == b"HTTP/2"


def test_streams_are_answered_as_they_are_ready(connect: Connect) -> None:
    client = connect(nothing)
    answers = [client.get(b"/%d" % number) for number in range(5)]
    for at in (3, 0, 4, 1, 2):
        client.wire.seen[at].respond(ResponseHead(200, b"OK"), b"%d" % at)
        client.carry()
        assert answers[at].body == b"%d" % at
        assert answers[at].ended
    assert not client.wire.channel.streams


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_answers_without_content(connect: Connect, method: bytes, status: int) -> None:
    client = connect(respond(b"content" if status == 200 else b"", (b"ETag", b'"x"'), status=status))
    answer = client.get(method=method)
    assert (answer.status, answer.body, answer.ended) == (status, b"", True)
    assert answer[b"etag"] == b'"x"'
    assert [value for name, value in answer.fields if name == b"content-length"] == ([b"7"] if status == 200 else [])


def test_uploads(connect: Connect) -> None:
    client = connect()
    body = bytes(range(256)) * 4096
    for fields in ((), ((b"content-length", b"%d" % len(body)),)):
        number, answer = client.begin(b"/up", *fields, method=b"POST", ends=False)
        client.send(number, body, ends=True)
        assert answer.body == b"POST /up " + body
        assert client.wire.seen[-1].body.length == (len(body) if fields else None)


def test_an_empty_upload_and_trailers(connect: Connect) -> None:
    client = connect()
    number, answer = client.begin(b"/", method=b"POST", ends=False)
    client.send(number, b"x")
    client.machine.send_headers(number, [(b"x-sum", b"1")], end_stream=True)
    client.carry()
    assert answer.body == b"POST / x"
    number, answer = client.begin(b"/", method=b"POST", ends=False)
    client.machine.end_stream(number)
    client.carry()
    assert answer.body == b"POST / "
    number, answer = client.begin(b"/", method=b"POST", ends=False)
    client.machine.send_headers(number, [(b":path", b"/other")], end_stream=True)
    client.carry()
    assert answer.reset == ErrorCodes.PROTOCOL_ERROR


def test_expect(connect: Connect) -> None:
    client = connect(nothing)
    number, answer = client.begin(b"/", (b"expect", b"100-continue"), method=b"PUT", ends=False)
    [request] = client.wire.seen
    request.send_continue()
    client.carry()
    assert answer.interim == [[(b":status", b"100")]]
    client.send(number, b"body", ends=True)
    request.body.collect(10).addCallback(lambda body: request.respond(ResponseHead(200, b"OK"), body))
    client.carry()
    assert answer.body == b"body"


def test_a_streamed_answer(connect: Connect) -> None:
    client = connect(nothing)
    answer = client.get()
    [request] = client.wire.seen
    request.start_response(ResponseHead(200, b"OK", Fields([(b"X", b"y")])), None)
    client.carry()
    assert (answer.status, answer.ended) == (200, False)
    for piece in (b"a", b"b"):
        request.write(piece)
        client.carry()
    assert answer.body == b"ab"
    request.finish()
    client.carry()
    assert answer.ended


def test_an_answer_that_breaks_off_is_reset(connect: Connect) -> None:
    client = connect(nothing)
    answer = client.get()
    [request] = client.wire.seen
    request.start_response(ResponseHead(200, b"OK"), 10)
    request.write(b"half")
    request.abort()
    client.carry()
    assert (answer.body, answer.ended, answer.reset) == (b"half", False, ErrorCodes.INTERNAL_ERROR)
    assert client.goodbye is None
    assert not client.wire.channel.streams


# -- refusals ----------------------------------------------------------------------------------------


def test_a_malformed_request_costs_its_stream_only(connect: Connect) -> None:
    refused: list[int] = []
    client = connect(on_refused=lambda status, peer: refused.append(status))
    _, answer = client.begin(b"/", (b"connection", b"close"))
    assert (answer.status, answer.ended) == (400, True)
    _, answer = client.begin_raw([(b":method", b"CONNECT"), (b":authority", b"a:443")], ends=False)
    assert answer.status == 501
    assert client.wire.seen == []
    assert refused == [400, 501]
    assert client.get(b"/fine").status == 200


def test_the_limits_of_heads_are_those_of_HTTP1(connect: Connect) -> None:
    client = connect(limits=Limits(head_bytes=2000, field_count=10, target_bytes=100))
    assert client.get(b"/" + b"x" * 200).status == 414
    assert client.get(b"/", *[(b"x-%d" % n, b"1") for n in range(20)]).status == 431
    assert client.get(b"/", (b"x", b"y" * 2500)).status == 431
    assert client.get(b"/").status == 200


def test_a_body_that_is_too_long(connect: Connect) -> None:
    client = connect(limits=Limits(body_bytes=10))
    number, answer = client.begin(b"/", (b"content-length", b"11"), method=b"POST", ends=False)
    assert (answer.status, answer.ended, answer.reset) == (413, True, None)
    number, answer = client.begin(b"/", method=b"POST", ends=False)
    client.send(number, b"x" * 11)
    assert (answer.status, answer.ended, answer.reset) == (413, True, None)
    advance(client, 4)
    assert answer.reset == ErrorCodes.NO_ERROR


@pytest.mark.parametrize("pieces", [[b"x"], [b"xxxx"], [b"xx", b"xx"], [b""], [b"x", b""]])
def test_a_body_of_another_length_than_said(connect: Connect, pieces: list[bytes]) -> None:
    client = connect(nothing)
    client.begin(b"/other")
    number, answer = client.begin(b"/", (b"content-length", b"3"), method=b"POST", ends=False)
    for at, piece in enumerate(pieces):
        if answer.ended:
            break
        client.machine.send_data(number, piece, end_stream=at == len(pieces) - 1)
        client.carry()
    assert (answer.status, answer.ended) == (400, True)
    assert client.goodbye is None
    other, failed = client.wire.seen
    assert failed.disconnected
    assert not other.disconnected


@pytest.mark.parametrize("length", [b"3", b"x", b"+0", b"1, 2"])
def test_a_length_and_no_content(connect: Connect, length: bytes) -> None:
    client = connect()
    assert client.begin(b"/", (b"content-length", length), method=b"POST")[1].status == 400
    assert client.get(b"/next").status == 200
    assert len(client.wire.seen) == 1


def test_a_body_of_the_length_that_was_said(connect: Connect) -> None:
    client = connect()
    number, answer = client.begin(b"/", (b"content-length", b"4"), method=b"POST", ends=False)
    for piece in (b"a", b"bc", b"d"):
        client.send(number, piece)
    assert not answer.ended
    client.machine.end_stream(number)
    client.carry()
    assert answer.body == b"POST / abcd"


def test_an_answer_before_the_upload_ends_asks_for_no_more(connect: Connect) -> None:
    client = connect(respond(b"no"))
    _, answer = client.begin(b"/", (b"expect", b"100-continue"), method=b"POST", ends=False)
    assert (answer.body, answer.ended, answer.reset) == (b"no", True, None)
    assert client.get(b"/next").body == b"no"


def test_not_HTTP2_at_all(connect: Connect) -> None:
    line = connect(client=False)
    line.take()
    line.channel.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert line.closed
    assert line.take()[3:4] == b"\x07"  # GOAWAY


# -- clients that leave --------------------------------------------------------------------------------


def test_a_reset_is_a_client_that_leaves(connect: Connect) -> None:
    client = connect(nothing)
    left: list[str] = []
    number, _ = client.begin()
    [request] = client.wire.seen
    request.on_lost = lambda: left.append("lost")
    client.machine.reset_stream(number, ErrorCodes.CANCEL)
    client.carry()
    assert left == ["lost"]
    assert request.disconnected
    request.respond(ResponseHead(200, b"OK"), b"late")
    assert not client.wire.channel.streams


def test_a_lost_connection_tells_every_request(connect: Connect) -> None:
    client = connect(nothing)
    for _ in range(3):
        client.begin()
    client.begin(method=b"POST", ends=False)
    client.wire.channel.connectionLost(Failure(ConnectionDone()))
    assert [request.disconnected for request in client.wire.seen] == [True] * 4
    assert len(client.wire.site.connections) == 0


# -- deadlines -----------------------------------------------------------------------------------------


def advance(client: Any, seconds: int) -> None:
    client.wire.clock.pump([1.0] * seconds)
    client.carry()


def test_a_stream_whose_window_stays_shut_is_reset(connect: Connect) -> None:
    client = connect(respond(bytes(200_000)), reading=False, limits=Limits(write_seconds=10))
    number, answer = client.begin()
    advance(client, 8)
    client.machine.increment_flow_control_window(1, number)
    client.machine.increment_flow_control_window(1)
    client.carry()
    advance(client, 8)
    assert answer.reset is None
    advance(client, 4)
    assert answer.reset == ErrorCodes.CANCEL
    assert client.wire.site.pinned.bytes == 0
    assert client.wire.channel.kept == 0


def test_an_upload_that_is_too_slow(connect: Connect) -> None:
    client = connect(nothing, limits=Limits(body_seconds=5))
    _, answer = client.begin(method=b"POST", ends=False)
    advance(client, 7)
    assert (answer.status, answer.ended) == (408, True)
    assert client.wire.seen[0].disconnected


def test_idle_connections_say_goodbye(connect: Connect) -> None:
    client = connect(limits=Limits(idle_seconds=20, head_seconds=5))
    client.get()
    advance(client, 10)
    client.machine.ping(b"12345678")
    client.carry()
    advance(client, 11)
    assert client.goodbye is not None
    assert client.goodbye.error_code == ErrorCodes.NO_ERROR
    assert client.wire.closed


@pytest.mark.parametrize(
    "sent", [PREFACE[:5], PREFACE + frame(1, 0, 1, b"\x82"), PREFACE + frame(6, 0, 0, b"x" * 8)[:12]]
)
def test_a_head_that_stays_incomplete(connect: Connect, sent: bytes) -> None:
    line = connect(client=False, limits=Limits(head_seconds=5))
    line.channel.dataReceived(sent)
    line.clock.pump([1.0] * 7)
    assert line.closed


# -- the end -------------------------------------------------------------------------------------------


def test_draining_lets_streams_finish(connect: Connect) -> None:
    client = connect(nothing)
    _, answer = client.begin()
    client.wire.site.connections.drain(30.0)
    came = client.transport.value()
    assert came[3:4] == b"\x07"
    client.transport.clear()
    late = client.machine.get_next_available_stream_id()
    client.streams[late] = type(answer)()
    client.machine.send_headers(
        late, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")], end_stream=True
    )
    client.carry()
    assert client.streams[late].reset == ErrorCodes.REFUSED_STREAM
    assert len(client.wire.seen) == 1
    client.wire.seen[0].respond(ResponseHead(200, b"OK"), b"done")
    client.carry()
    assert answer.body == b"done"
    assert client.goodbye is not None
    assert client.wire.closed


def test_draining_closes_idle_connections(connect: Connect) -> None:
    client = connect()
    client.wire.site.connections.drain(30.0)
    client.carry()
    assert client.goodbye is not None
    assert client.wire.closed


def test_a_clients_goodbye(connect: Connect) -> None:
    client = connect(nothing)
    _, answer = client.begin()
    client.raw(frame(7, 0, 0, bytes(8)))
    client.wire.seen[0].respond(ResponseHead(200, b"OK"), b"last")
    client.carry()
    assert answer.body == b"last"
    assert client.wire.closed
