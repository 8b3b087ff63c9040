"""A Twisted transport over a native asyncio or uvloop transport.

Twisted protocols run on it unchanged; bytes go from the event loop straight into ``dataReceived``. Semantics follow
``twisted.internet.tcp``: a producer keeps a closing connection open until it unregisters, writes after the end are
ignored, an orderly end is ``ConnectionDone``, everything else ``ConnectionLost``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from typing import Any, Protocol, cast

from twisted.internet import error
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProducer,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.transport.pull_pump import PullPump
from caching_proxy.transport.read_turns import MUCH, read_turns
from caching_proxy.transport.small_reads import SmallReads, Trust

UNSENT_BYTES = 64 * 1024
"""Small messages of many streams are made until so much waits to be sent."""

CHOKED_BYTES = 16 * 1024
"""Bytes waiting to be sent at which producers are paused; they resume at a quarter of it. The system's own buffer is
full then, and large: more here would only be memory for whoever does not read."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes closing a reset, as Twisted's own transports do when they abort."""


class BytesProtocol(Protocol):
    """What a native connection needs of a Twisted protocol."""

    def makeConnection(self, transport: object) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


def native_loop(reactor: object) -> asyncio.AbstractEventLoop | None:
    """The asyncio loop under ``reactor``, or None where the reactor is of another kind."""
    return cast("asyncio.AbstractEventLoop | None", getattr(reactor, "_asyncioEventloop", None))


def unsent(transport: object) -> int | None:
    """Bytes that wait in ``transport`` for the system to take them; None where it does not tell."""
    if isinstance(transport, NativeTransport):
        return transport.unsent()
    under = getattr(transport, "transport", None)  # TLS
    if under is not None:
        return unsent(under)
    if isinstance(transport, FileDescriptor):
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return None


def has_read(transport: object, size: int) -> None:
    """``transport`` has read ``size`` bytes at once: if that is much, others may have their turn now."""
    if size >= MUCH and isinstance(transport, NativeTransport):
        transport.read_much(size)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class NativeTransport:
    """One connection, as its Twisted protocol sees it."""

    __slots__ = (
        "__weakref__",
        "_aborted",
        "_full",
        "_host",
        "_loop",
        "_native",
        "_peer",
        "_producer",
        "_reading",
        "_small",
        "_together",
        "_trust",
        "_write_closing",
        "_yielding",
        "connected",
        "disconnected",
        "disconnecting",
        "protocol",
    )

    def __init__(self, native: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._native = native
        self._loop = loop
        self._producer: IPushProducer | PullPump | None = None
        self._full = False
        self._reading = True
        self._aborted = False
        self._together: list[bytes] = []
        self._write_closing = False
        self._yielding = False  # others have their turn to read
        self._trust: Trust | None = None  # once it has read much
        self._small = False
        self._peer: IAddress | None = None
        self._host: IAddress | None = None
        self.connected = True
        self.disconnected = False
        self.disconnecting = False
        self.protocol: BytesProtocol | None = None
        native.set_write_buffer_limits(CHOKED_BYTES)

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data``; a buffer that is not sent at once is kept, not copied."""
        if self._together:
            self._write_together()
        if data and self.connected and not self._write_closing:
            self._native.write(data)

    def write_together(self, data: bytes) -> None:
        """Like :meth:`write`, at the end of this turn of the loop and in one call with all that is written so.

        For connections that carry many small messages: a call to the system costs more than making the message.
        """
        if not self._together:
            self._loop.call_soon(self._write_together)
        self._together.append(data)

    def _write_together(self) -> None:
        waiting, self._together = self._together, []
        if waiting:
            self.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    def unsent(self) -> int:
        """Bytes written that the system has not taken yet."""
        return self._native.get_write_buffer_size()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self, _reason: object = None) -> None:
        """Close once everything written is sent and no producer is left."""
        if not self.connected or self.disconnecting:
            return
        self._write_together()
        self.disconnecting = True
        if self._producer is None:
            self._close()

    def loseWriteConnection(self) -> None:
        """Send what was written, then the end of the stream; reading goes on."""
        if not self.connected or self._write_closing:
            return
        self._write_together()
        self._write_closing = True
        if self._producer is None:
            self._end_writing()

    def abortConnection(self) -> None:
        """Drop the connection at once, with a reset: the peer must not mistake it for an orderly end."""
        if self.connected:
            self._aborted = True
            self.disconnecting = self._write_closing = True
            sock = self._native.get_extra_info("socket")
            if sock is not None and not self._native.is_closing():
                with contextlib.suppress(OSError):  # the peer was quicker
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._native.abort()

    def _close(self) -> None:
        self._write_closing = True
        self._native.close()

    def _end_writing(self) -> None:
        if not self._native.is_closing() and self._native.can_write_eof():
            try:
                self._native.write_eof()
            except OSError:  # the peer was quicker; connectionLost follows
                self._native.abort()

    # -- producers -------------------------------------------------------------------------------

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Let ``producer`` write; pull producers (``streaming`` false) are asked whenever there is room."""
        if self._producer is not None:
            raise RuntimeError(f"{producer!r} cannot be registered while {self._producer!r} is")
        if not self.connected:
            producer.stopProducing()
            return
        if streaming:
            self._producer = cast("IPushProducer", producer)
            if self._full:
                self._producer.pauseProducing()
        else:
            self._producer = PullPump(cast("IPullProducer", producer), self._loop.call_soon)
            if not self._full:
                self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if isinstance(producer, PullPump):
            producer.pauseProducing()
        if self.connected and producer is not None:
            if self._write_closing:
                self._end_writing()
            if self.disconnecting:
                self._close()

    def set_full(self, full: bool) -> None:
        """The native buffer passed a water mark."""
        self._full = full
        if self._producer is not None:
            if full:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    # -- reading ---------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Stop delivering data; a chunk that was already read may still come."""
        if self._reading:
            self._reading = False
            if self._trust is not None:
                self._trust.stopped()
            if not self._yielding and not self._native.is_closing():
                self._native.pause_reading()

    def resumeProducing(self) -> None:
        if not self._reading:
            self._reading = True
            if self._trust is not None:
                self._trust.goes_on()
            if not self._yielding and not self._native.is_closing():
                self._native.resume_reading()

    def stopProducing(self) -> None:
        self.loseConnection()

    def read_much(self, size: int) -> None:
        """``size`` bytes came at once: perhaps others have their turn now, and what follows comes in smaller pieces."""
        if not self.connected:
            return
        if self._trust is None:
            self._trust = Trust(self._loop.time)
        self._trust.passed(size)
        if self._small is self._trust.earned:
            self._read_small(not self._small)
        if not self._yielding:
            read_turns(self._loop).took(self, size)

    def _read_small(self, small: bool) -> None:
        """Read little at once, or as much as there is; the loop asks how when it begins to read."""
        native, protocol = self._native, self.protocol
        if protocol is None or native.is_closing():
            return
        self._small = small
        native.pause_reading()
        current = cast("Any", native.get_protocol())
        native.set_protocol(SmallReads(current, protocol.dataReceived) if small else current.outer)
        if self._reading and not self._yielding:
            native.resume_reading()

    def yield_reading(self) -> None:
        self._yielding = True
        if self._reading and not self._native.is_closing():
            self._native.pause_reading()

    def read_on(self) -> None:
        self._yielding = False
        if self._reading and self.connected and not self._native.is_closing():
            self._native.resume_reading()

    # -- addresses and socket options ------------------------------------------------------------

    def getPeer(self) -> IAddress:  # type: ignore[override]
        if self._peer is None:
            self._peer = _address(self._native, "peername")
        return self._peer

    def getHost(self) -> IAddress:  # type: ignore[override]
        if self._host is None:
            self._host = _address(self._native, "sockname")
        return self._host

    def getTcpNoDelay(self) -> bool:
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._native.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(enabled))

    def getTcpKeepAlive(self) -> bool:
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._native.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(enabled))

    def _option(self, level: int, name: int) -> bool:
        return bool(self._native.get_extra_info("socket").getsockopt(level, name))

    # -- the end ---------------------------------------------------------------------------------

    def lost(self, exception: BaseException | None) -> Failure:
        """Mark the connection as gone, release its producer and say why it ended."""
        self.connected = False
        self.disconnected = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self._aborted:
            return Failure(error.ConnectionAborted())
        if exception is None:
            return Failure(error.ConnectionDone())
        return Failure(error.ConnectionLost(str(exception)))


def _address(native: asyncio.Transport, key: str) -> IAddress:
    """The Twisted address behind ``peername`` or ``sockname``."""
    name = native.get_extra_info(key)
    if isinstance(name, tuple):
        if len(name) == 4:
            return IPv6Address("TCP", *name)
        return IPv4Address("TCP", name[0], name[1])
    return UNIXAddress(name or None)
