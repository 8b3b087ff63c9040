"""The server side of a connection as scripts of bytes: order, persistence, the hot path, any split, any garbage."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.wire_bytes import CHUNKED, Late, answer, get, post, statuses

from caching_proxy.server.batch import LargeAnswer
from caching_proxy.server.limits import Limits

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


@pytest.mark.parametrize("deliver", ["send", "drip"])
@pytest.mark.parametrize("before", [b"\r\n", b"\n", b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_empty_lines_before_a_request_are_skipped(wire, before, deliver):
    assert statuses(getattr(wire(), deliver)(before + get() + before + get())) == [200, 200]


@pytest.mark.parametrize("deliver", ["send", "drip"])
@pytest.mark.parametrize("before", [b"\r\n" * 3, b"\n" * 3, b" \r\n", b"\r", b"\r\r\n"])
def test_more_than_two_empty_lines_are_no_request(wire, before, deliver):
    assert statuses(getattr(wire(), deliver)(before + get())) == [400]


# -- the hot path ------------------------------------------------------------------------------------


def test_hot_answers_are_joined_and_need_no_request(wire):
    writes = []
    line = wire(hot=lambda parsed, channel: b"<%b>" % parsed.head.target)
    line.transport.write = writes.append
    line.channel.dataReceived(get(b"/1") + get(b"/2") + get(b"/3"))
    assert writes == [b"</1></2></3>"]
    assert line.seen == []


@pytest.mark.parametrize("hot", [None, b"hot"])
def test_empty_lines_count_anew_after_a_head_that_came_alone(wire, hot):
    line = wire(hot=None if hot is None else lambda parsed, channel: hot)
    for _ in range(3):
        assert line.send(b"\r\n") == b""
        assert line.send(get()) == (hot or answer(b"GET / "))


@pytest.mark.parametrize("large", [False, True])
def test_hot_answers_to_heads_that_come_one_by_one(wire, large):
    body = b"x" * 100_000
    line = wire(hot=lambda parsed, channel: LargeAnswer(b"<%b>" % parsed.head.target, body) if large else b"<>")
    for target in (b"/1", b"/2"):
        assert line.send(get(target)) == (b"<%b>%b" % (target, body) if large else b"<>")
    assert line.channel.due == line.clock.seconds() + Limits().idle_seconds
    assert line.seen == []


def test_hot_declines_keep_the_order(wire):
    line = wire(hot=lambda parsed, channel: None if parsed.head.target == b"/2" else b"<%b>" % parsed.head.target)
    assert line.send(get(b"/1") + get(b"/2") + get(b"/3")) == b"</1>" + answer(b"GET /2 ") + b"</3>"


def test_hot_answers_stop_when_the_client_does_not_read(wire):
    line = wire(hot=lambda parsed, channel: b"x" * 40_000)
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
    line = wire(late, hot=lambda parsed, channel: None if parsed.head.target == b"/slow" else b"hot")
    assert line.send(get(b"/slow") + get(b"/")) == b""
    late.answer()
    assert line.take() == answer(b"late") + b"hot"


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
    line = wire(hot=(lambda parsed, channel: answer(b"GET %b " % parsed.head.target)) if hot else None)
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
