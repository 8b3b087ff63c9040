"""What an application can do with a request: exact responses, streaming, tunnels."""

from __future__ import annotations

import pytest
from support.wire_bytes import statuses
from twisted.internet.error import ConnectionDone

from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.server.request import MAX_INTERIM

OK = ResponseHead(200, b"OK")


def get(*fields: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/%b" % (method, target, version), b"Host: a", *fields, b"", b""])


def responding(head: ResponseHead, body: bytes):
    return lambda request: request.respond(head, body)


def streaming(head: ResponseHead, length: int | None, *pieces: bytes):
    def handler(request) -> None:
        request.start_response(head, length)
        for piece in pieces:
            request.write(piece)
        request.finish()

    return handler


# -- responses exactly as given ----------------------------------------------------------------------


def test_fields_are_sent_as_given(wire):
    fields = Fields([(b"x-B", b"1"), (b"Set-Cookie", b"a=1"), (b"X-b", b"\xff"), (b"set-cookie", b"b=2")])
    data = wire(responding(ResponseHead(299, b"Odd Reason", fields), b"hi")).send(get())
    assert data == (
        b"HTTP/1.1 299 Odd Reason\r\nx-B: 1\r\nSet-Cookie: a=1\r\nX-b: \xff\r\nset-cookie: b=2\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )


def test_a_response_is_one_write(wire):
    line = wire(responding(OK, b"hi"))
    writes = []
    line.transport.write = writes.append
    line.channel.dataReceived(get())
    assert writes == [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"]


def test_an_empty_reason_stays_empty(wire):
    assert wire(responding(ResponseHead(200), b"")).send(get()).startswith(b"HTTP/1.1 200 \r\n")


@pytest.mark.parametrize(
    ("length", "own", "sent"),
    [
        (2, [(b"content-length", b"2")], b"content-length: 2\r\n\r\nhi"),
        (2, [(b"Content-Length", b"3")], b"Content-Length: 2\r\n\r\nhi"),
        (2, [(b"Content-Length", b"2"), (b"Content-Length", b"2")], b"Content-Length: 2\r\n\r\nhi"),
        (2, [(b"Transfer-Encoding", b"chunked")], b"Content-Length: 2\r\n\r\nhi"),
        (None, [], b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        (None, [(b"Content-Length", b"2")], b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ],
    ids=["own-length", "wrong-length", "repeated", "stray-coding", "X11-chunked", "X1-never-both"],
)
def test_framing_is_written_once(wire, length, own, sent):
    data = wire(streaming(ResponseHead(200, b"OK", Fields(own)), length, b"hi")).send(get())
    assert data == b"HTTP/1.1 200 OK\r\n" + sent


def test_X11_nothing_is_chunked_to_http10(wire):
    line = wire(streaming(OK, None, b"a", b"b"))
    data = line.send(get(b"Connection: keep-alive", version=b"1.0"))
    assert data == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"
    assert line.closed


@pytest.mark.parametrize(
    ("method", "status", "length", "own", "framing"),
    [
        (b"HEAD", 200, 7, [], b"Content-Length: 7\r\n"),
        (b"HEAD", 200, 0, [(b"Content-Length", b"7")], b"Content-Length: 7\r\n"),
        (b"HEAD", 200, None, [], b""),
        (b"GET", 204, 0, [(b"Content-Length", b"5")], b""),
        (b"GET", 304, 0, [], b""),
        (b"GET", 304, 0, [(b"Content-Length", b"5")], b"Content-Length: 5\r\n"),
    ],
    ids=["M4-head", "M4-head-own-length", "head-unknown", "H7-204", "304", "304-own-length"],
)
def test_X7_no_content(wire, method, status, length, own, framing):
    line = wire(streaming(ResponseHead(status, b"R", Fields(own)), length, b"content"))
    assert line.send(get(method=method)) == b"HTTP/1.1 %d R\r\n%b\r\n" % (status, framing)
    assert not line.closed


def test_X6_less_content_than_announced_ends_the_connection(wire):
    line = wire(streaming(OK, 5, b"abc"))
    assert line.send(get() + get()) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"
    assert (line.closed, line.transport.aborted) == (True, False)
    assert len(line.seen) == 1


def test_more_content_than_announced_is_cut(wire):
    data = wire(streaming(OK, 3, b"abc", b"def")).send(get())
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize(("version", "sent", "reset"), [(b"1.1", b"3\r\nabc\r\n", False), (b"1.0", b"\r\nabc", True)])
def test_X6_abort_in_the_middle(wire, version, sent, reset):
    """A reset only where the end of the connection would be the end of the content: it may take along what was sent."""
    line = wire(lambda request: (request.start_response(OK, None), request.write(b"abc"), request.abort()))
    assert line.send(get(version=version)).endswith(sent)
    assert (line.closed, line.transport.aborted) == (True, reset)


def test_M1_interim_responses(wire):
    hints = ResponseHead(103, b"Early Hints", Fields([(b"Link", b"</x>")]))

    def handler(request) -> None:
        request.write_interim(hints)
        request.respond(OK, b"")
        request.write_interim(hints)

    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    assert wire(handler).send(get()) == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + final + b"\r\n"
    assert wire(handler).send(get(version=b"1.0")) == final + b"Connection: close\r\n\r\n"


def test_interim_responses_are_bounded_in_number(wire):
    line = wire(lambda request: [request.write_interim(ResponseHead(103)) for _ in range(10 * MAX_INTERIM)])
    assert line.send(get()).count(b"HTTP/1.1 103") == MAX_INTERIM


def test_a_client_that_does_not_read_is_sent_no_hints(wire):
    line = wire(lambda request: None)
    line.send(get())
    line.channel.pauseProducing()
    for status in (103, 100, 102):
        line.seen[0].write_interim(ResponseHead(status))
    assert statuses(line.take()) == [100]
    line.channel.resumeProducing()
    line.seen[0].write_interim(ResponseHead(103))
    assert statuses(line.take()) == [103]


def test_writing_after_the_client_left_does_nothing(wire):
    line = wire(lambda request: None)
    line.send(get())
    request = line.seen[0]
    gone = request.notifyFinish()
    line.disconnect()
    assert gone.result.check(ConnectionDone)
    gone.addErrback(lambda _: None)
    request.write_interim(ResponseHead(103))
    request.start_response(OK, 1)
    request.respond(OK, b"x")
    request.write(b"x")
    request.finish()
    request.abort()
    assert line.take() == b""


def test_notify_finish_fires_when_the_response_is_complete(wire):
    line = wire(lambda request: None)
    line.send(get())
    done = line.seen[0].notifyFinish()
    line.seen[0].respond(OK, b"")
    assert done.called
    assert done.result is None


def test_what_a_request_knows(wire):
    line = wire(lambda request: None)
    line.send(get(b"Cookie: a=1; b=2", b"X: 1", b"x: 2", target=b"/p/q?x=1&y=&x=2"))
    request = line.seen[0]
    assert request.received_at == line.clock.seconds()
    assert request.client_ip == b"192.168.1.1"
    assert request.getClientAddress().host == "192.168.1.1"
    assert (request.path, request.uri, request.clientproto) == (b"/p/q", b"/p/q?x=1&y=&x=2", b"HTTP/1.1")
    assert request.args == {b"x": [b"1", b"2"], b"y": [b""]}
    assert request.getCookie(b"b") == b"2"
    assert request.requestHeaders.getRawHeaders(b"x") == [b"1", b"2"]
    assert request.body.complete
    assert not request.isSecure()


# -- producers ---------------------------------------------------------------------------------------


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_a_push_producer_follows_the_transport(wire):
    line = wire(lambda request: None)
    line.send(get())
    request, producer = line.seen[0], Producer()
    request.registerProducer(producer, True)
    line.channel.pauseProducing()
    line.channel.resumeProducing()
    request.unregisterProducer()
    line.channel.pauseProducing()
    assert producer.calls == ["pause", "resume"]
    late = Producer()
    request.registerProducer(late, True)
    assert late.calls == ["pause"]
    line.channel.stopProducing()
    assert late.calls == ["pause", "stop"]


def test_a_pull_producer_is_asked_while_there_is_room(wire):
    line = wire(lambda request: None)
    line.send(get())
    request, asked = line.seen[0], []

    class Pulled(Producer):
        def resumeProducing(self) -> None:
            asked.append(len(asked))
            if len(asked) == 3:
                line.channel.pauseProducing()
            if len(asked) == 5:
                request.unregisterProducer()

    request.registerProducer(Pulled(), False)
    assert asked == []  # never from within
    line.clock.advance(0)
    assert len(asked) == 3
    line.channel.resumeProducing()
    line.clock.advance(0)
    assert len(asked) == 5


# -- tunnels -----------------------------------------------------------------------------------------


class Tunnel:
    def __init__(self) -> None:
        self.data = b""
        self.lost = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason) -> None:
        self.lost.append(reason)


def test_a_tunnel_takes_the_raw_connection(wire):
    tunnel, taken = Tunnel(), []
    switching = ResponseHead(101, b"Switching Protocols", Fields([(b"Upgrade", b"x"), (b"Connection", b"upgrade")]))
    line = wire(lambda request: taken.extend(request.take_over(switching, tunnel)))
    data = line.send(get(b"Upgrade: x", b"Connection: upgrade") + b"GET / HTTP/1.1\r\n\r\n")
    assert data == b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    transport, rest = taken
    assert rest == b"GET / HTTP/1.1\r\n\r\n"
    assert line.transport.producer is None
    transport.write(b"\x00down")
    assert line.send(b"\xffup") == b"\x00down"
    assert tunnel.data == b"\xffup"
    for _ in range(500):
        line.clock.advance(1)
    assert not line.closed
    gone = line.seen[0].notifyFinish()
    line.disconnect()
    assert len(tunnel.lost) == 1
    assert gone.result.check(ConnectionDone)
    gone.addErrback(lambda _: None)


def test_a_tunnel_needs_a_live_request(wire):
    line = wire(lambda request: request.start_response(OK, 1))
    line.send(get())
    with pytest.raises(RuntimeError):
        line.seen[0].take_over(OK, Tunnel())


def test_after_an_answer_cut_short_the_client_can_read_those_before(wire):
    """Had the connection been closed at once, what comes next would reset it under the answers that are on the way."""

    def handler(request) -> None:
        if request.head.target == b"/whole":
            request.respond(OK, b"whole")
            return
        request.start_response(OK, 10)
        request.write(b"half")
        request.finish()

    line = wire(handler)
    assert line.send(get(target=b"/whole") + get(target=b"/cut")).endswith(b"half")
    assert line.transport.half_closed
    assert not line.transport.disconnecting
    assert line.send(get(target=b"/next")) == b""
    for _ in range(3):
        line.clock.advance(1)
    assert line.transport.aborted
