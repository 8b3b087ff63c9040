"""Who is at the other end of a client connection, looked up when first asked for."""

from __future__ import annotations

from functools import cached_property

from twisted.internet.interfaces import IAddress, ISSLTransport, ITransport
from twisted.internet.protocol import Protocol


class PeerProtocol(Protocol):
    """A protocol that knows its addresses."""

    transport: ITransport
    _peer: IAddress | None = None
    _peer_host: bytes | None = None

    def getPeer(self) -> IAddress:
        if self._peer is None:
            self._peer = self.transport.getPeer()
        return self._peer

    def getHost(self) -> IAddress:
        return self.transport.getHost()

    def isSecure(self) -> bool:
        return ISSLTransport.providedBy(self.transport)

    @cached_property
    def scheme(self) -> bytes:
        """``http`` or ``https``: how the client reached us."""
        return b"https" if self.isSecure() else b"http"

    @property
    def peer_host(self) -> bytes:
        """The peer's IP address in text; empty where it has none."""
        if self._peer_host is None:
            self._peer_host = host_of(self.getPeer())
        return self._peer_host


def host_of(address: IAddress | None) -> bytes:
    """The IP address in ``address`` as text; empty where it has none."""
    host = str(getattr(address, "host", ""))
    if host.startswith("::ffff:") and "." in host:  # an IPv4 client of a dual-stack listener
        host = host[7:]
    return host.encode("ascii", "replace")
