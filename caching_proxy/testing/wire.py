"""A wire without sockets: two protocols joined in memory, with back-pressure, moved by hand."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.body import HIGH_WATER


@implementer(ITransport)
class MemoryTransport:
    """One end of a :class:`MemoryWire`: ``ITransport``, ``IConsumer`` and, for reading, ``IPushProducer``.

    A registered streaming producer is paused while ``HIGH_WATER`` bytes or more wait to be pumped and resumed when
    they have gone. A pull producer is asked whenever nothing waits. ``peak`` is the most that ever waited.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.peer: MemoryTransport
        self.connected = True
        self.disconnecting = False
        self.reading = True
        self.pending = bytearray()
        self.peak = 0
        self.written = 0
        self.writes = 0
        self._producer: object | None = None
        self._streaming = False
        self._producer_paused = False
        self._eof = False

    # -- ITransport

    def write(self, data: bytes) -> None:
        if not self.connected or self._eof or (self.disconnecting and self._producer is None):
            return
        self.pending += data
        self.written += len(data)
        self.writes += 1
        self.peak = max(self.peak, len(self.pending))
        if self._streaming and not self._producer_paused and len(self.pending) >= HIGH_WATER:
            self._producer_paused = True
            self._call("pauseProducing")

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self._eof = True

    def abortConnection(self) -> None:
        self.pending.clear()
        self.lost(ConnectionAborted())
        self.peer.lost(ConnectionLost())

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 2)

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    # -- IConsumer

    def registerProducer(self, producer: object, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        self._producer, self._streaming, self._producer_paused = producer, streaming, False

    def unregisterProducer(self) -> None:
        self._producer, self._streaming, self._producer_paused = None, False, False

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    # -- for the wire

    def lost(self, reason: Exception) -> None:
        """End this side; ``connectionLost`` is called once.

        Args:
            reason: Why, as ``twisted.internet.error`` has it.
        """
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason))

    def move(self, limit: int | None) -> bool:
        """Carry waiting bytes to the peer and give producers their turn.

        Args:
            limit: Bytes to carry at most; None for all.

        Returns:
            Whether anything happened.
        """
        moved = False
        if self.pending and self.peer.connected and self.peer.reading:
            data = bytes(self.pending[:limit])
            del self.pending[: len(data)]
            self.peer.protocol.dataReceived(data)
            moved = True
        if self.pending or not self.connected:
            return moved
        if self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self._call("resumeProducing")
            return True
        if self.disconnecting and self._producer is None:
            self.lost(ConnectionDone())
            self.peer.lost(ConnectionDone())
            return True
        return moved

    def _call(self, method: str) -> None:
        getattr(self._producer, method)()


class MemoryWire:
    """A connection between two protocols, made at once::

    wire = MemoryWire(client_protocol, server_protocol)
    wire.pump()                       # everything that can move does
    wire.pump(chunk=1)                # the same, a byte at a time
    """

    def __init__(self, client: Protocol, server: Protocol) -> None:
        self.client = MemoryTransport(client)
        self.server = MemoryTransport(server)
        self.client.peer, self.server.peer = self.server, self.client
        server.makeConnection(self.server)
        client.makeConnection(self.client)

    def pump(self, chunk: int | None = None) -> None:
        """Move bytes and act on closing, until both sides rest.

        Args:
            chunk: Bytes to move at once at most; None for all that wait.
        """
        while self.step(chunk):
            pass

    def step(self, chunk: int | None = None) -> bool:
        """One turn for each direction.

        Args:
            chunk: As for :meth:`pump`.

        Returns:
            Whether anything happened.
        """
        moved = self.client.move(chunk)
        return self.server.move(chunk) or moved


class ByteRecorder(Protocol):
    """The far end played by hand: keeps what it receives in ``data`` and the reason of the end in ``lost``."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason

    def send(self, data: bytes) -> None:
        """Write to the other side.

        Args:
            data: Any bytes.
        """
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        """Close after what was written."""
        assert self.transport is not None
        self.transport.loseConnection()
