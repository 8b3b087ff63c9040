"""Listener, transport and connector on real sockets: asyncio, uvloop, and Twisted's own endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace

import pytest
import pytest_twisted
import uvloop
from twisted.internet import error, reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from caching_proxy.core.messages import ResponseHead
from caching_proxy.wire import connect as connect_module
from caching_proxy.wire.connect import connect_native, connect_native_unix
from caching_proxy.wire.listener import Listener, listen
from caching_proxy.wire.site import ProxySite
from caching_proxy.wire.transport import NativeProtocol, NativeTransport

OK = ResponseHead(200, b"OK")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Site(ProxySite):
    """Serves whatever ``handler`` does."""

    def __init__(self, handler: Callable) -> None:
        class Application(Resource):
            isLeaf = True

            def render(self, request) -> int:
                handler(request)
                return NOT_DONE_YET

        clock = Clock()  # deadlines stand still: these tests are about bytes
        clock.advance(time.time())
        super().__init__(Application(), clock)


class LoopThread:
    """A private event loop in a thread, as the loop of a reactor would be."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def call(self, function: Callable, *args: object) -> object:
        """Run ``function`` in the loop and wait for what it returns, a Deferred included."""

        async def run() -> object:
            result = function(*args)
            return await result.asFuture(self.loop) if isinstance(result, Deferred) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def listen(self, factory: Factory) -> Listener:
        return self.call(lambda: listen(SimpleNamespace(_asyncioEventloop=self.loop), ("127.0.0.1", 0), factory))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()


class TestReactor:
    """The reactor under the tests, listening through Twisted's endpoints."""

    __test__ = False

    def call(self, function: Callable, *args: object) -> object:
        result = function(*args)
        return pytest_twisted.blockon(result) if isinstance(result, Deferred) else result

    def listen(self, factory: Factory) -> Deferred[Listener]:
        return listen(reactor, ("127.0.0.1", 0), factory, native=False)

    def stop(self) -> None: ...


@pytest.fixture(params=["asyncio", "uvloop", "endpoint"])
def host(request: pytest.FixtureRequest) -> Iterator[LoopThread | TestReactor]:
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    running = LoopThread(loops[request.param]) if request.param in loops else TestReactor()
    yield running
    running.stop()


@pytest.fixture
def serve(host) -> Iterator[Callable[[Callable], Awaitable[Listener]]]:
    started: list[tuple[ProxySite, Listener]] = []

    async def start(handler: Callable) -> Listener:
        site = Site(handler)
        listener = host.listen(site)
        started.append((site, await listener if isinstance(listener, Deferred) else listener))
        return started[-1][1]

    yield start
    for site, listener in started:
        host.call(listener.stop_accepting)

        def drain(site: ProxySite = site) -> Deferred[None]:
            done = site.connections.drain(0)
            site.clock.advance(1)
            return done

        host.call(drain)


def exchange(port: int, data: bytes, expected: int) -> bytes:
    """Send everything, then read ``expected`` bytes or to the end."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(data)
        return read(client, expected)


def read(client: socket.socket, expected: int) -> bytes:
    got = bytearray()
    while len(got) < expected and (data := client.recv(65536)):
        got += data
    return bytes(got)


def hello(request) -> None:
    request.respond(OK, request.client_ip)


HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_requests_over_a_socket(serve):
    listener = await serve(hello)
    assert listener.address == f"127.0.0.1:{listener.port}"
    assert await deferToThread(exchange, listener.port, GET * 3, 3 * len(HELLO)) == HELLO * 3


@pytest_twisted.ensureDeferred
async def test_stopping_keeps_open_connections(host, serve):
    listener = await serve(hello)
    client = socket.create_connection(("127.0.0.1", listener.port), 10)
    with client:
        client.sendall(GET)
        assert await deferToThread(read, client, len(HELLO)) == HELLO
        if isinstance(host, LoopThread):
            host.call(listener.stop_accepting)
        else:
            await listener.stop_accepting()
        client.sendall(GET)
        assert await deferToThread(read, client, len(HELLO)) == HELLO
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port), 10)


class Pusher:
    """A push producer that sends ``total`` bytes as the consumer lets it."""

    def __init__(self, request, total: int) -> None:
        self.request, self.left, self.pauses, self.going = request, total, 0, False
        request.start_response(OK, total)
        request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.going = True
        while self.going and self.left:
            piece = min(self.left, 32768)
            self.left -= piece
            self.request.write(b"x" * piece)
        if not self.left and self.going:
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self) -> None:
        self.pauses += 1
        self.going = False

    def stopProducing(self) -> None:
        self.going = False


@pytest_twisted.ensureDeferred
async def test_a_large_response_waits_for_its_reader(serve):
    total, pushers = 16 << 20, []
    listener = await serve(lambda request: pushers.append(Pusher(request, total)))
    close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    data = await deferToThread(exchange, listener.port, close, 1 << 30)
    assert len(data.partition(b"\r\n\r\n")[2]) == total
    assert pushers[0].pauses > 1


@pytest_twisted.ensureDeferred
async def test_a_large_request_body(serve):
    def handler(request) -> None:
        request.body.collect(1 << 30).addCallback(lambda body: request.respond(OK, b"%d" % len(body)))

    listener = await serve(handler)
    body = b"y" * (8 << 20)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    data = await deferToThread(exchange, listener.port, head + body, 1 << 20)
    assert data.endswith(b"\r\n\r\n%d" % len(body))


@pytest_twisted.ensureDeferred
async def test_an_early_refusal_can_be_read_by_a_client_that_goes_on_sending(serve):
    listener = await serve(hello)
    data = await deferToThread(exchange, listener.port, b"GET / HTTP/9.9\r\n\r\n" + b"z" * 300_000, 1 << 20)
    assert data.startswith(b"HTTP/1.1 505 ")
    assert data.endswith(b"}")


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_is_noticed(serve):
    seen, left = threading.Event(), threading.Event()

    def handler(request) -> None:
        request.notifyFinish().addErrback(lambda failure: left.set())
        seen.set()

    listener = await serve(handler)

    def client() -> bool:
        with socket.create_connection(("127.0.0.1", listener.port), 10) as connection:
            connection.sendall(GET)
            assert seen.wait(10)
        return left.wait(10)

    assert await deferToThread(client)


@pytest_twisted.ensureDeferred
async def test_a_twisted_endpoint_description(tmp_path):
    site = Site(hello)
    listener = await listen(reactor, f"unix:{tmp_path}/socket", site)
    assert listener.port is None

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"{tmp_path}/socket")
            connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return read(connection, 1 << 20)

    data = await deferToThread(client)
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    await listener.stop_accepting()
    await listener.stop_accepting()
    await site.connections.drain(0, reactor)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("native", [True, False], ids=["native", "endpoint"])
async def test_a_port_that_is_taken(native):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(error.CannotListenError) as caught:
            await listen(reactor, ("127.0.0.1", taken.getsockname()[1]), Site(hello), native=native)
        assert "in use" in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_malformed_description():
    with pytest.raises(ValueError, match="nonsense"):
        await listen(reactor, "nonsense:1", Site(hello))


# -- outgoing connections and the transport ----------------------------------------------------------


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
