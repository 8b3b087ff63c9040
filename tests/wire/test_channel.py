"""The server side of a connection as scripts of bytes: order, persistence, framing, limits, deadlines."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from caching_proxy.body import BodyTooLarge
from caching_proxy.core.framing import BadMessage
from caching_proxy.core.messages import ResponseHead
from caching_proxy.wire.limits import Limits

OK = ResponseHead(200, b"OK")


def get(target: bytes = b"/", *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET %b HTTP/%b" % (target, version), b"Host: a", *fields, b"", b""])


def post(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"POST /p HTTP/1.1", b"Host: a", *fields, b"", b""]) + body


def answer(content: bytes, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(content), *fields, b"", b""]
    return b"\r\n".join(lines) + content


def statuses(data: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3})", data)]


class Late:
    """An application that answers when told."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, request) -> None:
        self.waiting.append(request)

    def answer(self, content: bytes = b"late") -> None:
        self.waiting.pop(0).respond(OK, content)


# -- order and persistence ---------------------------------------------------------------------------


def test_one_request_and_the_next(wire):
    line = wire()
    assert line.send(get(b"/1")) == answer(b"GET /1 ")
    assert line.send(get(b"/2")) == answer(b"GET /2 ")
    assert not line.closed


def test_pipelined_requests_are_answered_in_order(wire):
    line = wire()
    assert line.send(get(b"/1") + get(b"/2") + get(b"/3")[:-1]) == answer(b"GET /1 ") + answer(b"GET /2 ")
    assert line.send(b"\n") == answer(b"GET /3 ")


def test_pipelined_requests_wait_for_a_slow_one(wire):
    late = Late()
    line = wire(late)
    line.send(get(b"/1") + get(b"/2"))
    line.send(get(b"/3"))
    assert line.targets == [b"/1"]
    late.answer()
    assert line.targets == [b"/1", b"/2"]
    late.answer()
    late.answer()
    assert line.take() == answer(b"late") * 3


def test_waiting_requests_are_bounded(wire):
    late = Late()
    line = wire(late, Limits(pipeline_depth=4))
    line.send(get() + get() * 4)
    line.send(get())
    assert line.transport.producerState == "paused"
    for _ in range(6):
        late.answer()
    assert line.transport.producerState == "producing"
    assert len(line.seen) == 6


def test_waiting_bytes_are_bounded(wire):
    late = Late()
    line = wire(late)
    line.send(get())
    line.send(get(b"/", b"X: " + b"x" * 40_000))
    assert line.transport.producerState == "paused"
    late.answer()
    assert line.transport.producerState == "producing"


@pytest.mark.parametrize(
    ("request_", "field", "closed"),
    [
        (get(), b"", False),
        (get(b"/", b"Connection: keep-alive"), b"", False),
        (get(b"/", b"Connection: close"), b"Connection: close", True),
        (get(b"/", b"Connection: x, CLOSE"), b"Connection: close", True),
        (get(version=b"1.0"), b"Connection: close", True),
        (get(b"/", b"Connection: Keep-Alive", version=b"1.0"), b"Connection: keep-alive", False),
    ],
    ids=["1.1", "1.1-keep-alive", "1.1-close", "1.1-close-in-list", "1.0", "1.0-keep-alive"],
)
def test_persistence(wire, request_, field, closed):
    line = wire()
    data = line.send(request_)
    assert data == (answer(b"GET / ", field) if field else answer(b"GET / "))
    assert line.closed is closed


def test_nothing_after_a_closing_answer_runs(wire):
    line = wire()
    assert statuses(line.send(get(b"/1", b"Connection: close") + get(b"/2"))) == [200]
    assert line.targets == [b"/1"]
    assert line.transport.half_closed  # the client may still be sending: it has to be able to read the answer
    assert line.send(get(b"/3")) == b""


def test_an_empty_line_before_a_request_is_skipped_once(wire):
    assert statuses(wire().send(b"\r\n" + get() + b"\r\n" + get())) == [200, 200]
    assert statuses(wire().drip(b"\r\n" + get() + b"\r\n" + get())) == [200, 200]
    assert statuses(wire().send(b"\r\n\r\n" + get())) == [400]
    assert statuses(wire().drip(b"\r\n\r\n" + get())) == [400]


# -- the hot path ------------------------------------------------------------------------------------


def test_hot_answers_are_joined_and_need_no_request(wire):
    writes = []
    line = wire(hot=lambda head, channel: b"<%b>" % head.target)
    line.transport.write = writes.append
    line.channel.dataReceived(get(b"/1") + get(b"/2") + get(b"/3"))
    assert writes == [b"</1></2></3>"]
    assert line.seen == []


def test_hot_declines_keep_the_order(wire):
    line = wire(hot=lambda head, channel: None if head.target == b"/2" else b"<%b>" % head.target)
    assert line.send(get(b"/1") + get(b"/2") + get(b"/3")) == b"</1>" + answer(b"GET /2 ") + b"</3>"


def test_hot_answers_stop_when_the_client_does_not_read(wire):
    line = wire(hot=lambda head, channel: b"x" * 40_000)
    write = line.transport.write

    def congested(data):
        write(data)
        line.channel.pauseProducing()

    line.transport.write = congested
    assert len(line.send(get() * 10)) == 80_000
    line.channel.resumeProducing()
    assert len(line.take()) == 80_000
    line.channel.dataReceived(get())
    for _ in range(4):
        line.channel.resumeProducing()
    assert len(line.take()) == 40_000 * 7


def test_hot_is_not_asked_while_a_request_is_under_way(wire):
    late = Late()
    line = wire(late, hot=lambda head, channel: None if head.target == b"/slow" else b"hot")
    assert line.send(get(b"/slow") + get(b"/")) == b""
    late.answer()
    assert line.take() == answer(b"late") + b"hot"


# -- bodies ------------------------------------------------------------------------------------------

CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("how", ["send", "drip"])
@pytest.mark.parametrize(
    ("request_", "content"),
    [
        (post(b"hello", b"Content-Length: 5"), b"hello"),
        (post(b"", b"Content-Length: 0"), b""),
        (post(b""), b""),
        (post(b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: 1\r\n\r\n", CHUNKED), b"hello!"),
    ],
    ids=["length", "zero", "none", "X11-chunked"],
)
def test_bodies(wire, how, request_, content):
    line = wire()
    assert getattr(line, how)(request_ + get(b"/next")) == answer(b"POST /p " + content) + answer(b"GET /next ")


def test_the_application_runs_before_the_body_is_here(wire):
    line = wire()
    assert line.send(post(b"he", b"Content-Length: 5")) == b""
    assert line.seen[0].body.length == 5
    assert line.send(b"llo") == answer(b"POST /p hello")


def test_back_pressure_on_a_body(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"", b"Content-Length: 1000000"))
    line.send(b"x" * 70_000)
    assert line.transport.producerState == "paused"
    collected = late.waiting[0].body.collect(1 << 20)
    assert line.transport.producerState == "producing"
    late.waiting[0].body.pause()
    assert line.transport.producerState == "paused"
    late.waiting[0].body.resume()
    line.send(b"x" * 930_000)
    assert len(collected.result) == 1_000_000


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(post(b"abc", b"Content-Length: 3", CHUNKED), 400, id="X1"),
        pytest.param(post(b"abc", b"Content-Length: 3, 4"), 400, id="X2"),
        pytest.param(post(b"abc", b"Transfer-Encoding: gzip"), 400, id="X3"),
        pytest.param(post(b"abc", b"Transfer-Encoding: zzz"), 501, id="X3-unknown"),
        pytest.param(get(b"/", b"X: a", b" b"), 400, id="X8"),
        pytest.param(get(b"/", b"X : a"), 400, id="X9"),
        pytest.param(get(b"/", b"Host: a"), 400, id="X10"),
        pytest.param(post(b"zz\r\nabc\r\n", CHUNKED), 400, id="X11"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="h2-preface"),
        pytest.param(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, id="connect"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare-lf"),
        pytest.param(b"GET /\r\n", 400, id="http09"),
    ],
)
@pytest.mark.parametrize("how", ["send", "drip"])
def test_refusals_close_and_nothing_later_runs(wire, request_, status, how):
    refused = []
    line = wire(on_refused=refused.append)
    data = line.send(get(b"/before"))
    data += getattr(line, how)(request_ + get(b"/smuggled"))
    assert statuses(data) == [200, status]
    head, _, body = data[len(answer(b"GET /before ")) :].partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert set(json.loads(body)) == {"error"}
    assert b"/smuggled" not in line.targets
    assert line.transport.half_closed
    assert line.send(get(b"/later")) == b""
    assert refused == [status]


def test_a_chunked_body_that_breaks_later_ends_the_request(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"3\r\nabc\r\n", CHUNKED))
    gone = late.waiting[0].notifyFinish()
    assert statuses(line.send(b"zz\r\n" + get(b"/smuggled"))) == [400]
    assert gone.result.check(BadMessage)
    gone.addErrback(lambda _: None)
    late.answer()  # comes too late, and is dropped
    assert line.take() == b""
    assert line.targets == [b"/p"]


def test_a_body_that_breaks_under_an_answer_ends_the_connection_after_it(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"3\r\nabc\r\n", CHUNKED))
    late.waiting[0].start_response(OK, 4)
    data = line.send(b"zz\r\n" + get(b"/smuggled"))
    late.waiting[0].write(b"late")
    late.waiting[0].finish()
    assert data + line.take() == answer(b"late")
    assert line.transport.half_closed
    assert line.targets == [b"/p"]


def test_bodies_beyond_the_limit(wire):
    limits = Limits(body_bytes=10)
    assert statuses(wire(limits=limits).send(post(b"", b"Content-Length: 11"))) == [413]
    line = wire(limits=limits)
    line.send(post(b"5\r\nhello\r\n", CHUNKED))
    assert statuses(line.send(b"6\r\nworld!\r\n")) == [413]
    assert line.closed
    assert statuses(wire(limits=limits).send(post(b"x" * 10, b"Content-Length: 10"))) == [200]


def test_a_client_that_leaves_in_the_middle_of_a_body(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"abc", b"Content-Length: 5"))
    collected = late.waiting[0].body.collect(100)
    gone = late.waiting[0].notifyFinish()
    line.disconnect()
    assert collected.result.check(ConnectionDone)
    assert gone.result.check(ConnectionDone)
    for done in (collected, gone):
        done.addErrback(lambda _: None)
    assert len(line.site.connections) == 0


# -- bodies that nobody reads ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "rest"),
    [(post(b"ab", b"Content-Length: 5"), b"cde"), (post(b"2\r\nab\r\n", CHUNKED), b"3\r\ncde\r\n0\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_a_short_unread_rest_is_read_over(wire, first, rest):
    late = Late()
    line = wire(late)
    line.send(first)
    late.answer()
    assert line.take() == answer(b"late")
    line.send(rest + get(b"/next"))
    assert line.targets == [b"/p", b"/next"]


def test_a_long_unread_rest_closes_the_connection(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"ab", b"Content-Length: 1000000"))
    late.answer()
    assert line.take() == answer(b"late")
    assert line.transport.half_closed
    line.send(b"x" * 999_998 + get(b"/smuggled"))
    assert line.targets == [b"/p"]


def test_a_chunked_rest_is_read_over_only_so_far(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"", CHUNKED))
    late.answer()
    line.send(b"fffff\r\n" + b"x" * 60_000)
    assert not line.closed
    line.send(b"x" * 10_000)
    assert line.transport.half_closed
    line.send(b"x" * 978_575 + b"\r\n0\r\n\r\n" + get(b"/smuggled"))
    assert line.targets == [b"/p"]


def test_a_body_cancelled_while_the_answer_is_prepared(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"ab", b"Content-Length: 1000000"))
    collected = late.waiting[0].body.collect(10)
    line.send(b"x" * 20)
    assert collected.result.check(BodyTooLarge)
    collected.addErrback(lambda _: None)
    assert line.transport.producerState == "paused"
    late.waiting[0].respond(ResponseHead(413, b"Too Large"), b"")
    assert line.take() == b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert line.transport.producerState == "producing"
    assert line.transport.half_closed


# -- Expect ------------------------------------------------------------------------------------------

EXPECT = b"Expect: 100-continue"


def test_M3_no_100_unless_the_application_asks(wire):
    late = Late()
    line = wire(late)
    assert line.send(post(b"", b"Content-Length: 5", EXPECT)) == b""
    late.waiting[0].body.attach(object())
    assert line.take() == b""
    late.waiting[0].send_continue()
    late.waiting[0].send_continue()
    assert line.take() == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_M3_a_final_answer_instead_of_100_closes(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"", b"Content-Length: 5", EXPECT))
    late.waiting.pop().respond(ResponseHead(417, b"Expectation Failed"), b"")
    assert line.take() == b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert line.transport.half_closed
    assert line.send(get()) == b""


def test_M3_no_100_to_a_client_that_already_sends(wire):
    line = wire(lambda request: request.send_continue())
    assert line.send(post(b"he", b"Content-Length: 5", EXPECT)) == b""


# -- deadlines ---------------------------------------------------------------------------------------


def pass_time(line, seconds: float) -> bytes:
    for _ in range(int(seconds)):
        line.clock.advance(1)
    return line.take()


def test_a_slow_head_gets_408_however_often_bytes_come(wire):
    line = wire()
    data = b""
    for _ in range(40):
        line.channel.dataReceived(b"X")
        data += pass_time(line, 1)
    assert statuses(data) == [408]
    assert line.closed


def test_connections_that_stay_silent_are_closed(wire):
    line = wire()
    assert pass_time(line, 31) == b""
    assert line.closed


def test_idle_connections_are_closed_after_their_time(wire):
    line = wire()
    line.send(get())
    pass_time(line, 73)
    assert not line.closed
    line.send(get())
    pass_time(line, 73)
    assert not line.closed
    pass_time(line, 3)
    assert line.closed


def test_the_head_deadline_of_a_later_request_starts_with_its_first_byte(wire):
    line = wire()
    line.send(get())
    pass_time(line, 60)
    line.send(b"GET ")
    assert pass_time(line, 28) == b""
    assert statuses(pass_time(line, 3)) == [408]


def test_a_waiting_application_has_no_deadline(wire):
    late = Late()
    line = wire(late)
    line.send(get())
    pass_time(line, 500)
    late.answer()
    assert line.take() == answer(b"late")


def test_a_body_that_trickles_gets_408(wire):
    line = wire()
    data = line.send(post(b"", b"Content-Length: 100000"))
    for _ in range(70):
        line.channel.dataReceived(b"x")
        data += pass_time(line, 1)
    assert statuses(data) == [408]


def test_a_long_body_that_makes_progress_is_let_through(wire):
    line = wire()
    data = line.send(post(b"", b"Content-Length: 100000"))
    for _ in range(100):
        line.channel.dataReceived(b"x" * 1000)
        data += pass_time(line, 2)
    assert statuses(data) == [200]


def test_time_in_which_we_held_the_body_back_does_not_count(wire):
    late = Late()
    line = wire(late)
    line.send(post(b"x" * 70_000, b"Content-Length: 100000"))
    pass_time(line, 1000)
    assert not line.closed
    late.waiting[0].body.collect(1 << 20)
    line.send(b"x" * 30_000)
    assert late.waiting[0].body.complete


def test_a_client_that_does_not_read_is_dropped(wire):
    late = Late()
    line = wire(late)
    line.send(get())
    late.waiting[0].start_response(OK, 200_000)
    late.waiting[0].write(b"x" * 100_000)
    line.channel.pauseProducing()
    pass_time(line, 200)
    assert not line.transport.aborted  # 60 s and (100,000 + 65,536) bytes at 1 KiB/s
    pass_time(line, 30)
    assert line.transport.aborted


def test_lingering_is_bounded(wire):
    line = wire()
    line.send(b"\x00")
    for _ in range(3):
        line.channel.dataReceived(b"more")
        line.clock.advance(1)
    assert line.transport.aborted


def test_closing_waits_for_a_client_that_still_reads(wire):
    late = Late()
    line = wire(late)
    line.send(get(b"/", b"Connection: close"))
    late.waiting[0].start_response(OK, 100_000)
    line.channel.pauseProducing()
    late.waiting[0].write(b"x" * 100_000)
    late.waiting[0].finish()
    assert not line.closed
    line.channel.resumeProducing()
    assert line.closed


def test_no_timer_is_left_without_connections(wire):
    line = wire()
    assert len(line.clock.getDelayedCalls()) == 1
    line.disconnect()
    assert line.clock.getDelayedCalls() == []


# -- how many, and the end ---------------------------------------------------------------------------


def test_connections_are_bounded(wire):
    line = wire(max_connections=1)
    assert line.site.buildProtocol(None) is None
    line.disconnect()
    assert line.site.buildProtocol(None) is not None


def test_connections_are_bounded_per_peer(wire):
    line = wire(max_per_peer=1)
    assert line.site.buildProtocol(line.transport.getPeer()) is None
    line.disconnect()
    assert line.site.buildProtocol(line.transport.getPeer()) is not None


def test_draining_closes_idle_connections_and_waits_for_busy_ones(wire):
    late = Late()
    line = wire(late)
    idle, idle_transport = line.channel, line.transport
    line.connect()
    line.send(get())
    drained = line.site.connections.drain(10)
    assert idle_transport.disconnecting
    idle.connectionLost(Failure(ConnectionDone()))
    assert not drained.called
    late.answer()
    assert line.take() == answer(b"late", b"Connection: close")
    assert line.closed
    assert line.site.buildProtocol(None) is None
    line.disconnect()
    assert drained.called
    assert line.clock.getDelayedCalls() == []


def test_draining_ends_after_the_grace(wire):
    line = wire(Late())
    line.send(get())
    line.site.connections.drain(10)
    pass_time(line, 9)
    assert not line.transport.aborted
    pass_time(line, 2)
    assert line.transport.aborted


# -- any split, any garbage --------------------------------------------------------------------------

SCRIPT = (
    get(b"/1")
    + post(b"hello", b"Content-Length: 5")
    + post(b"5\r\nhello\r\n0\r\n\r\n", CHUNKED)
    + b"\r\n"
    + get(b"/2", b"X: " + b"y" * 50)
    + post(b"!", b"Content-Length: 1", b"Connection: close")
    + get(b"/never")
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.integers(0, len(SCRIPT)), max_size=12), st.booleans())
def test_any_split_gives_the_same_answers(wire, cuts, hot):
    line = wire(hot=(lambda head, channel: answer(b"GET %b " % head.target)) if hot else None)
    edges = [0, *sorted(cuts), len(SCRIPT)]
    data = b"".join(line.send(SCRIPT[a:b]) for a, b in itertools.pairwise(edges) if a < b)
    assert data == (
        answer(b"GET /1 ")
        + answer(b"POST /p hello") * 2
        + answer(b"GET /2 ")
        + answer(b"POST /p !", b"Connection: close")
    )


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_damage_is_answered_or_awaited(wire, data):
    line = wire()
    script = bytearray(SCRIPT)
    for _ in range(data.draw(st.integers(1, 3))):
        script[data.draw(st.integers(0, len(script) - 1))] = data.draw(st.integers(0, 255))
    step = data.draw(st.integers(1, 200))
    out = b"".join(line.send(bytes(script[at : at + step])) for at in range(0, len(script), step))
    codes = statuses(out)
    assert all(code == 200 for code in codes[:-1])
    assert set(codes[-1:]) <= {200, 400, 413, 414, 431, 501, 505}
    line.disconnect()
    assert line.clock.getDelayedCalls() == []
