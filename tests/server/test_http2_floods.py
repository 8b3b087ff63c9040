"""Known ways to have an HTTP/2 server work or keep much for little: each ends the connection, or costs no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hpack import Encoder
from support.h2_client import PREFACE, frame

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.http2.bounds import (
    CONTINUATION,
    CONTINUATIONS,
    DATA,
    FRAME_BYTES,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Bucket,
    Flood,
    Frame,
    FrameGate,
)
from caching_proxy.server.http2.connection import TURN_SECONDS, HTTP2Channel
from caching_proxy.server.http2.machine import STREAMS
from caching_proxy.server.http2.sending import PILED_BYTES
from caching_proxy.server.limits import Limits

HEAD = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]


class Attacker:
    """A connection with frames by hand; ``code`` is that of the GOAWAY that has come, if any."""

    def __init__(self, line: Any) -> None:
        self.line = line
        self.encoder = Encoder()
        self.send(PREFACE + frame(SETTINGS))

    def send(self, data: bytes) -> None:
        self.line.channel.dataReceived(data)

    def head(self, stream: int, ends: bool = True, *fields: tuple[bytes, bytes]) -> bytes:
        return frame(HEADERS, 4 | ends, stream, self.encoder.encode([*HEAD, *fields]))

    @property
    def code(self) -> int | None:
        data, codes = self.line.transport.value(), []
        while data:
            size = int.from_bytes(data[:3], "big")
            if data[3] == 7:
                codes.append(int.from_bytes(data[13:17], "big"))
            data = data[9 + size :]
        return codes[-1] if codes else None


@pytest.fixture
def attack(wire: Any) -> Callable[..., Attacker]:
    def attacking(*arguments: Any, **more: Any) -> Attacker:
        line = wire(*arguments, **more)
        line.disconnect()
        line.transport = type(line.transport)()
        line.channel = HTTP2Channel(line.site)
        line.channel.makeConnection(line.transport)
        return Attacker(line)

    return attacking


def nothing(request: Any) -> None:
    """No answer yet."""


def test_rapid_reset(attack: Callable[..., Attacker]) -> None:
    attacker = attack(nothing)
    for number in range(1, 2001, 2):
        attacker.send(attacker.head(number) + frame(RST_STREAM, 0, number, (8).to_bytes(4, "big")))
    assert attacker.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert attacker.line.closed
    assert len(attacker.line.seen) <= 201
    assert all(request.disconnected for request in attacker.line.seen)


def test_resets_now_and_then_are_fine(attack: Callable[..., Attacker]) -> None:
    attacker = attack(nothing)
    for number in range(1, 2001, 2):
        attacker.send(attacker.head(number) + frame(RST_STREAM, 0, number, (8).to_bytes(4, "big")))
        attacker.line.clock.advance(0.1)
    assert attacker.code is None


def test_resets_that_the_client_has_us_make(attack: Callable[..., Attacker]) -> None:
    """A window that overflows, content after the end: what the client sends makes us reset the stream."""
    attacker = attack(nothing)
    for number in range(1, 2001, 2):
        attacker.send(attacker.head(number))
        attacker.send(frame(WINDOW_UPDATE, 0, number, (2**31 - 1).to_bytes(4, "big")))
    assert attacker.code is not None
    assert len(attacker.line.seen) <= 201


@pytest.mark.parametrize(
    ("name", "flood"),
    [
        ("ping", frame(PING, 0, 0, bytes(8))),
        ("ping answers", frame(PING, 1, 0, bytes(8))),
        ("settings", frame(SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00")),
        ("settings answers", frame(SETTINGS)),
        ("priority", frame(PRIORITY, 0, 7, bytes(5))),
        ("unknown", frame(0x7F, 0, 0, b"x")),
        ("empty content", frame(DATA, 0, 1)),
        ("window", frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big"))),
        ("window of the connection", frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big"))),
    ],
)
def test_floods(attack: Callable[..., Attacker], name: str, flood: bytes) -> None:
    attacker = attack(nothing)
    attacker.send(attacker.head(1, False))
    for _ in range(50):
        attacker.send(flood * 50)
    assert attacker.code == ErrorCodes.ENHANCE_YOUR_CALM, name
    assert attacker.line.closed


def test_settings_in_large_frames(attack: Callable[..., Attacker]) -> None:
    attacker = attack()
    attacker.send(frame(SETTINGS, 0, 0, b"".join(n.to_bytes(2, "big") + bytes(4) for n in range(1000, 2000))))
    assert attacker.code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("payload", [b"", b"\x00" * 3000])
def test_a_flood_of_continuations(attack: Callable[..., Attacker], payload: bytes) -> None:
    attacker = attack(limits=Limits(head_bytes=8192, target_bytes=1000))
    attacker.send(frame(HEADERS, 0, 1, b"\x82"))
    for _ in range(CONTINUATIONS + 1):
        attacker.send(frame(CONTINUATION, 0, 1, payload))
    assert attacker.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert attacker.line.seen == []


def test_a_bomb_of_indexed_fields(attack: Callable[..., Attacker]) -> None:
    """One long field in the table, named again and again in a byte each."""
    attacker = attack()
    attacker.send(attacker.head(1, True, (b"x-bomb", b"b" * 4000)))
    block = attacker.encoder.encode(HEAD) + b"\xbe" * 16_000
    attacker.send(frame(HEADERS, 5, 3, block))
    assert attacker.code == ErrorCodes.ENHANCE_YOUR_CALM
    assert len(attacker.line.seen) == 1


def test_our_own_table_stays_small(attack: Callable[..., Attacker]) -> None:
    attacker = attack()
    attacker.send(frame(SETTINGS, 0, 0, b"\x00\x01\xff\xff\xff\xff"))
    assert attacker.line.channel._machine.encoder.header_table_size == 4096


def test_more_streams_than_allowed(attack: Callable[..., Attacker]) -> None:
    attacker = attack(nothing)
    for number in range(1, 2 * STREAMS + 1, 2):
        attacker.send(attacker.head(number))
    assert attacker.code is None
    assert len(attacker.line.seen) == STREAMS
    attacker.send(attacker.head(2 * STREAMS + 1))
    assert attacker.code is not None
    assert len(attacker.line.seen) == STREAMS
    assert all(request.disconnected for request in attacker.line.seen)


def test_frames_are_not_waited_for_when_they_are_too_long(attack: Callable[..., Attacker]) -> None:
    attacker = attack()
    attacker.send((FRAME_BYTES + 1).to_bytes(3, "big") + b"\x00\x00" + (1).to_bytes(4, "big"))
    assert attacker.code == ErrorCodes.FRAME_SIZE_ERROR


def test_answers_to_floods_do_not_pile_up(attack: Callable[..., Attacker]) -> None:
    """A client that reads nothing and has answers made is dropped."""
    attacker = attack(lambda request: request.respond(ResponseHead(200, b"x" * 10), b""))
    line = attacker.line
    line.transport.producer.pauseProducing()
    line.channel._piled = PILED_BYTES
    attacker.send(frame(PING, 0, 0, bytes(8)))
    assert line.transport.aborted


def test_requests_that_wait_in_line_are_not_begun(attack: Callable[..., Attacker]) -> None:
    attacker = attack()
    line = attacker.line
    line.transport.producer.pauseProducing()
    for number in range(1, 41, 2):
        attacker.send(attacker.head(number))
    assert line.seen == []
    line.transport.producer.resumeProducing()
    assert len(line.seen) == 20


def test_many_frames_take_turns(attack: Callable[..., Attacker]) -> None:
    """After its time in this turn, a connection is not read until others had theirs."""
    clock_steps = TURN_SECONDS / 2
    attacker = attack(lambda request: request.respond(ResponseHead(200, b"OK"), b""))
    line = attacker.line

    handled: list[int] = []
    take = line.channel._take

    def slowly(one: Frame) -> None:
        handled.append(one.kind)
        line.clock.rightNow += clock_steps
        take(one)

    line.channel._take = slowly
    attacker.send(b"".join(attacker.head(number) for number in range(1, 21, 2)))
    assert len(handled) == 2
    line.clock.advance(0)
    assert len(handled) == 10
    assert len(line.seen) == 10
    del line.channel._take


@pytest.mark.slow
def test_closed_streams_are_forgotten(attack: Callable[..., Attacker]) -> None:
    attacker = attack(lambda request: request.respond(ResponseHead(200, b"OK"), b"x"))
    for number in range(1, 6001, 2):
        attacker.send(attacker.head(number))
        attacker.line.take()
    machine = attacker.line.channel._machine
    assert len(attacker.line.seen) == 3000
    assert len(machine._closed_streams) <= 1000
    assert len(machine.streams) < 10
    assert len(attacker.line.channel._told) <= 64


def test_buckets() -> None:
    bucket = Bucket(3, 2, 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.4)
    bucket = Bucket(3, 2, 100.0)
    for _ in range(3):
        bucket.take(100.0)
    assert bucket.take(101.0)
    bucket.credit(1)
    assert [bucket.take(101.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_frames_are_cut_the_same_however_they_arrive(size: int) -> None:
    data = PREFACE + frame(4) + frame(0, 1, 1, b"x" * 50) + frame(6, 0, 0, bytes(8))
    gate, kinds = FrameGate(1000, lambda: 0.0), []
    for at in range(0, len(data), size):
        gate.feed(data[at : at + size])
        kinds += [(one.kind, one.length) for one in gate.frames() if one.kind >= 0]
    assert kinds == [(4, 0), (0, 50), (6, 8)]
    assert not gate.partial
    gate.feed(b"\x00")
    assert gate.partial
    gate.feed(b"\xff\xff" + bytes(6))
    with pytest.raises(Flood):
        list(gate.frames())
