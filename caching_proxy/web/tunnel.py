"""A client's connection and the backend's, joined after a 101: bytes both ways, as slowly as the slower side reads.

Nothing of what passes is looked at. A side that ends its half has that end passed on, and after ``HALF_OPEN_SECONDS``
the rest is ended too; a side that is gone takes the other with it, once everything that it had sent is delivered.
An idle tunnel may stay for as long as both want it: TCP keep-alive finds the dead ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.messages import ResponseHead
from caching_proxy.interfaces import Switched
from caching_proxy.server.request import ProxyRequest

HALF_OPEN_SECONDS = 60.0


def join(request: ProxyRequest, head: ResponseHead, tunnel: Switched) -> None:
    """Answer ``request`` with ``head``, a 101, and let its connection and ``tunnel`` feed each other from then on."""
    clock = request.site.clock
    client, backend = End(request.end_tunnel, clock), End(tunnel.close, clock)
    client.other, backend.other = backend, client
    transport, early = request.take_over(head, client)
    client.makeConnection(transport)  # type: ignore[no-untyped-call]
    tunnel.start(backend)
    if early:
        client.dataReceived(early)
    client.begin()
    backend.begin()


@implementer(IHalfCloseableProtocol, IPushProducer)
class End(Protocol):
    """One side of a tunnel; what it receives goes to ``other``, whose transport holds it back as a producer.

    ``close`` ends the connection once all is sent.
    """

    other: End

    def __init__(self, close: Callable[[], None], clock: IReactorTime) -> None:
        self._close = close
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._silent = False  # the peer has sent its last byte
        self._closing = False

    @property
    def _tcp(self) -> ITCPTransport:
        return cast("ITCPTransport", self.transport)

    def begin(self) -> None:
        """Both sides are connected: let the other side's sender wait when this one does not read."""
        if not self._closing and not self.other._closing:
            self._tcp.setTcpKeepAlive(True)
            self._tcp.registerProducer(self.other, True)  # type: ignore[attr-defined]

    # -- IProtocol and IHalfCloseableProtocol

    def dataReceived(self, data: bytes) -> None:
        if not self.other._closing:
            self.other._tcp.write(data)

    def readConnectionLost(self) -> None:
        self._silent = True
        if self.other._silent:
            self._finish()
            self.other._finish()
        else:
            self.other._end_half()

    def writeConnectionLost(self) -> None:
        """Our own half-close has been carried out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._stop_timer()
        self.other._finish()

    # -- the end

    def _end_half(self) -> None:
        """Pass on the end of the other side's half; TLS has none."""
        half_close: Callable[[], None] | None = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None or ISSLTransport.providedBy(self.transport):
            self._finish()
        elif not self._closing:
            self._tcp.unregisterProducer()  # type: ignore[attr-defined]
            half_close()
            self._timer = self._clock.callLater(HALF_OPEN_SECONDS, self._half_open_too_long)

    def _half_open_too_long(self) -> None:
        self._timer = None
        self._finish()
        self.other._finish()

    def _finish(self) -> None:
        if not self._closing:
            self._closing = True
            self._stop_timer()
            self._tcp.unregisterProducer()  # type: ignore[attr-defined]
            self._close()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # -- IPushProducer, for the other side's transport

    def pauseProducing(self) -> None:
        if not self._closing:
            self._tcp.pauseProducing()  # type: ignore[attr-defined]

    def resumeProducing(self) -> None:
        if not self._closing:
            self._tcp.resumeProducing()  # type: ignore[attr-defined]

    def stopProducing(self) -> None:
        """The other side is gone; its ``connectionLost`` says so too."""
