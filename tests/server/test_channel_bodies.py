"""Request bodies on the server side: framing, refusals, limits, bodies that nobody reads, Expect."""

from __future__ import annotations

import json

import pytest
from support.wire_bytes import CHUNKED, OK, Late, answer, get, post, statuses
from twisted.internet.error import ConnectionDone

from caching_proxy.http.body import BodyTooLarge
from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.limits import Limits


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
    line = wire(on_refused=lambda status, peer: refused.append(status))
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
