"""Invariant 9: every bound is a setting, has a safe default, and holds in the composed proxy."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

from caching_proxy.settings.load import load

HEAD = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"


def status(answers):
    return [answer.status for answer in answers]


def get(target=b"/x", *fields):
    return HEAD % (target, b"".join(field + b"\r\n" for field in fields))


def test_no_default_is_without_bound():
    settings, _ = load({"BACKEND_URL": "http://a"}, {}, {})
    for name in ("max_head_bytes", "max_header_fields", "max_target_bytes", "pipeline_depth", "max_connections"):
        assert 0 < getattr(settings, name) <= 1 << 20
    for name in (
        "head_timeout",
        "body_timeout",
        "write_timeout",
        "idle_timeout",
        "backend_timeout",
        "backend_connect_timeout",
    ):
        assert 0 < getattr(settings, name) <= 75
    assert settings.max_request_body_bytes is None, "SPEC 2: uploads stream, so their size costs no memory"
    assert settings.max_connections_per_peer == 0, "behind a load balancer all clients are one peer"


@pytest.mark.parametrize(
    ("environment", "good", "bad", "expected"),
    [
        (
            {"MAX_HEAD_BYTES": "2000", "MAX_TARGET_BYTES": "1000"},
            get(b"/x", b"X: " + b"y" * 1900),
            get(b"/x", b"X: " + b"y" * 2000),
            431,
        ),
        ({"MAX_TARGET_BYTES": "100"}, get(b"/" + b"y" * 99), get(b"/" + b"y" * 100), 414),
        ({"MAX_HEADER_FIELDS": "10"}, get(b"/x", *[b"X: y"] * 9), get(b"/x", *[b"X: y"] * 10), 431),
        (
            {"MAX_REQUEST_BODY_BYTES": "10"},
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            413,
        ),
        (
            {"MAX_REQUEST_BODY_BYTES": "10"},
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nB\r\n01234567890\r\n0\r\n\r\n",
            413,
        ),
    ],
    ids=["head", "target", "fields", "body", "body-chunked"],
)
def test_sizes(make_whole, environment, good, bad, expected):
    whole = make_whole(**environment)
    assert status(whole.ask(good)) == [200]
    seen = len(whole.backend.requests)
    client = whole.client()
    assert status(client.ask(bad)) == [expected]
    assert client.closed or whole.over_h2  # there only the stream ends
    assert len(whole.backend.requests) == seen


def test_a_chunked_body_that_outgrows_its_bound_later(make_whole):
    """Part of it is on its way to the backend already: the client hears 413, the backend never sees the end."""
    whole = make_whole(MAX_REQUEST_BODY_BYTES="10", REQUEST_BUFFER_BYTES="4")
    client = whole.client()
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert status(client.ask(b"6\r\nworld!\r\n")) == [413]
    assert whole.backend.requests == []
    assert whole.backend.ends[0].lost


@pytest.mark.parametrize("answering", [True, False])
def test_pipelining_depth(make_whole, answering):
    """What waits behind a request under way is bounded, and nothing of it is lost."""
    whole = make_whole(lambda message: ok(b"") if answering else None, PIPELINE_DEPTH="3")
    client = whole.client()
    data = b"".join(get(b"/%d" % number) for number in range(20))
    for at in range(0, len(data), 40):
        client.send(data[at : at + 40])
    if answering:
        assert whole.backend.targets == [b"/%d" % number for number in range(20)]
    else:
        assert whole.backend.targets == [b"/0"]
        waiting = client.wire.server.protocol._buffer
        assert waiting.count(b"\r\n\r\n") <= 5
        assert not client.wire.server.reading


def test_connections_in_all(make_whole):
    whole = make_whole(MAX_CONNECTIONS="3")
    clients = [whole.client(f"192.0.2.{number}") for number in range(4)]
    assert [client.refused for client in clients] == [False, False, False, True]
    clients[0].close()
    assert not whole.client().refused


def test_connections_of_one_peer(make_whole):
    whole = make_whole(MAX_CONNECTIONS_PER_PEER="2")
    clients = [whole.client("192.0.2.1") for _ in range(3)]
    assert [client.refused for client in clients] == [False, False, True]
    assert not whole.client("192.0.2.2").refused
    clients[0].close()
    assert not whole.client("192.0.2.1").refused


def drip(whole, client, data, seconds):
    """One byte a second."""
    out = b""
    for at in range(seconds):
        out += client.send(data[at : at + 1])
        whole.pass_time(1)
    return out + client.take()


def test_a_head_has_to_be_here_in_time(make_whole):
    whole = make_whole(HEAD_TIMEOUT="5")
    client = whole.client()
    out = drip(whole, client, get(b"/x", b"X: " + b"y" * 50), 8)
    assert out.startswith(b"HTTP/1.1 408 ")
    assert client.closed
    assert whole.backend.bytes == b""


@pytest.mark.parametrize(("buffered", "asked"), [("5", 1), ("1MiB", 0)])
def test_a_body_has_to_make_progress(make_whole, buffered, asked):
    whole = make_whole(BODY_TIMEOUT="5", REQUEST_BUFFER_BYTES=buffered)
    client = whole.client()
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    out = drip(whole, client, b"x" * 50, 9)
    assert out.startswith(b"HTTP/1.1 408 ")
    assert client.closed
    assert whole.backend.requests == []
    assert len(whole.backend.ends) == asked
    assert all(end.lost for end in whole.backend.ends), "it is not held for a client that trickles"


def test_an_idle_connection_is_closed(make_whole):
    whole = make_whole(IDLE_TIMEOUT="5")
    client = whole.client()
    assert status(client.ask(get())) == [200]
    whole.pass_time(4)
    assert not client.closed
    whole.pass_time(2)
    assert client.closed


def test_a_client_that_does_not_read_is_dropped(make_whole):
    whole = make_whole(lambda message: ok(b"x" * 200_000, b"Cache-Control: no-store"), WRITE_TIMEOUT="5")
    client = whole.client()
    client.end.transport.reading = False
    client.send(get())
    whole.pass_time(600)
    assert client.end.lost is not None
    assert whole.backend.ends[0].lost, "nor does it keep the backend waiting"


def test_a_silent_backend_is_given_up(make_whole):
    whole = make_whole(lambda message: None, BACKEND_TIMEOUT="5")
    client = whole.client()
    client.send(get())
    whole.pass_time(6)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_memory_held_for_one_connection_is_bounded(make_whole):
    """A client that only sends, behind a request that is not answered."""
    whole = make_whole(lambda message: None)
    client = whole.client()
    client.send(get())
    for _ in range(100):
        client.send(b"x" * 10_000)
    assert len(client.wire.server.protocol._buffer) < 100_000


@pytest.mark.parametrize(("buffered", "asked"), [("2", 1), ("1MiB", 0)])
@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(make_whole, framing, buffered, asked):
    whole = make_whole(lambda message: None, REQUEST_BUFFER_BYTES=buffered)
    client = whole.client()
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n5\r\nhello\r\n" % framing)
    client.close()
    assert len(whole.backend.ends) == asked
    assert all(end.lost for end in whole.backend.ends)
    assert whole.backend.requests == []
