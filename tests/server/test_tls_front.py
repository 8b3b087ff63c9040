"""TLS in front of a site, in memory: handshakes, their bounds, and that all else is as on plain connections."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.authority import Authority
from support.tls_client import MemoryClient, client_context, write_pair
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.limits import Limits
from caching_proxy.server.tls_front import SECONDS, Handshakes, TLSClient, TLSFront
from caching_proxy.transport.certificates import load_pair

AUTHORITY = Authority()
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENT = IPv4Address("TCP", "192.0.2.1", 5000)


class Front:
    """A site behind TLS; ``connect`` gives one client."""

    def __init__(self, directory: Path, wire: Any) -> None:
        pair = load_pair(*write_pair(directory, "pair", AUTHORITY, "localhost"))
        self.wire = wire
        self.factory = TLSFront(wire.site, lambda: pair.context)

    def accept(self) -> tuple[TLSClient, Any]:
        transport = type(self.wire.transport)(peerAddress=CLIENT)
        client = self.factory.buildProtocol(CLIENT)
        assert client is not None
        client.makeConnection(transport)
        return client, transport

    def connect(self, context: ssl.SSLContext | None = None) -> MemoryClient:
        server, transport = self.accept()
        self.server, self.transport = server, transport
        client = MemoryClient(server, transport, context or client_context(AUTHORITY))
        client.handshake()
        return client


@pytest.fixture
def make(tmp_path: Path, wire: Any) -> Callable[..., Front]:
    def made(*arguments: Any, **more: Any) -> Front:
        line = wire(*arguments, **more)
        line.disconnect()  # the plain one that it begins with
        return Front(tmp_path, line)

    return made


@pytest.fixture
def front(make: Callable[..., Front]) -> Front:
    return make()


def test_requests_and_answers(front: Front) -> None:
    client = front.connect()
    assert client.tls.version() == "TLSv1.3"
    for _ in range(2):
        assert client.send(GET).endswith(b"GET /x ")
    assert [request.scheme for request in front.wire.seen] == [b"https", b"https"]
    assert front.wire.seen[0].client_ip == b"192.0.2.1"
    assert len(front.wire.site.connections) == 1


def test_bytes_one_by_one_and_many_at_once(front: Front) -> None:
    server, transport = front.accept()
    drip = MemoryClient(server, transport, client_context(AUTHORITY))
    whole, server.dataReceived = server.dataReceived, lambda data: [whole(data[at : at + 1]) for at in range(len(data))]
    drip.handshake()
    body = b"b" * 300_000
    head = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    del server.dataReceived
    assert drip.send(head + body).endswith(b"POST /up " + body)


@pytest.mark.parametrize(("version", "allowed"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_versions(front: Front, version: str, allowed: bool) -> None:
    context = client_context(AUTHORITY)
    with pytest.warns(DeprecationWarning, match="TLS") if version == "TLSv1_1" else contextlib.nullcontext():
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if allowed:
        assert b" 200 " in front.connect(context).send(GET)
        return
    with pytest.raises(ssl.SSLError):
        front.connect(context)
    assert front.transport.disconnecting
    front.server.connectionLost(Failure(ConnectionDone()))
    assert len(front.wire.site.connections) == 0


def test_no_cipher_without_forward_secrecy(front: Front) -> None:
    context = client_context(AUTHORITY)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA")
    with pytest.raises(ssl.SSLError):
        front.connect(context)


def test_plain_http_is_told_so(front: Front) -> None:
    refused: list[tuple[int, bytes]] = []
    front.wire.site.on_refused = lambda status, peer: refused.append((status, peer))
    server, transport = front.accept()
    server.dataReceived(GET)
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    assert b"speaks HTTPS" in transport.value()
    assert transport.half_closed
    assert refused == [(400, b"192.0.2.1")]
    front.wire.clock.advance(3)
    assert transport.aborted


def test_junk_is_closed(front: Front) -> None:
    server, transport = front.accept()
    server.dataReceived(b"\x00junk\r\n\r\n" * 10)
    assert transport.disconnecting
    assert front.wire.seen == []


def test_a_handshake_has_a_deadline(front: Front) -> None:
    _, transport = front.accept()
    front.wire.clock.pump([1.0] * int(SECONDS - 1))
    assert not transport.aborted
    front.wire.clock.pump([1.0] * 2)
    assert transport.aborted


def test_handshakes_count_as_connections(make: Callable[..., Front]) -> None:
    front = make(max_connections=1)
    front.accept()
    assert front.factory.buildProtocol(CLIENT) is None


def test_a_full_house_lets_its_last_handshake_finish(make: Callable[..., Front]) -> None:
    assert b" 200 " in make(max_connections=1).connect().send(GET)


def test_the_oldest_handshake_gives_way(front: Front) -> None:
    front.factory.handshakes = Handshakes(front.wire.clock, 3)
    slow = [front.accept() for _ in range(3)]
    assert [transport.aborted for _, transport in slow] == [False, False, False]
    quick = front.connect()
    assert [transport.aborted for _, transport in slow] == [True, False, False]
    assert b" 200 " in quick.send(GET)
    assert len(front.factory.handshakes) <= 3


def test_handshakes_take_turns(front: Front) -> None:
    """When those of this turn have taken their time, the next goes on in the next turn."""
    clock = front.wire.clock
    shake, shaken = TLSClient.shake, []

    def slowly(self: TLSClient) -> None:
        shaken.append(self)
        clock.rightNow += 0.004
        shake(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TLSClient, "shake", slowly)
        servers = [front.accept()[0] for _ in range(5)]
        for server in servers:
            server.arrived()
        assert shaken == servers[:2]
        clock.advance(0)
        assert shaken == servers


def test_back_pressure_is_that_of_the_transport_below(make: Callable[..., Front]) -> None:
    body = b"z" * 1_000_000
    front = make(lambda request: request.respond(ResponseHead(200, b"OK"), body))
    client = front.connect()
    front.transport.producer.pauseProducing()  # the client does not read
    client.tls.write(GET)
    client.carry()
    front.wire.clock.advance(0)
    assert len(client.receive()) < 300
    front.transport.producer.resumeProducing()
    got = client.receive()
    for _ in range(20):
        front.wire.clock.advance(0)
        got += client.receive()
    assert got.endswith(body)


def test_the_end_is_said_in_tls_and_read_over(make: Callable[..., Front]) -> None:
    """An answer that ends the connection while the client still sends: it can read the answer, and no cut is unseen."""
    front = make(limits=Limits(body_bytes=10))
    client = front.connect()
    answer = client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert client.ended
    assert front.transport.half_closed
    client.tls.write(b"x" * 50_000)
    client.carry()
    assert not front.transport.aborted
    client.close()
    assert front.transport.disconnecting


def test_a_client_that_ends_has_left(make: Callable[..., Front]) -> None:
    front = make(lambda request: None)
    client = front.connect()
    client.send(GET)
    client.close()
    assert front.transport.disconnecting
    front.server.connectionLost(Failure(ConnectionDone()))
    assert front.wire.seen[0].disconnected
    assert len(front.wire.site.connections) == 0


def test_a_record_that_was_tampered_with_ends_the_connection(front: Front) -> None:
    client = front.connect()
    client.tls.write(GET)
    record = bytearray(client._out.read())
    record[-1] ^= 1
    front.server.dataReceived(bytes(record))
    assert front.transport.aborted
    assert front.wire.seen == []


def test_draining_drops_handshakes_and_closes_idle_ones(front: Front) -> None:
    client = front.connect()
    _, half = front.accept()
    front.wire.site.connections.drain(5.0)
    assert half.aborted
    client.receive()
    assert client.ended
