"""Flow control of HTTP/2 both ways: content waits for the window, and what one client's answers keep is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from support.h2_client import frame
from support.http2_connections import Connect, nothing, respond
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.http2.connection import KEPT_BYTES
from caching_proxy.server.http2.machine import CONNECTION_WINDOW, STREAM_WINDOW


def test_content_waits_for_the_window(connect: Connect) -> None:
    body = bytes(1_000_000)
    client = connect(respond(body), reading=False)
    number, answer = client.begin()
    assert len(answer.body) == 65535
    assert client.wire.site.pinned.bytes == len(body)
    client.machine.increment_flow_control_window(100_000)
    client.carry()
    assert len(answer.body) == 65535
    client.machine.increment_flow_control_window(100_000, number)
    client.carry()
    assert len(answer.body) == 165_535
    client.machine.increment_flow_control_window(2_000_000)
    client.machine.increment_flow_control_window(2_000_000, number)
    for _ in range(5):
        client.carry()
        client.wire.clock.advance(0)
    client.carry()
    assert answer.body == body
    assert answer.ended
    assert client.wire.site.pinned.bytes == 0
    assert client.wire.channel.kept == 0


def test_a_smaller_initial_window_and_a_larger_one(connect: Connect) -> None:
    client = connect(respond(b"x" * 50), reading=False)
    client.raw(frame(4, 0, 0, b"\x00\x04" + (10).to_bytes(4, "big")))
    number, answer = client.begin()
    assert answer.body == b"x" * 10
    client.raw(frame(4, 0, 0, b"\x00\x04" + (30).to_bytes(4, "big")))
    assert answer.body == b"x" * 30
    client.raw(frame(8, 0, number, (100).to_bytes(4, "big")))
    assert answer.body == b"x" * 50


def test_streams_share_the_connection(connect: Connect) -> None:
    client = connect(respond(bytes(300_000)), reading=False)
    answers = [client.get() for _ in range(3)]
    client.machine.increment_flow_control_window(60_000)
    client.carry()
    assert sum(len(answer.body) for answer in answers) == 125_535
    client.machine.increment_flow_control_window(90_000)
    client.carry()
    assert min(len(answer.body) for answer in answers) > 0


def test_a_producer_is_paused_while_anything_waits(connect: Connect) -> None:
    client = connect(nothing, reading=False)
    _, answer = client.begin()
    [request] = client.wire.seen
    heard: list[str] = []

    @implementer(IPushProducer)
    class Producer:
        def pauseProducing(self) -> None:
            heard.append("pause")

        def resumeProducing(self) -> None:
            heard.append("resume")

        def stopProducing(self) -> None:
            heard.append("stop")

    request.start_response(ResponseHead(200, b"OK"), None)
    request.registerProducer(Producer(), True)
    request.write(bytes(60_000))
    assert heard == []
    request.write(bytes(60_000))
    assert heard == ["pause"]
    client.machine.increment_flow_control_window(200_000)
    client.machine.increment_flow_control_window(200_000, 1)
    client.carry()
    assert heard == ["pause", "resume"]
    client.transport.producer.pauseProducing()
    assert heard == ["pause", "resume", "pause"]
    request.write(b"x")
    client.carry()
    assert len(answer.body) == 120_000 or len(answer.body) == 65_535
    client.transport.producer.resumeProducing()
    client.carry()
    assert heard[-1] == "resume"


def test_an_upload_that_nobody_reads_stops_at_its_window(connect: Connect) -> None:
    client = connect(nothing)
    number, _ = client.begin(method=b"POST", ends=False)
    [request] = client.wire.seen
    sent = 0
    while client.machine.local_flow_control_window(number):
        size = min(16384, client.machine.local_flow_control_window(number))
        client.machine.send_data(number, bytes(size))
        client.carry()
        sent += size
    assert sent <= 2 * STREAM_WINDOW
    done = request.body.collect(10_000_000)
    client.carry()
    client.send(number, bytes(STREAM_WINDOW), ends=True)
    assert len(client.machine.streams) <= 1
    results: list[bytes] = []
    done.addCallback(results.append)
    assert len(results[0]) == sent + STREAM_WINDOW


def test_what_is_thrown_away_goes_back_into_the_connections_window(connect: Connect) -> None:
    client = connect(nothing)
    for _ in range(2 * CONNECTION_WINDOW // STREAM_WINDOW):
        number, _ = client.begin(method=b"POST", ends=False)
        client.machine.send_data(number, bytes(16384))
        client.machine.reset_stream(number)
        client.carry()
    number, _ = client.begin(method=b"POST", ends=False)
    client.send(number, bytes(100_000), ends=True)


def test_requests_wait_in_line_while_much_is_kept(connect: Connect) -> None:
    client = connect(lambda request: request.respond(ResponseHead(200, b"OK"), bytes(15_000)), reading=False)
    client.machine.increment_flow_control_window(3_000_000)
    client.raw(frame(4, 0, 0, b"\x00\x04" + bytes(4)))
    for _ in range(100):
        client.begin()
    assert len(client.wire.seen) <= KEPT_BYTES // 15_000 + 2
    assert client.wire.channel.kept <= KEPT_BYTES + 15_000
    for number in list(client.streams):
        client.raw(frame(8, 0, number, (15_000).to_bytes(4, "big")))
    assert len(client.wire.seen) == 100
    assert client.wire.channel.kept == 0


@pytest.mark.parametrize(("most", "reset"), [(200_000, False), (100_000, True)])
def test_what_a_streamed_answer_keeps_counts_among_what_slow_readers_keep(
    connect: Connect, most: int, reset: bool
) -> None:
    def streamed(request: Any) -> None:
        request.start_response(ResponseHead(200, b"OK"), None)
        request.write(bytes(200_000))

    client = connect(streamed, reading=False)
    _, answer = client.begin()
    pinned = client.wire.site.pinned.alone
    assert pinned.bytes == 200_000
    pinned.most = most
    client.wire.clock.pump([1.0] * 4)
    client.carry()
    assert (answer.reset is not None) is reset
    client.machine.close_connection()
    client.carry()
    client.wire.disconnect()
    assert pinned.bytes == 0
