"""What the client of the backend makes of the bytes of a response, on an in-memory wire."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.interfaces import IncompleteBody, UpstreamError, UpstreamProtocolError, UpstreamResponse
from caching_proxy.testing import ByteRecorder, MemoryWire
from caching_proxy.upstream.connect import Make
from caching_proxy.upstream.connection import UpstreamConnection
from caching_proxy.upstream.pool import Backend, Upstream
from caching_proxy.upstream.tunnel import Tunnel

OK = b"HTTP/1.1 200 OK\r\n"


class Sink:
    def __init__(self) -> None:
        self.data = b""
        self.trailers: Fields | None = None
        self.failure: Failure | None = None

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self, trailers: Fields) -> None:
        self.trailers = trailers

    def failed(self, reason: Failure) -> None:
        self.failure = reason


class Net:
    """An upstream whose connections are in-memory wires with recorders at their far ends."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wires: list[MemoryWire] = []
        self.peers: list[ByteRecorder] = []
        self.upstream = Upstream(self.clock, Backend.parse("http://backend"), connect=self.connect)

    def connect(self, make: Make) -> Deferred[UpstreamConnection]:
        connection, peer = make(UpstreamConnection), ByteRecorder()
        self.wires.append(MemoryWire(connection, peer))
        self.peers.append(peer)
        return succeed(connection)

    def pump(self) -> None:
        for wire in self.wires:
            wire.pump()


@attrs.define
class Outcome:
    """What came of one exchange."""

    interim: list[ResponseHead] = attrs.Factory(list)
    response: UpstreamResponse | None = None
    error: Exception | None = None
    sink: Sink = attrs.Factory(Sink)
    kept: bool = False


def exchange(*pieces: bytes, method: bytes = b"GET", close: bool = False, fields: Fields | None = None) -> Outcome:
    net, outcome = Net(), Outcome()
    fetched = net.upstream.fetch(RequestHead(method, b"/", fields or Fields()), None, outcome.interim.append)

    def arrived(response: UpstreamResponse) -> None:
        outcome.response = response
        response.body.attach(outcome.sink)

    def failed(reason: Failure) -> None:
        assert isinstance(reason.value, UpstreamError), reason
        outcome.error = reason.value

    fetched.addCallbacks(arrived, failed)
    net.pump()
    for piece in pieces:
        net.peers[0].send(piece)
        net.pump()
    outcome.kept = net.upstream.idle == 1 and net.peers[0].lost is None
    if close:
        net.peers[0].close()
        net.pump()
    settle(net)
    return outcome


def settle(net: Net) -> None:
    """Whatever happened, stopping leaves no connection and no timer."""
    stopped: list[object] = []
    net.upstream.stop().addCallback(stopped.append)
    for wire in net.wires:
        wire.client.abortConnection()
    assert stopped == [None]
    assert net.upstream.connections == 0
    assert net.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("method", "raw", "body", "length", "kept"),
    [
        pytest.param(b"GET", OK + b"Content-Length: 5\r\n\r\nhello", b"hello", 5, True, id="length"),
        pytest.param(b"GET", OK + b"Content-Length: 0\r\n\r\n", b"", 0, True, id="length-0"),
        pytest.param(
            b"GET",
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"abcde",
            None,
            True,
            id="chunked",
        ),
        pytest.param(b"GET", OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx", b"x", 1, False, id="says-close"),
        pytest.param(b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", 1, False, id="http-1.0"),
        pytest.param(
            b"GET",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
            b"x",
            1,
            True,
            id="http-1.0-keep-alive",
        ),
        pytest.param(b"HEAD", OK + b"Content-Length: 5\r\n\r\n", b"", 0, True, id="head"),
        pytest.param(b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", 0, True, id="304"),
        pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", 0, True, id="204"),
        pytest.param(b"GET", b"HTTP/1.1 599\r\nContent-Length: 0\r\n\r\n", b"", 0, True, id="no-reason"),
    ],
)
def test_bodies(method: bytes, raw: bytes, body: bytes, length: int | None, kept: bool) -> None:
    outcome = exchange(raw, method=method)
    assert outcome.response is not None
    assert outcome.response.length == length
    assert (outcome.sink.data, outcome.sink.trailers) == (body, Fields())
    assert outcome.kept is kept


def test_a_body_that_the_end_of_the_connection_ends() -> None:
    outcome = exchange(OK + b"\r\nabc", b"def", close=True)
    assert outcome.response is not None
    assert outcome.response.length is None
    assert (outcome.sink.data, outcome.sink.trailers) == (b"abcdef", Fields())


def test_trailers_stay_apart() -> None:
    outcome = exchange(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nDigest: y\r\n\r\n")
    assert outcome.sink.trailers == Fields([(b"Digest", b"y")])
    assert outcome.response is not None
    assert b"digest" not in outcome.response.head.fields


def test_M1_each_interim_response_is_handed_on_before_the_final_one() -> None:
    outcome = exchange(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    )
    assert [(head.status, list(head.fields)) for head in outcome.interim] == [
        (100, []),
        (103, [(b"Link", b"x")]),
        (102, []),
    ]
    assert outcome.response is not None
    assert outcome.response.head.status == 200
    assert outcome.kept


def test_X1_transfer_encoding_governs_and_the_connection_is_not_reused() -> None:
    outcome = exchange(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert outcome.sink.data == b"hello"
    assert outcome.response is not None
    assert list(outcome.response.head.fields) == [(b"Transfer-Encoding", b"chunked")]
    assert not outcome.kept


@pytest.mark.parametrize("value", [b"5, 6", b"5\r\nContent-Length: 6", b"x", b"-1", b"", b"+5", b"9" * 5000])
def test_X2_a_length_that_is_none_is_refused(value: bytes) -> None:
    outcome = exchange(OK + b"Content-Length: " + value + b"\r\n\r\nhello")
    assert isinstance(outcome.error, UpstreamProtocolError)
    assert not outcome.kept


@pytest.mark.parametrize("value", [b"5, 5", b"5\r\nContent-Length: 5", b"005"])
def test_X2_equal_lengths_become_one(value: bytes) -> None:
    outcome = exchange(OK + b"Content-Length: " + value + b"\r\n\r\nhello")
    assert outcome.sink.data == b"hello"
    assert outcome.response is not None
    assert outcome.response.head.fields.all(b"content-length") == [b"5"]
    assert outcome.kept


def test_X4_an_unknown_coding_runs_until_the_connection_ends() -> None:
    outcome = exchange(OK + b"Transfer-Encoding: zzz\r\n\r\nabc", b"def", close=True)
    assert (outcome.sink.data, outcome.sink.trailers) == (b"abcdef", Fields())
    assert outcome.response is not None
    assert outcome.response.length is None


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([OK + b"Content-Length: 8\r\n\r\n12345678extra bytes!"], id="at-once"),
        pytest.param([OK + b"Content-Length: 8\r\n\r\n1234", b"5678extra"], id="with-the-last-piece"),
        pytest.param([OK + b"Content-Length: 8\r\n\r\n12345678", b"HTTP/1.1 200 OK\r\n\r\n"], id="afterwards"),
        pytest.param([OK + b"Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\nextra"], id="after-chunks"),
    ],
)
def test_X5_excess_bytes_are_thrown_away_with_the_connection(pieces: list[bytes]) -> None:
    outcome = exchange(*pieces)
    assert (outcome.sink.data, outcome.sink.trailers) == (b"12345678", Fields())
    assert not outcome.kept


@pytest.mark.parametrize(
    ("raw", "got"),
    [
        pytest.param(OK + b"Content-Length: 50\r\n\r\n12345", b"12345", id="length"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", b"12345", id="no-last-chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123", b"123", id="within-a-chunk"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"", id="no-end-of-trailers"),
    ],
)
def test_X6_a_short_body_is_incomplete(raw: bytes, got: bytes) -> None:
    outcome = exchange(raw, close=True)
    assert outcome.sink.data == got
    assert outcome.sink.trailers is None
    assert outcome.sink.failure is not None
    assert outcome.sink.failure.check(IncompleteBody)


def test_X6_a_reset_does_not_complete_a_body_without_length() -> None:
    net, sink = Net(), Sink()
    net.upstream.fetch(RequestHead(b"GET", b"/")).addCallback(lambda response: response.body.attach(sink))
    net.pump()
    net.peers[0].send(OK + b"\r\nabc")
    net.pump()
    net.wires[0].server.abortConnection()
    assert sink.failure is not None
    assert sink.failure.check(IncompleteBody)
    settle(net)


def test_X6_malformed_chunks_fail_the_body() -> None:
    outcome = exchange(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"zz\r\n")
    assert outcome.sink.data == b"hello"
    assert outcome.sink.failure is not None
    assert outcome.sink.failure.check(IncompleteBody)
    assert not outcome.kept


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_X7_no_body_whatever_the_fields_say(status: bytes) -> None:
    outcome = exchange(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert outcome.response is not None
    assert outcome.response.length == 0
    assert outcome.response.body.complete
    assert (b"content-length" in outcome.response.head.fields) is status.startswith(b"304")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"<html>"], id="html"),
        pytest.param([b"\r\n\r\n"], id="blank-lines"),
        pytest.param([b"HTTP/1.1 200 OK\r\nA: b\rc"], id="bare-cr"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101], id="interim-without-end"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", b"A\x00: b\r\n"], id="nul"),
        pytest.param([OK, b"A: " + b"b" * 40_000, b"b" * 40_000], id="endless-head"),
        pytest.param([OK + b"A: b\r\n" * 300 + b"\r\n"], id="too-many-fields"),
        pytest.param([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], id="101-unasked"),
        pytest.param([OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"], id="coding-we-cannot-undo"),
    ],
)
def test_what_is_not_http_is_refused_at_once(pieces: list[bytes]) -> None:
    outcome = exchange(*pieces)
    assert isinstance(outcome.error, UpstreamProtocolError)
    assert not outcome.kept


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_a_connection_that_ends_before_the_head_is_complete(raw: bytes) -> None:
    assert isinstance(exchange(raw, close=True).error, UpstreamProtocolError)


def test_101_hands_the_connection_over() -> None:
    net, far = Net(), ByteRecorder()
    responses: list[UpstreamResponse] = []
    asked = Fields([(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")])
    net.upstream.fetch(RequestHead(b"GET", b"/chat", asked)).addCallback(responses.append)
    net.pump()
    net.peers[0].send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nearly")
    net.pump()
    net.peers[0].send(b" and late")
    net.pump()
    tunnel = responses[0].tunnel
    assert isinstance(tunnel, Tunnel)
    tunnel.start(far)
    net.pump()
    far.send(b"back")
    net.pump()
    assert (bytes(far.data), bytes(net.peers[0].data[-4:])) == (b"early and late", b"back")
    net.clock.advance(1000)  # a tunnel may be silent
    assert far.lost is None
    net.peers[0].close()
    net.pump()
    assert far.lost is not None
    settle(net)


RESPONSES = [
    OK + b"Content-Length: 12\r\nX: a\r\n\r\nhello, world",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n00c\r\n, big world!\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
    OK + b"\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.sampled_from(RESPONSES), st.lists(st.integers(0, 120), max_size=8))
@pytest.mark.slow
def test_where_the_bytes_are_split_makes_no_difference(raw: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(edges) if a < b]
    whole, split = exchange(raw, close=True), exchange(*pieces, close=True)
    assert whole.response is not None
    assert split.response is not None
    assert whole.response.head == split.response.head
    assert whole.interim == split.interim
    assert (whole.sink.data, whole.sink.trailers) == (split.sink.data, split.sink.trailers)
    assert whole.kept is split.kept


@pytest.mark.parametrize("raw", RESPONSES)
def test_a_byte_at_a_time(raw: bytes) -> None:
    whole, split = exchange(raw, close=True), exchange(*(raw[i : i + 1] for i in range(len(raw))), close=True)
    assert (whole.sink.data, whole.sink.trailers, whole.kept) == (split.sink.data, split.sink.trailers, split.kept)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [OK, b"\r\n", b"\r\n\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc"]
            ),
            st.sampled_from(
                [b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"Connection: close\r\n", b"A : b\r\n c\r\n"]
            ),
        ),
        max_size=8,
    ),
    st.booleans(),
)
@pytest.mark.slow
def test_garbage_raises_nothing_but_upstream_errors(pieces: list[bytes], upgrade: bool) -> None:
    asked = Fields([(b"Upgrade", b"x")]) if upgrade else Fields()
    outcome = exchange(*pieces, close=True, fields=asked)
    assert (outcome.response is None) is (outcome.error is not None)
    if outcome.response is not None and outcome.response.tunnel is None:
        assert (outcome.sink.failure is None) is (outcome.sink.trailers is not None)


@pytest.mark.parametrize(
    ("raw", "body", "kept"),
    [
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi", True, id="lf-alone"),
        pytest.param(OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", b"hi", False, id="identity"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n2  \r\nhi\r\n0 \t\r\n\r\n", b"hi", True, id="blanks"),
    ],
)
def test_X11_lenient_where_it_is_safe(raw: bytes, body: bytes, kept: bool) -> None:
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        outcome = exchange(*pieces)
        assert outcome.response is not None
        assert (outcome.sink.data, outcome.kept) == (body, kept)
