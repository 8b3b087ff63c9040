"""A client connection in memory: bytes in, bytes out, a clock, and every request that reached the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.h2_client import Client
from support.http2_connections import Connect
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.http2.connection import HTTP2Channel
from caching_proxy.server.limits import Limits
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.site import ProxySite

START = 1_900_000_000.0
Handler = Callable[[ProxyRequest], None]


class MemoryTransport(StringTransport):
    """Adds the half-close that real transports have."""

    half_closed = False
    aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


def echo(request: ProxyRequest) -> None:
    """Answers with method, target and content."""
    collected = request.body.collect(1 << 30)
    collected.addCallback(
        lambda body: request.respond(
            ResponseHead(200, b"OK"), b"%b %b %b" % (request.head.method, request.head.target, body)
        )
    )
    collected.addErrback(lambda _: None)  # the channel answers broken bodies itself


class Wire:
    """One connection to a site whose application is ``handler``."""

    def __init__(self, handler: Handler = echo, limits: Limits | None = None, **site: object) -> None:
        self.seen: list[ProxyRequest] = []
        self.clock = Clock()
        self.clock.advance(START)
        outer = self

        class Application(Resource):
            isLeaf = True

            def render(self, request: ProxyRequest) -> int:
                outer.seen.append(request)
                handler(request)
                return NOT_DONE_YET

        self.site = ProxySite(Application(), self.clock, limits=limits or Limits(), **site)
        self.connect()

    def connect(self) -> None:
        self.transport = MemoryTransport()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Deliver ``data`` as one read; what the server has written since the last call."""
        self.channel.dataReceived(data)
        return self.take()

    def drip(self, data: bytes) -> bytes:
        """Deliver ``data`` byte by byte."""
        for at in range(len(data)):
            self.channel.dataReceived(data[at : at + 1])
        return self.take()

    def take(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def disconnect(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def targets(self) -> list[bytes]:
        return [request.head.target for request in self.seen]

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting or self.transport.half_closed or self.transport.aborted


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def connect(wire: Any) -> Connect:
    """``connect(handler, limits=…)``: a client; ``client.wire`` is the site's side of it."""

    def connected(*arguments: Any, reading: bool = True, client: bool = True, **more: Any) -> Any:
        line = wire(*arguments, **more)
        line.disconnect()
        line.transport = type(line.transport)()
        line.channel = HTTP2Channel(line.site)
        line.channel.makeConnection(line.transport)
        if not client:
            return line
        made = Client(line.channel, line.transport, reading)
        made.wire = line  # type: ignore[attr-defined]
        return made

    return connected
