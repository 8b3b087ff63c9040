"""Leaving HTTP: only for WebSocket, only after the backend's 101, and then nothing but bytes (SPEC 9)."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: proxy.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nCookie: id=1\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def switching(message):
    return SWITCH if message.get("upgrade") else ok(b"plain " + message.target, b"Cache-Control: max-age=60")


@pytest.fixture
def tunnel(make_whole):
    """A proxy with an open tunnel, the client of it, and the backend's end."""
    whole = make_whole(switching)
    client = whole.client()
    head = client.send(UPGRADE)
    assert head.startswith(b"HTTP/1.1 101 ")
    return whole, client, whole.backend.ends[0], head


def test_the_backend_is_asked_and_its_101_passed_on(tunnel):
    whole, _, _, head = tunnel
    [asked] = whole.backend.requests
    assert (asked.get("connection"), asked.get("upgrade")) == (b"upgrade", b"websocket")
    assert asked.get("sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
    lines = head.lower().split(b"\r\n")
    assert {b"connection: upgrade", b"upgrade: websocket", b"x-cache-status: bypass"} <= set(lines)
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in lines
    assert not [line for line in lines if line.startswith((b"content-length", b"transfer-encoding"))]
    assert [(line["status"], line["path"]) for line in whole.logged] == [(101, "/ws")]


def test_bytes_pass_both_ways_unseen(tunnel):
    whole, client, end, _ = tunnel
    assert client.send(b"\x81\x02hi GET /x HTTP/1.1\r\n\r\n") == b""
    assert end.raw == b"\x81\x02hi GET /x HTTP/1.1\r\n\r\n"
    end.transport.write(b"\x81\x02ho")
    assert client.take() == b"\x81\x02ho"
    assert len(whole.backend.requests) == 1


def test_nothing_sent_ahead_reaches_the_backend_before_its_101(make_whole):
    whole = make_whole(lambda message: None)
    client = whole.client()
    client.send(UPGRADE + b"early")
    client.send(b" bird")
    [end] = whole.backend.ends
    assert whole.backend.bytes.endswith(b"\r\n\r\n")
    end.raw = bytearray()
    end.transport.write(SWITCH + b"hello")
    assert client.take().endswith(b"\r\n\r\nhello")
    assert end.raw == b"early bird"


def test_a_refused_upgrade_leaves_http_as_it_was(make_whole):
    whole = make_whole(
        lambda message: ok(message.target, status=b"403 Forbidden" if message.get("upgrade") else b"200 OK")
    )
    answers = whole.client().ask(UPGRADE + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [(answer.status, answer.body) for answer in answers] == [(403, b"/ws"), (200, b"/next")]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", id="no-upgrade"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", id="not-in-connection"),
        pytest.param(b"GET /ws HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", id="http10"),
        pytest.param(
            b"POST /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
            id="post",
        ),
        pytest.param(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
            id="body",
        ),
        pytest.param(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            id="h2c",
        ),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n", id="tls"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocketx\r\n\r\n", id="alike"),
    ],
)
def test_only_a_websocket_request_is_an_upgrade(make_whole, request_):
    """The backend hears of no Upgrade; one that switches all the same gets nobody's bytes."""
    whole = make_whole(lambda message: SWITCH)
    client = whole.client()
    answers = client.ask(request_ + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answers[0].status == 502
    asked = whole.backend.requests[0]
    assert not asked.all("upgrade")
    assert not asked.all("http2-settings")
    assert all(end.raw in (None, b"") for end in whole.backend.ends)


def test_of_several_protocols_only_websocket_is_offered(make_whole):
    whole = make_whole(switching)
    whole.client().send(UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c, WebSocket, TLS/1.0"))
    assert whole.backend.requests[0].all("upgrade") == [b"WebSocket"]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b""])
def test_a_101_to_something_else_is_no_answer(make_whole, protocol):
    whole = make_whole(lambda message: SWITCH.replace(b"Upgrade: websocket", b"Upgrade: " + protocol))
    [answer] = whole.client().ask(UPGRADE)
    assert answer.status == 502
    assert whole.backend.ends[0].lost


@pytest.mark.parametrize("side", ["client", "backend"])
def test_the_end_of_one_side_is_the_end_of_the_other(tunnel, side):
    whole, client, end, _ = tunnel
    if side == "client":
        client.end.send(b"bye")
        client.close()
        assert (end.lost, bytes(end.raw)) == (True, b"bye")
    else:
        end.transport.write(b"bye")
        end.transport.loseConnection()
        assert client.take() == b"bye"
        assert client.end.lost is not None
    assert whole.proxy.upstream.tunnels == 0
    assert len(whole.proxy.site.connections) == 0


def test_an_idle_tunnel_stays(tunnel):
    whole, client, end, _ = tunnel
    whole.pass_time(1000)
    client.send(b"still there")
    assert end.raw == b"still there"


@pytest.mark.parametrize("slow", ["client", "backend"])
def test_a_side_that_does_not_read_holds_the_other_back(tunnel, slow):
    whole, client, end, _ = tunnel
    reader, writer = (client.end, end) if slow == "client" else (end, client.end)
    reader.transport.reading = False
    for _ in range(200):
        writer.transport.write(b"x" * 16384)
        whole.pump()
    waiting = [side.peak for wire in whole.wires for side in (wire.client, wire.server) if side.protocol is not writer]
    assert max(waiting) < 200_000
    reader.transport.reading = True
    whole.pump()
    got = client.end.data if slow == "client" else end.raw
    assert len(got) == 200 * 16384


def test_a_client_that_never_reads_the_last_bytes_is_dropped(tunnel):
    whole, client, end, _ = tunnel
    client.end.transport.reading = False
    end.transport.write(b"x" * 100_000)
    whole.pump()
    end.transport.abortConnection()
    whole.pass_time(300)
    assert client.end.lost is not None


def test_half_close(tunnel):
    """The end of one half is passed on; the other half stays open for a while, and no longer."""
    whole, client, end, _ = tunnel
    channel = client.wire.server.protocol
    channel.readConnectionLost()
    assert whole.wires[-1].client._eof
    end.transport.write(b"last words")
    assert client.take() == b"last words"
    whole.pass_time(59)
    assert not client.closed
    whole.pass_time(2)
    assert client.closed
    assert end.lost


def test_half_close_of_both_sides_is_the_end(tunnel):
    whole, client, end, _ = tunnel
    client.wire.server.protocol.readConnectionLost()
    whole.wires[-1].client.protocol.readConnectionLost()
    whole.pump()
    assert client.closed
    assert end.lost


def test_tunnels_take_no_place_in_the_pool(make_whole):
    whole = make_whole(switching, BACKEND_MAX_CONNECTIONS="2")
    clients = [whole.client() for _ in range(5)]
    assert all(client.send(UPGRADE).startswith(b"HTTP/1.1 101") for client in clients)
    assert whole.get("/x").status == 200
    assert (whole.proxy.upstream.tunnels, whole.proxy.upstream.connections) == (5, 1)


def test_draining_ends_tunnels_within_the_grace_time(tunnel):
    whole, client, end, _ = tunnel
    ended = []
    whole.proxy.site.connections.drain(10.0).addCallback(ended.append)
    whole.pass_time(9)
    assert not end.lost
    whole.pass_time(1)
    assert (len(ended), end.lost, client.closed) == (1, True, True)


def test_a_client_that_leaves_before_the_101(make_whole):
    whole = make_whole(lambda message: None)
    client = whole.client()
    client.send(UPGRADE)
    client.close()
    assert whole.backend.ends[0].lost


def test_CONNECT_is_refused_unseen_by_the_backend(whole):
    client = whole.client()
    [answer] = client.ask(b"CONNECT internal:22 HTTP/1.1\r\nHost: internal:22\r\n\r\nSSH-2.0-x\r\n")
    assert answer.status == 501
    assert client.closed
    assert whole.backend.bytes == b""


def test_an_offer_that_is_ignored_is_no_obstacle_to_the_cache(make_whole):
    """Java's client offers h2c with each of its requests, ``curl --http2`` too."""
    whole = make_whole(lambda message: ok(b"x", b"Cache-Control: max-age=60"))
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    assert [whole.get("/x", *offer).cache, whole.get("/x", *offer).cache, whole.get("/x").cache] == [
        "MISS",
        *(2 * ["HOT_HIT"]),
    ]
    assert whole.backend.requests[0].get("upgrade") is None
