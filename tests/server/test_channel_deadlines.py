"""When the server side ends a connection: deadlines, how many there may be, draining."""

from __future__ import annotations

import pytest
from support.wire_bytes import OK, Late, answer, get, post, statuses
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

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
    line.channel.pauseProducing()
    late.waiting[0].write(b"x" * 100_000)
    pass_time(line, 60)
    assert not line.transport.aborted
    pass_time(line, 2)
    assert line.transport.aborted


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_all_however_long_it_takes(wire):
    late = Late()
    line = wire(late)
    line.send(get())
    late.waiting[0].start_response(OK, 2000 * 100)
    for _ in range(2000):
        late.waiting[0].write(b"x" * 100)
        line.channel.pauseProducing()
        pass_time(line, 59)
        line.channel.resumeProducing()
        pass_time(line, 1)
    assert not line.transport.aborted


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


def test_too_many_connections_are_said_once_a_state(wire):
    line = wire(max_connections=10)
    channels = [line.channel]
    for _ in range(9):
        line.connect()
        channels.append(line.channel)
    with capturedLogs() as logs:
        for _ in range(5):
            assert line.site.buildProtocol(None) is None
        channels[0].connectionLost(Failure(ConnectionDone()))
        line.connect()
        assert line.site.buildProtocol(None) is None
        channels[0] = line.channel
        assert [event["log_level"].name for event in logs] == ["warn"]
        for channel in channels[:2]:
            channel.connectionLost(Failure(ConnectionDone()))
        for channel in channels[2:5]:
            channel.connectionLost(Failure(ConnectionDone()))
        assert [event["log_level"].name for event in logs] == ["warn", "info"]
        assert "6 were refused" in formatEvent(logs[1])


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


@pytest.mark.parametrize("begun", [b"G", b"\r", b"GET / HTTP/1.1\r\nHost:"])
def test_a_part_of_a_head_does_not_hold_the_drain(wire, begun):
    line = wire(Late())
    line.send(begun)
    line.site.connections.drain(10)
    assert statuses(line.take()) == [503]
    assert line.transport.disconnecting
    assert line.targets == []


def test_a_whole_request_holds_the_drain_though_a_part_of_another_follows(wire):
    late = Late()
    line = wire(late)
    line.send(get() + b"GET /next")
    line.site.connections.drain(10)
    assert not line.closed
    late.answer()
    assert statuses(line.take()) == [200]
    assert line.closed


def test_draining_ends_after_the_grace(wire):
    line = wire(Late())
    line.send(get())
    line.site.connections.drain(10)
    pass_time(line, 9)
    assert not line.transport.aborted
    pass_time(line, 2)
    assert line.transport.aborted
