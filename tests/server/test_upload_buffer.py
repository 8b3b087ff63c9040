"""Uploads that are read before their request is processed: whole, or as far as the buffer goes."""

from __future__ import annotations

import pytest
from support.wire_bytes import CHUNKED, OK, Late, post, statuses

from caching_proxy.server.limits import Limits
from caching_proxy.server.site import UPLOADS

LIMITS = Limits(buffer_bytes=1000)
_EMPTY = (OK, b"")


@pytest.fixture
def line(wire):
    return wire(Late(), limits=LIMITS)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("length", [1, 999, 1000])
def test_a_short_upload_is_read_whole(line, length):
    line.send(post(b"", b"Content-Length: %d" % length))
    line.drip(b"x" * (length - 1))
    assert line.seen == []
    line.send(b"x")
    [request] = line.seen
    assert request.body.complete
    assert request.body.take() == b"x" * length


def test_a_longer_upload_is_processed_when_the_buffer_is_full(line):
    line.send(post(b"x" * 999, b"Content-Length: 5000"))
    assert line.seen == []
    line.send(b"y")
    [request] = line.seen
    collected = request.body.collect(5000)
    line.send(b"z" * 4000)
    assert collected.result == b"x" * 999 + b"y" + b"z" * 4000


def test_a_chunked_upload_is_read_to_its_end(line):
    line.send(post(b"", CHUNKED))
    for _ in range(900):
        line.send(chunk(b"x"))
    assert line.seen == []
    line.send(b"0\r\n\r\n")
    [request] = line.seen
    assert request.body.length is None
    assert request.body.take() == b"x" * 900


def test_a_chunked_upload_that_is_longer_is_processed_when_the_buffer_is_full(line):
    line.send(post(b"", CHUNKED))
    for _ in range(999):
        line.send(chunk(b"x"))
    assert line.seen == []
    line.send(chunk(b"x"))
    assert len(line.seen) == 1


def test_trailers_are_kept(line):
    line.send(post(chunk(b"x"), CHUNKED))
    line.send(b"0\r\nA: b\r\n\r\n")
    assert line.seen[0].body._trailers.pairs == ((b"A", b"b"),)


def test_who_waits_for_100_is_processed_at_once(line):
    line.send(post(b"", b"Content-Length: 10", b"Expect: 100-continue"))
    assert len(line.seen) == 1


def test_without_a_buffer_requests_are_processed_at_once(wire):
    line = wire(Late())
    line.send(post(b"", b"Content-Length: 10"))
    assert len(line.seen) == 1


def test_all_uploads_together_are_bounded(wire):
    line = wire(Late(), limits=LIMITS)
    channels = []
    for _ in range(UPLOADS + 5):
        line.connect()
        channels.append(line.channel)
        line.send(post(b"x" * 999, b"Content-Length: 1000"))
    waiting = UPLOADS * 1000 // 999
    assert len(line.seen) == UPLOADS + 5 - waiting
    for channel in channels:
        line.channel = channel
        line.disconnect()
    assert line.site.uploads.left == UPLOADS * 1000


def test_an_answer_gives_back_what_was_kept(line):
    line.send(post(b"x" * 10, b"Content-Length: 1000"))
    assert line.site.uploads.left == UPLOADS * 1000 - 10
    line.send(b"x" * 990)
    line.seen[0].respond(*_EMPTY)
    assert line.site.uploads.left == UPLOADS * 1000
    assert statuses(line.take()) == [200]


def test_a_client_that_leaves_meanwhile_is_counted_once(wire):
    refused = []
    line = wire(Late(), limits=LIMITS, on_refused=lambda status, peer: refused.append(status))
    line.send(post(b"x", b"Content-Length: 10"))
    line.disconnect()
    assert refused == [499]
    assert line.seen == []


def test_requests_behind_a_buffered_upload_follow_it(line):
    line.send(post(b"x", b"Content-Length: 2"))
    line.send(b"y" + post(b"z", b"Content-Length: 1"))
    assert len(line.seen) == 1
    line.seen[0].respond(*_EMPTY)
    assert len(line.seen) == 2


def test_a_broken_body_is_refused_before_anybody_saw_it(line):
    line.send(post(chunk(b"x"), CHUNKED))
    assert statuses(line.send(b"nonsense\r\n")) == [400]
    assert line.seen == []
    assert line.closed


def test_a_body_that_trickles_gets_408(line):
    line.send(post(b"", b"Content-Length: 100"))
    data = b""
    for _ in range(70):
        line.channel.dataReceived(b"x")
        line.clock.advance(1)
        data += line.take()
    assert statuses(data) == [408]
    assert line.seen == []


@pytest.mark.parametrize("length", [70_000, 200_000, 300_000])
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_a_large_upload_does_not_hold_up_the_next_request(wire, length, read):
    """Of 64 KiB and more a body asks its sender to wait; when all of it is here nobody is left who would go on."""
    line = wire(Late(), limits=Limits(buffer_bytes=256 * 1024, drain_bytes=1 << 20))
    line.send(post(b"", b"Content-Length: %d" % length))
    for at in range(0, length, 16 * 1024):
        line.send(b"x" * min(16 * 1024, length - at))
    if read:
        assert len(line.seen[0].body.collect(1 << 20).result) == length
    line.seen[0].respond(*_EMPTY)
    assert line.transport.producerState == "producing"
    line.send(post(b"z", b"Content-Length: 1"))
    assert len(line.seen) == 2


def test_a_reader_that_asked_to_wait_at_the_last_bytes_does_not_either(wire):
    line = wire(Late())
    line.send(post(b"x" * 10, b"Content-Length: 20"))
    line.seen[0].body.pause()
    assert line.transport.producerState == "paused"
    line.send(b"y" * 10)  # was read already
    assert line.transport.producerState == "producing"
