"""The raw connection to the backend after a 101 (RFC 9110 §7.8): bytes both ways, no more HTTP."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import alsoProvides


class Carrier(Protocol):
    """The part of a backend connection that a tunnel uses."""

    transport: ITransport | None

    def resume_body(self) -> None:
        """Read from the backend."""

    def close(self) -> None:
        """Close once all is sent, within bounds."""

    def abort(self) -> None:
        """Drop the connection."""


class Tunnel:
    """What stands in ``UpstreamResponse.tunnel``: reading is paused until :meth:`start`; whoever has it must start or
    abort it."""

    def __init__(self, carrier: Carrier, early: bytes) -> None:
        self._carrier = carrier
        self._early = early
        self._protocol: IProtocol | None = None
        self._lost: Failure | None = None

    def start(self, protocol: IProtocol) -> None:
        """Attach ``protocol``: it gets the transport, every byte behind the 101, and ``connectionLost`` at the end.

        If it is half-closeable it also hears of the end of the backend's half.
        """
        if IHalfCloseableProtocol.providedBy(protocol):
            for name in ("readConnectionLost", "writeConnectionLost"):
                setattr(self._carrier, name, getattr(protocol, name))
            alsoProvides(self._carrier, IHalfCloseableProtocol)
        assert self._carrier.transport is not None
        protocol.makeConnection(self._carrier.transport)
        early, self._early = self._early, b""
        if early:
            protocol.dataReceived(early)
        if self._lost is not None:
            protocol.connectionLost(self._lost)
            return
        self._protocol = protocol
        self._carrier.resume_body()

    def close(self) -> None:
        """Close once all is sent; a backend that does not take it is dropped after its timeout."""
        self._carrier.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._carrier.abort()

    # -- for the connection

    def received(self, data: bytes) -> None:
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        else:
            self._early += data  # a read that was under way when reading was paused

    def lost(self, reason: Failure) -> None:
        self._lost = reason
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
