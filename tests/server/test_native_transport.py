"""The connector and the transport on real sockets, with asyncio and with uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvloop
from support.loop_thread import LoopThread, read
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from caching_proxy.transport import connect as connect_module
from caching_proxy.transport.connect import connect_native, connect_native_unix
from caching_proxy.transport.native import NativeTransport
from caching_proxy.transport.native_protocol import NativeProtocol


class Recorder(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost: list[object] = []
        self.events: list[str] = []
        self.ended = threading.Event()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason=None) -> None:
        self.lost.append(reason.value)
        self.ended.set()


@pytest.fixture(params=["asyncio", "uvloop"])
def looped(request: pytest.FixtureRequest) -> Iterator[LoopThread]:
    running = LoopThread(asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop)
    yield running
    running.stop()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def connected(looped: LoopThread, server: socket.socket, factory: Callable = Recorder):
    clock = Clock()
    protocol = looped.call(lambda: connect_native(looped.loop, factory, *server.getsockname(), timeout=5, clock=clock))
    assert clock.getDelayedCalls() == []
    peer, _ = server.accept()
    peer.settimeout(10)
    return protocol, peer


def test_connecting_and_an_orderly_end(looped, server):
    protocol, peer = connected(looped, server)
    transport: NativeTransport = protocol.transport
    with peer:
        assert transport.getPeer().port == server.getsockname()[1]
        assert transport.getHost().port == peer.getpeername()[1]
        looped.call(transport.setTcpNoDelay, True)
        looped.call(transport.setTcpKeepAlive, True)
        assert looped.call(transport.getTcpNoDelay)
        assert looped.call(transport.getTcpKeepAlive)
        looped.call(transport.writeSequence, [b"a", b"b"])
        assert peer.recv(10) == b"ab"
        peer.sendall(b"answer")
    assert protocol.ended.wait(10)
    assert protocol.data == b"answer"
    assert isinstance(protocol.lost[0], error.ConnectionDone)
    assert looped.call(lambda: (transport.write(b"x"), transport.loseConnection(), transport.abortConnection())) == (
        None,
        None,
        None,
    )


def test_everything_written_is_sent_before_closing(looped, server):
    protocol, peer = connected(looped, server)
    with peer:
        looped.call(lambda: (protocol.transport.write(b"x" * 3_000_000), protocol.transport.loseConnection()))
        assert len(read(peer, 1 << 30)) == 3_000_000
    assert protocol.ended.wait(10)


def test_aborting_resets(looped, server):
    protocol, peer = connected(looped, server)
    with peer:
        looped.call(lambda: (protocol.transport.write(b"x" * 3_000_000), protocol.transport.abortConnection()))
        assert protocol.ended.wait(10)
        with pytest.raises(ConnectionResetError):
            read(peer, 1 << 30)
    assert isinstance(protocol.lost[0], error.ConnectionAborted)


def test_a_reset_is_a_lost_connection(looped, server):
    protocol, peer = connected(looped, server)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    peer.close()
    assert protocol.ended.wait(10)
    assert isinstance(protocol.lost[0], error.ConnectionLost)


def test_half_closing_goes_on_reading(looped, server):
    @implementer(IHalfCloseableProtocol)
    class Half(Recorder):
        def readConnectionLost(self) -> None:
            self.events.append("eof")
            self.transport.loseConnection()

        def writeConnectionLost(self) -> None: ...

    protocol, peer = connected(looped, server, Half)
    with peer:
        looped.call(lambda: (protocol.transport.write(b"question"), protocol.transport.loseWriteConnection()))
        assert read(peer, 1 << 20) == b"question"
        looped.call(protocol.transport.write, b"ignored")
        peer.sendall(b"answer")
    assert protocol.ended.wait(10)
    assert (protocol.data, protocol.events) == (b"answer", ["eof"])


def test_pausing_stops_the_flow_of_bytes(looped, server):
    protocol, peer = connected(looped, server)
    with peer:
        looped.call(protocol.transport.pauseProducing)
        looped.call(protocol.transport.pauseProducing)
        peer.settimeout(0.2)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                sent += peer.send(b"x" * 65536)
        assert len(protocol.data) <= 256 * 1024
        peer.settimeout(10)
        looped.call(protocol.transport.resumeProducing)
        looped.call(protocol.transport.resumeProducing)
        peer.shutdown(socket.SHUT_WR)
        assert protocol.ended.wait(10)
    assert len(protocol.data) == sent


@pytest.mark.parametrize("streaming", [True, False], ids=["push", "pull"])
def test_producers_keep_a_closing_connection_open(looped, server, streaming):
    protocol, peer = connected(looped, server)
    transport = protocol.transport
    pieces = [b"p" * 100_000] * 30

    class Producer:
        def resumeProducing(self) -> None:
            self.going = True
            while pieces and self.going:
                transport.write(pieces.pop())
                if not streaming:
                    break
            if not pieces:
                transport.unregisterProducer()

        def pauseProducing(self) -> None:
            self.going = False

        def stopProducing(self) -> None: ...

    def start() -> None:
        producer = Producer()
        transport.registerProducer(producer, streaming)
        with pytest.raises(RuntimeError):
            transport.registerProducer(producer, streaming)
        transport.loseConnection()
        if streaming:
            producer.resumeProducing()

    with peer:
        looped.call(start)
        assert len(read(peer, 1 << 30)) == 3_000_000
    assert protocol.ended.wait(10)


def test_a_factory_that_declines_drops_the_connection(looped, server):
    async def decline() -> object:
        return await looped.loop.create_connection(
            lambda: NativeProtocol(looped.loop, lambda _: None), *server.getsockname()
        )

    asyncio.run_coroutine_threadsafe(decline(), looped.loop).result(10)
    peer, _ = server.accept()
    peer.settimeout(10)
    got = b""
    with peer, contextlib.suppress(ConnectionResetError):
        got = peer.recv(1)
    assert got == b""


def test_a_refused_connection(looped, server):
    address = server.getsockname()
    server.close()
    with pytest.raises(error.ConnectionRefusedError):
        looped.call(lambda: connect_native(looped.loop, Recorder, *address, timeout=5, clock=Clock()))


def test_a_name_that_does_not_resolve(looped):
    with pytest.raises(error.DNSLookupError):
        looped.call(lambda: connect_native(looped.loop, Recorder, "no.such.invalid", 80, timeout=5, clock=Clock()))


def test_unix_sockets(looped, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        protocol = looped.call(lambda: connect_native_unix(looped.loop, Recorder, path, timeout=5, clock=Clock()))
        peer, _ = listening.accept()
        with peer:
            assert protocol.transport.getPeer().name == path.encode()
            looped.call(protocol.transport.loseConnection)
    assert protocol.ended.wait(10)
    with pytest.raises(error.ConnectError):
        looped.call(lambda: connect_native_unix(looped.loop, Recorder, path + "x", timeout=5, clock=Clock()))


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_an_attempt_that_takes_too_long(looped, how):
    clock, cancelled = Clock(), threading.Event()

    async def never(_build: object) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    def attempt() -> Deferred:
        done = connect_module._connect(looped.loop, Recorder, never, 5, clock)
        looped.loop.call_later(0.01, lambda: clock.advance(6) if how == "timeout" else done.cancel())
        return done

    with pytest.raises(error.TimeoutError if how == "timeout" else CancelledError):
        looped.call(attempt)
    assert cancelled.wait(10)
    looped.call(lambda: None)
    assert clock.getDelayedCalls() == []


def test_a_connection_that_lets_others_go_first_reads_only_when_both_reasons_are_gone(looped, server):
    protocol, peer = connected(looped, server)
    transport: NativeTransport = protocol.transport

    def settled() -> bytes:
        for _ in range(5):  # turns of the loop, in which what was sent would be read
            looped.call(lambda: None)
        return protocol.data

    with peer:
        looped.call(transport.yield_reading)
        looped.call(transport.pauseProducing)
        peer.sendall(b"x")
        assert settled() == b""
        looped.call(transport.read_on)
        assert settled() == b"", "its protocol wants nothing"
        looped.call(transport.yield_reading)
        looped.call(transport.resumeProducing)
        assert settled() == b"", "others have their turn"
        looped.call(transport.read_on)
        while not protocol.data:
            looped.call(lambda: None)
        assert settled() == b"x"
        looped.call(transport.yield_reading)
        looped.call(transport.abortConnection)
        looped.call(transport.read_on)
    assert protocol.ended.wait(10)
