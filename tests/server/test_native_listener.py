"""The listener on real sockets: asyncio, uvloop, and Twisted's own endpoints."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import pytest_twisted
import uvloop
from support.loop_thread import LoopThread, read
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.listener import Listener, listen
from caching_proxy.server.site import ProxySite

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
        self.paused = threading.Event()
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
        self.paused.set()

    def stopProducing(self) -> None:
        self.going = False


@pytest_twisted.ensureDeferred
async def test_a_large_response_waits_for_its_reader(serve):
    total, pushers, asked = 16 << 20, [], threading.Event()

    def handler(request) -> None:
        pushers.append(Pusher(request, total))
        asked.set()

    def read_late(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert asked.wait(20)
            assert pushers[0].paused.wait(20), "it was not held back"
            return read(client, 1 << 30)

    listener = await serve(handler)
    data = await deferToThread(read_late, listener.port)
    assert len(data.partition(b"\r\n\r\n")[2]) == total


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
