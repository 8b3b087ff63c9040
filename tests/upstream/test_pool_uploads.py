"""Requests on their way to the backend: framing, streaming in both directions, back-pressure, early answers."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.http.body import HIGH_WATER, Body
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import UpstreamResponse, UpstreamTimeout
from caching_proxy.testing import ByteRecorder, MemoryWire
from caching_proxy.upstream.connect import Make
from caching_proxy.upstream.connection import UpstreamConnection
from caching_proxy.upstream.pool import Backend, Upstream
from caching_proxy.upstream.request_body import RequestBodyFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Source:
    """The client's connection behind a request body."""

    def __init__(self) -> None:
        self.paused = False
        self.cancelled = False

    def pause_body(self) -> None:
        self.paused = True

    def resume_body(self) -> None:
        self.paused = False

    def cancel_body(self) -> None:
        self.cancelled = True


class Sending:
    """One request with a streaming body, on one in-memory wire."""

    def __init__(self, length: int | None, method: bytes = b"PUT", fields: Fields | None = None) -> None:
        self.clock = Clock()
        self.peer = ByteRecorder()
        self.source = Source()
        self.body = Body(length, self.source)
        self.upstream = Upstream(self.clock, Backend.parse("http://backend"), timeout=60, connect=self.connect)
        self.response: UpstreamResponse | None = None
        self.error: BaseException | None = None
        self.interim: list[int] = []
        fetched = self.upstream.fetch(
            RequestHead(method, b"/up", fields or Fields()), self.body, lambda head: self.interim.append(head.status)
        )
        fetched.addCallbacks(self.arrived, self.failed)

    def connect(self, make: Make) -> Deferred[UpstreamConnection]:
        connection = make(UpstreamConnection)
        self.wire = MemoryWire(connection, self.peer)
        return succeed(connection)

    def arrived(self, response: UpstreamResponse) -> None:
        self.response = response

    def failed(self, reason: Failure) -> None:
        self.error = reason.value

    def feed(self, data: bytes) -> None:
        self.body.feed(data)
        self.wire.pump()

    def answer(self, raw: bytes) -> None:
        self.peer.send(raw)
        self.wire.pump()

    def settle(self) -> None:
        stopped: list[object] = []
        self.upstream.stop().addCallback(stopped.append)
        self.wire.pump()
        assert stopped == [None]
        assert self.clock.getDelayedCalls() == []


def sent(head: RequestHead, body: Body | None) -> tuple[bytes, int]:
    """The bytes of a request and the number of writes that they took."""
    peer, clock = ByteRecorder(), Clock()
    wires: list[MemoryWire] = []

    def connect(make: Make) -> Deferred[UpstreamConnection]:
        connection = make(UpstreamConnection)
        wires.append(MemoryWire(connection, peer))
        return succeed(connection)

    upstream = Upstream(clock, Backend.parse("http://backend"), connect=connect)
    upstream.fetch(head, body).addErrback(lambda reason: None)
    wires[0].pump()
    wires[0].client.abortConnection()
    return bytes(peer.data), wires[0].client.writes


FIELDS = Fields([(b"Host", b"b"), (b"X-a", b"1"), (b"x-A", b"2")])
LINES = b"Host: b\r\nX-a: 1\r\nx-A: 2\r\n"


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        pytest.param(RequestHead(b"GET", b"/a?b", FIELDS), None, b"GET /a?b HTTP/1.1\r\n" + LINES + b"\r\n", id="get"),
        pytest.param(
            RequestHead(b"GET", b"/", FIELDS, 0), None, b"GET / HTTP/1.1\r\n" + LINES + b"\r\n", id="own-version"
        ),
        pytest.param(
            RequestHead(b"POST", b"/", FIELDS),
            None,
            b"POST / HTTP/1.1\r\n" + LINES + b"Content-Length: 0\r\n\r\n",
            id="post-without-body",
        ),
        pytest.param(RequestHead(b"X-FROB", b"*"), Body.of(b""), b"X-FROB * HTTP/1.1\r\n\r\n", id="other-without-body"),
        pytest.param(
            RequestHead(b"PUT", b"/", FIELDS),
            Body.of(b"hello"),
            b"PUT / HTTP/1.1\r\n" + LINES + b"Content-Length: 5\r\n\r\nhello",
            id="whole-body",
        ),
        pytest.param(
            RequestHead(b"GET", b"/", FIELDS.plus((b"Content-length", b"7"), (b"Transfer-Encoding", b"chunked"))),
            None,
            b"GET / HTTP/1.1\r\n" + LINES + b"\r\n",
            id="no-framing-but-ours",
        ),
        pytest.param(
            RequestHead(b"GET", b"/", Fields([(b"Connection", b"upgrade"), (b"Upgrade", b"x")])),
            None,
            b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            id="upgrade",
        ),
    ],
)
def test_requests_are_written_anew_in_one_write(head: RequestHead, body: Body | None, expected: bytes) -> None:
    assert sent(head, body) == (expected, 1)


def test_the_first_piece_of_a_stream_shares_a_write_with_the_head() -> None:
    body = Body(10)
    body.feed(b"hello")
    assert sent(RequestHead(b"PUT", b"/"), body) == (b"PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhello", 1)


def test_a_stream_of_known_length() -> None:
    sending = Sending(10)
    sending.feed(b"01234")
    sending.feed(b"56789")
    sending.body.end()
    sending.wire.pump()
    assert bytes(sending.peer.data) == b"PUT /up HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"
    sending.answer(OK)
    assert sending.response is not None
    assert sending.upstream.idle == 1
    sending.settle()


def test_X11_a_stream_of_unknown_length_is_chunked() -> None:
    sending = Sending(None, b"POST")
    sending.feed(b"hello")
    sending.feed(b"")
    sending.feed(b"x" * 17)
    sending.body.end(Fields([(b"T", b"u")]))
    sending.wire.pump()
    head, _, chunks = bytes(sending.peer.data).partition(b"\r\n\r\n")
    assert head == b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked"
    assert chunks == b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    sending.answer(OK)
    assert sending.upstream.idle == 1
    sending.settle()


@pytest.mark.parametrize("data", [b"1234", b"123456"])
def test_a_stream_that_breaks_its_word_is_dropped(data: bytes) -> None:
    sending = Sending(5)
    sending.feed(data)
    sending.body.end()
    sending.wire.pump()
    assert isinstance(sending.error, RequestBodyFailed)
    assert sending.peer.lost is not None
    assert b"123456" not in sending.peer.data
    sending.settle()


def test_a_client_that_goes_away_within_its_body() -> None:
    sending = Sending(5)
    sending.feed(b"123")
    gone = ConnectionError("gone")
    sending.body.fail(Failure(gone))
    sending.wire.pump()
    assert isinstance(sending.error, RequestBodyFailed)
    assert sending.error.__cause__ is gone
    assert sending.peer.lost is not None
    sending.settle()


def test_M3_the_head_goes_out_before_the_body_is_there() -> None:
    sending = Sending(5, fields=Fields([(b"Expect", b"100-continue")]))
    sending.wire.pump()
    assert bytes(sending.peer.data) == b"PUT /up HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    sending.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert sending.interim == [100]
    sending.clock.advance(500)  # now the client is awaited, not the backend
    sending.feed(b"hello")
    sending.body.end()
    sending.answer(OK)
    assert sending.response is not None
    sending.settle()


def test_M3_a_backend_that_says_nothing_to_an_expectation_times_out() -> None:
    sending = Sending(5, fields=Fields([(b"Expect", b"100-continue")]))
    sending.clock.advance(60)
    assert isinstance(sending.error, UpstreamTimeout)
    assert sending.source.cancelled
    sending.settle()


def test_M3_a_final_answer_to_an_expectation() -> None:
    sending = Sending(5, fields=Fields([(b"Expect", b"100-continue")]))
    sending.answer(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    assert sending.response is not None
    assert sending.response.head.status == 417
    assert sending.interim == []
    assert sending.source.cancelled
    assert sending.peer.lost is not None  # the body that was announced will not come
    sending.settle()


def test_a_slow_client_is_no_silence_of_the_backend() -> None:
    sending = Sending(2)
    for byte in (b"a", b"b"):
        sending.clock.advance(500)
        sending.feed(byte)
    sending.body.end()
    sending.clock.advance(59)
    assert sending.error is None
    sending.clock.advance(1)
    assert isinstance(sending.error, UpstreamTimeout)
    sending.settle()


def test_a_backend_that_takes_nothing_times_out() -> None:
    sending = Sending(10 * HIGH_WATER)
    sending.wire.server.pauseProducing()
    sending.feed(b"x" * HIGH_WATER)
    assert sending.source.paused
    sending.clock.advance(59)
    assert sending.error is None
    sending.clock.advance(1)
    assert isinstance(sending.error, UpstreamTimeout)
    assert sending.source.cancelled
    sending.settle()


def test_a_refusal_stops_the_upload() -> None:
    sending = Sending(1000)
    sending.feed(b"x" * 10)
    sending.answer(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\n")
    assert sending.source.cancelled
    assert sending.response is not None
    sending.answer(b"abc")
    assert sending.response.body.complete
    assert sending.peer.lost is not None
    sending.settle()


def test_an_answer_that_is_no_refusal_lets_the_upload_go_on() -> None:
    sending = Sending(10)
    sending.feed(b"01234")
    sending.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    sending.feed(b"56789")
    sending.body.end()
    sending.answer(b"def")
    assert bytes(sending.peer.data).endswith(b"\r\n\r\n0123456789")
    assert sending.response is not None
    assert sending.response.body.complete
    assert sending.peer.lost is not None
    sending.settle()


def test_a_complete_answer_ends_the_upload() -> None:
    sending = Sending(10)
    sending.feed(b"01234")
    sending.answer(OK)
    assert sending.response is not None
    assert sending.response.body.complete
    assert sending.source.cancelled
    assert sending.peer.lost is not None
    sending.settle()


class Counting:
    """A reader that takes a bounded amount at a time and counts what it was given."""

    def __init__(self, body: Body, step: int) -> None:
        self.body = body
        self.step = step
        self.total = 0
        self.since = 0
        self.most = 0
        self.complete = False

    def received(self, data: bytes) -> None:
        self.total += len(data)
        self.since += len(data)
        self.most = max(self.most, self.since)
        if self.since >= self.step:
            self.body.pause()

    def ended(self, trailers: Fields) -> None:
        self.complete = True

    def failed(self, reason: Failure) -> None:
        raise AssertionError(reason)

    def more(self) -> None:
        self.since = 0
        self.body.resume()


SIZE = 64 * 1024 * 1024
PIECE = b"x" * 16384


def test_64_MiB_up_with_little_in_flight() -> None:
    sending = Sending(SIZE)
    fed, most = 0, 0
    while fed < SIZE:
        while not sending.source.paused and fed < SIZE:
            sending.body.feed(PIECE)
            fed += len(PIECE)
        most = max(most, len(sending.wire.client.pending))
        sending.wire.step()
        most = max(most, len(sending.peer.data))
        sending.peer.data.clear()
    sending.body.end()
    sending.wire.pump()
    assert sending.wire.client.peak < 2 * HIGH_WATER
    assert most < 2 * HIGH_WATER
    sending.answer(OK)
    assert sending.upstream.idle == 1
    sending.settle()


@pytest.mark.parametrize("chunked", [False, True])
def test_64_MiB_down_with_little_in_flight(chunked: bool) -> None:
    sending = Sending(0, b"GET")
    sending.body.end()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE
    sending.answer(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    assert sending.response is not None
    reader = Counting(sending.response.body, HIGH_WATER)
    sending.response.body.attach(reader)
    left = SIZE
    while left:
        while left and len(sending.wire.server.pending) < HIGH_WATER:
            sending.peer.send(b"4000\r\n" + PIECE + b"\r\n" if chunked else PIECE)
            left -= len(PIECE)
        sending.wire.pump(16384)
        reader.more()
    if chunked:
        sending.peer.send(b"0\r\n\r\n")
    while not reader.complete:
        reader.more()
        sending.wire.pump(16384)
    assert reader.total == SIZE
    assert reader.most < 2 * HIGH_WATER
    assert sending.upstream.idle == 1
    sending.settle()


def test_a_body_that_nobody_reads_yet_is_not_buffered_without_bound() -> None:
    sending = Sending(0, b"GET")
    sending.body.end()
    sending.peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    sending.wire.pump(16384)
    assert len(sending.wire.server.pending) > 1_000_000 - 2 * HIGH_WATER
    assert sending.response is not None
    got: list[bytes] = []
    sending.response.body.collect(1_000_000).addCallback(got.append)
    sending.wire.pump(16384)
    assert len(got[0]) == 1_000_000
    assert sending.upstream.idle == 1
    sending.settle()
