"""How content leaves: shared, in slices under back-pressure, and others have their turn in between."""

from __future__ import annotations

import pytest
from support.wire_bytes import OK, get, statuses
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.pieces import SHARED_BYTES, Pieces
from caching_proxy.server import sending
from caching_proxy.server.batch import BATCH, LargeAnswer
from caching_proxy.server.sending import SLICE, TURN_BYTES
from caching_proxy.server.turn import TOGETHER_BYTES

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
BODY = bytes(range(256)) * 4 * 1024 * 3  # 3 MiB


def hot_large(parsed, channel):
    return LargeAnswer(HEAD % len(BODY), BODY)


def full(request) -> None:
    request.respond(OK, BODY)


def ranges(request) -> None:
    view = memoryview(BODY)
    request.respond(ResponseHead(206, b"Partial Content"), Pieces([b"one", view[:1_000_000], b"two", view[1_000_000:]]))


def choke(line) -> list[int]:
    """Have the transport of ``line`` say that it is full at each write of more than 64 KiB; the sizes written."""
    sizes: list[int] = []
    write = line.transport.write

    def writing(data: bytes) -> None:
        sizes.append(len(data))
        write(data)
        if len(data) > 64 * 1024:
            line.channel.pauseProducing()

    line.transport.write = writing
    return sizes


@pytest.mark.parametrize("site", [{"hot": hot_large}, {"handler": full}, {"handler": ranges}])
def test_a_client_that_does_not_read_is_given_one_slice(wire, site):
    line = wire(**site)
    sizes = choke(line)
    line.send(get())
    assert sum(sizes) < 2 * SLICE
    while line.channel.full:
        before = sum(sizes)
        line.channel.resumeProducing()
        assert sum(sizes) - before <= 2 * SLICE
    assert sum(sizes) >= len(BODY)
    assert not line.closed
    line.take()
    assert statuses(line.send(get())[:100]) in ([200], [206])


@pytest.mark.parametrize("site", [{"hot": hot_large}, {"handler": full}])
def test_slices_are_the_bytes_in_their_order(wire, site):
    line = wire(**site)
    choke(line)
    out = line.send(get() + get())
    for _ in range(2 * len(BODY) // SLICE + 2):
        line.channel.resumeProducing()
        line.clock.advance(0)
        out += line.take()
    assert out == (HEAD % len(BODY) + BODY) * 2


def test_pieces_go_out_in_order(wire):
    line = wire(ranges)
    out = line.send(get())
    for _ in range(len(BODY) // TURN_BYTES + 1):
        line.clock.advance(0)
        out += line.take()
    assert out.partition(b"\r\n\r\n")[2] == b"one" + BODY[:1_000_000] + b"two" + BODY[1_000_000:]


def test_requests_sent_ahead_by_a_client_that_does_not_read_are_not_answered(wire):
    calls = []

    def hot(parsed, channel):
        calls.append(parsed)
        return LargeAnswer(HEAD % len(BODY), BODY)

    line = wire(hot=hot)
    choke(line)
    line.send(get() * 50)
    assert len(calls) == 1


def test_a_connection_that_ends_lets_go_of_what_was_to_be_sent(wire):
    line = wire(full)
    choke(line)
    line.send(get())
    assert line.channel._rest
    line.disconnect()
    assert not line.channel._rest


def test_an_answer_that_closes_is_sent_to_its_end_first(wire):
    line = wire(full)
    choke(line)
    line.send(get(b"/", b"Connection: close"))
    assert not line.closed
    while line.channel._rest:
        assert not line.closed
        line.channel.resumeProducing()
    line.channel.resumeProducing()
    assert line.closed


def test_what_is_refused_behind_a_long_answer_comes_after_it(wire):
    line = wire(full)
    choke(line)
    out = line.send(get() + b"\x00\r\n\r\n")
    while not line.closed:
        line.channel.resumeProducing()
        out += line.take()
    assert statuses(out) == [200, 400]
    assert out.index(b"HTTP/1.1 400") == len(HEAD % len(BODY) + BODY)


def test_short_answers_are_one_write(wire):
    line = wire(lambda request: request.respond(OK, b"x" * (SHARED_BYTES - 1)))
    sizes = choke(line)
    line.send(get())
    assert len(sizes) == 1


def test_a_client_that_reads_fast_does_not_keep_the_loop(wire):
    large = bytes(3 * TURN_BYTES)
    line = wire(lambda request: request.respond(OK, large))
    turns = KeyQueue(line)
    sent = [len(line.send(get()))]
    while turns.next():
        sent.append(len(line.take()))
    assert sum(sent) > len(large)
    assert max(sent) < TURN_BYTES + 2 * SLICE
    assert not line.channel.full


# -- turns ---------------------------------------------------------------------------------------


class KeyQueue:
    """The loop's: what a connection puts off until others had their turn."""

    def __init__(self, line) -> None:
        self._waiting = []
        self._later = line.clock.callLater
        line.clock.callLater = self._call_later

    def _call_later(self, seconds, call):
        return self._later(seconds, call) if seconds else self._waiting.append(call)

    def next(self) -> bool:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        return bool(waiting)


@pytest.mark.parametrize("site", [{"hot": lambda parsed, channel: HEAD % 0}, {}])
def test_a_batch_of_requests_lets_others_have_their_turn(wire, site):
    line = wire(**site)
    turns = KeyQueue(line)
    assert len(statuses(line.send(get() * 3 * BATCH))) == BATCH
    turns.next()
    assert len(statuses(line.take())) == BATCH
    assert line.send(get()) == b""  # keeps its place
    turns.next()
    assert len(statuses(line.take())) == BATCH
    turns.next()
    assert len(statuses(line.take())) == 1
    assert line.channel.idle
    assert not turns.next()


def test_requests_that_take_long_give_way_sooner(wire):
    def slow(request) -> None:
        line.clock.rightNow += 0.004
        request.respond(OK, b"")

    line = wire(slow)
    turns = KeyQueue(line)
    assert len(statuses(line.send(get() * 20))) == 3
    while turns.next():
        assert len(statuses(line.take())) <= 3
    assert len(line.seen) == 20
    assert line.channel.idle


def test_a_connection_that_ends_between_turns_is_left_alone(wire):
    line = wire()
    line.send(get() * 2 * BATCH)
    line.disconnect()
    line.clock.advance(0)
    assert len(line.seen) == BATCH
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize("site", [{}, {"hot": lambda parsed, channel: b"HTTP/1.1 200 OK\r\n\r\n"}])
def test_who_has_closed_its_half_takes_turns_as_well(wire, site):
    """All in one turn, eight thousand hits held up everybody for a tenth of a second and more."""
    line = wire(**site)
    turns = KeyQueue(line)
    assert len(statuses(line.send(get() * 3 * BATCH))) == BATCH
    assert line.channel.input_ended()
    assert line.take() == b""
    for _ in range(2):
        assert not line.closed
        turns.next()
        assert len(statuses(line.take())) == BATCH
    turns.next()
    assert line.transport.disconnecting
    assert not wire().channel.input_ended(), "with nothing that waits, the transport may close"


def test_who_has_closed_its_half_may_take_its_time_to_read(wire):
    line = wire(hot=lambda parsed, channel: b"HTTP/1.1 200 OK\r\n\r\n")
    line.channel.pauseProducing()
    assert line.send(get() * 3) == b""
    assert line.channel.input_ended()
    line.channel.resumeProducing()
    assert len(statuses(line.take())) == 3
    assert line.transport.disconnecting


@pytest.mark.slow
def test_what_waits_for_its_turn_may_wait_longer_than_a_head_may_take(wire):
    line = wire()
    for _ in range(100):
        line.channel.dataReceived(get() * 2 * BATCH)
        line.clock.advance(1)
        assert not line.closed


# -- bodies that slow readers keep ---------------------------------------------------------------


def held_by(wire, bodies):
    """One connection for each of ``bodies``, none of which reads."""
    line = wire(lambda request: request.respond(OK, bodies[len(line.seen) - 1]))
    channels = []
    for _ in bodies:
        line.connect()
        choke(line)
        line.send(get())
        channels.append(line.channel)
    return line, channels


def test_a_body_counts_once_however_many_read_it(wire):
    line, channels = held_by(wire, [BODY] * 5)
    assert line.site.pinned.bytes == len(BODY)
    for channel in channels[:4]:
        channel.connectionLost(Failure(ConnectionDone()))
    assert line.site.pinned.bytes == len(BODY)
    while channels[4].full:
        channels[4].resumeProducing()
    assert line.site.pinned.bytes == 0


@pytest.mark.parametrize(("most", "aborted"), [(10 * len(BODY), False), (len(BODY) - 1, True)])
def test_with_too_much_kept_who_takes_nothing_is_dropped_early(wire, most, aborted):
    line, channels = held_by(wire, [BODY + bytes(size) for size in range(5)])
    line.site.pinned.most = most
    for _ in range(5):
        line.clock.advance(1)
    assert [channel.transport.aborted for channel in channels] == [aborted] * 5
    assert line.site.pinned.bytes == (0 if aborted else 5 * len(BODY) + 10)


def test_who_takes_something_is_not_dropped_though_much_is_kept(wire):
    line, channels = held_by(wire, [BODY, BODY + b"x"])
    line.site.pinned.most = len(BODY)
    for _ in range(5):
        channels[1].resumeProducing()
        line.clock.advance(1)
    assert [channel.transport.aborted for channel in channels] == [True, False]


@pytest.mark.parametrize(("most", "aborted"), [(len(BODY), False), (len(BODY) // 8, True)])
def test_who_trickles_is_dropped_where_much_is_kept(wire, most, aborted):
    line, [channel] = held_by(wire, [BODY])
    line.site.pinned.most = most
    for second in range(12):
        assert channel.transport.aborted is (aborted and second >= 10), "the average of some seconds counts"
        channel.resumeProducing()
        line.clock.advance(1)
    assert channel.transport.aborted is aborted
    assert 0 < channel._written < len(BODY)


WAITS = 2 * SHARED_BYTES


@pytest.fixture
def alone(wire, monkeypatch):
    """Connections of clients that take nothing of answers of their own, and what waits in the transport of each."""
    waiting: dict[object, int] = {}
    monkeypatch.setattr(sending, "unsent", lambda each: 0 if each.aborted else waiting.get(each, 0))
    line = wire(lambda request: request.respond(OK, bytes(SHARED_BYTES - 1)))
    for _ in range(5):
        line.connect()
        line.send(get())
        waiting[line.transport] = WAITS
    return line, waiting


@pytest.mark.parametrize(("most", "aborted"), [(5, 0), (4, 1)])
def test_what_waits_for_one_client_alone_counts_as_well(alone, most, aborted):
    line, waiting = alone
    line.site.pinned.alone.most = most * WAITS
    line.clock.advance(1)
    assert line.site.pinned.alone.bytes == 5 * WAITS
    line.clock.pump([1] * 4)
    assert sum(transport.aborted for transport in waiting) == aborted, "until there is room again"
    assert line.site.pinned.alone.bytes == (5 - aborted) * WAITS
    for transport in waiting:
        waiting[transport] = 0
    line.clock.advance(1)
    assert line.site.pinned.alone.bytes == 0


def test_who_trickles_what_waits_for_one_alone_is_dropped_as_well(alone):
    line, waiting = alone
    line.site.pinned.alone.most = 5 * WAITS
    waiting.update(dict.fromkeys(waiting, WAITS + 20))
    for second in range(12):
        assert any(transport.aborted for transport in waiting) is (second > 10), "the average of some seconds counts"
        for transport in waiting:
            waiting[transport] -= 1
        line.clock.advance(1)
    assert sum(transport.aborted for transport in waiting) == 1, "there is room again"


def test_far_too_much_for_single_clients_costs_those_their_connection_who_have_not_read_for_longest(alone):
    line, waiting = alone
    transports = list(waiting)
    line.site.pinned.alone.most = 2 * WAITS
    for transport in transports:
        transport.producer.pauseProducing()
    assert [transport.aborted for transport in transports] == [True, True, True, False, False]
    transports[3].producer.resumeProducing()
    line.connect()
    waiting[line.transport] = WAITS
    line.send(get())
    line.channel.pauseProducing()
    assert not transports[3].aborted, "it has room for more"
    line.connect()
    waiting[line.transport] = WAITS
    line.send(get())
    line.channel.pauseProducing()
    assert [transport.aborted for transport in transports[3:]] == [False, True]
    assert line.site.pinned.alone.bytes == 2 * WAITS


def test_all_connections_together_give_way(wire):
    line = wire(handler=full)
    turn = line.site.turn
    turn.take(TOGETHER_BYTES)
    assert turn.over
    assert len(line.send(get())) < SLICE, "its head at most"
    line.clock.advance(0)
    assert not turn.over
    assert len(line.take()) >= SLICE
