"""TLS as a server over any transport: a protocol above gets bytes in the clear, and a transport that behaves like TCP.

Producers, holding back and what waits to be sent are those of the transport below, so back-pressure, deadlines for
progress and addresses are the same as without TLS. Bytes go through OpenSSL in pieces: its buffers stay as large as
they have once been.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.transport.native import BytesProtocol, has_read

PIECE = 16 * 1024
"""Bytes that are handed to OpenSSL at once."""


@implementer(ISSLTransport, IConsumer, IPushProducer)
class TLSConnection(Protocol):
    """The protocol of the transport below and the transport of the protocol above, which exists after the handshake.

    Subclasses say what becomes of the handshake: :meth:`secured`, :meth:`unsecured`, and when :meth:`shake` is called.
    """

    transport: Any

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._above: BytesProtocol | None = None
        self._held = False  # by a producer, which keeps a closing connection open
        self._over = False  # nothing more is read
        self.disconnecting = False
        self._half_closed = False

    @property
    def negotiated(self) -> str | None:
        """What ALPN came to."""
        return self._tls.selected_alpn_protocol()

    # -- the handshake ---------------------------------------------------------------------------

    def shake(self) -> None:
        """Go on with the handshake as far as what has arrived allows."""
        if self._over or self._above is not None:
            return
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as problem:
            self._over = True
            self._flush()  # the alert
            self.unsecured(problem)
            return
        self._flush()
        above = self.secured()
        if above is None:
            self.loseConnection()
            return
        self._above = above
        above.makeConnection(self)
        self._read()

    def secured(self) -> BytesProtocol | None:
        """The handshake is done: who is to talk to the client; None closes."""
        raise NotImplementedError

    def unsecured(self, problem: ssl.SSLError) -> None:
        """It failed; the alert is sent."""
        self.transport.loseConnection()

    def arrived(self) -> None:
        """More of the handshake is here."""
        self.shake()

    # -- the protocol of what is below -----------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if len(data) <= PIECE:
            self._take(data)
            return
        has_read(self.transport, len(data))
        for at in range(0, len(data), PIECE):
            self._take(data[at : at + PIECE])

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        self._incoming.write(data)
        if self._above is None:
            self.arrived()
        else:
            self._read()

    def _read(self) -> None:
        above, tls = cast("BytesProtocol", self._above), self._tls
        while not self._over:
            try:
                clear = tls.read(PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # both have said so
                clear = b""
            except ssl.SSLError:  # a broken record, or a peer that breaks off: nothing after it can be believed
                self._over = True
                self._flush()
                self.abortConnection()
                return
            if not clear:
                self._peer_ended(above)
                break
            above.dataReceived(clear)
        if self._outgoing.pending:
            self._flush()

    def _peer_ended(self, above: BytesProtocol) -> None:
        """The client has said that it sends no more; one that leaves, as without TLS, unless it is a tunnel's."""
        self._over = True
        if IHalfCloseableProtocol.providedBy(above):
            cast("IHalfCloseableProtocol", above).readConnectionLost()
            return
        if self._held:
            self._held = False
            self.transport.unregisterProducer()
        self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = self.disconnecting = True
        above, self._above = self._above, None
        if above is not None:
            above.connectionLost(reason)

    # -- the transport of what is above: writing -------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        if not data or self._half_closed:
            return
        try:
            if len(data) <= PIECE:
                self._tls.write(data)
                self.transport.write(self._outgoing.read())
                return
            view = memoryview(data)
            for at in range(0, len(view), PIECE):
                self._tls.write(view[at : at + PIECE])
                self.transport.write(self._outgoing.read())
        except ssl.SSLError:
            self.abortConnection()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    # -- the end ---------------------------------------------------------------------------------

    def loseConnection(self, _reason: object = None) -> None:
        """Close once everything written is sent and no producer is left."""
        if not self.disconnecting:
            self.disconnecting = True
            if not self._held:
                self._close()

    def loseWriteConnection(self) -> None:
        """Send what was written, then the end of the stream; reading goes on."""
        if not self.disconnecting:
            self._notify()
            self.transport.loseWriteConnection()

    def abortConnection(self) -> None:
        self._over = self.disconnecting = self._half_closed = True
        self.transport.abortConnection()

    def _close(self) -> None:
        self._notify()
        self.transport.loseConnection()

    def _notify(self) -> None:
        """Say that no more is sent, so that nobody can cut the stream short unseen (RFC 8446 §6.1)."""
        if not self._half_closed:
            self._half_closed = True
            with contextlib.suppress(ssl.SSLError):  # the peer has not said so yet, which does not matter
                self._tls.unwrap()
            self._flush()

    # -- producers and reading: those of the transport below -------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._held = True
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._held = False
        self.transport.unregisterProducer()
        if self.disconnecting:
            self._close()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- addresses and socket options ------------------------------------------------------------

    def getPeer(self) -> IAddress:  # type: ignore[override]
        return cast("IAddress", self.transport.getPeer())

    def getHost(self) -> IAddress:  # type: ignore[override]
        return cast("IAddress", self.transport.getHost())

    def getPeerCertificate(self) -> None:
        """None is asked for."""

    def getTcpNoDelay(self) -> bool:
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.transport.setTcpKeepAlive(enabled)
