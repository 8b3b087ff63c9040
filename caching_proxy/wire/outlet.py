"""The sending half of a client connection: back-pressure for whoever writes, write deadlines, and closing.

The outlet is its transport's only producer for as long as the connection lives; the producer of the response under
way hangs on the outlet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import cast

from twisted.internet.interfaces import (
    IProducer,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    ITransport,
)
from twisted.internet.interfaces import IReactorTime as Clock
from twisted.internet.protocol import Protocol

from caching_proxy.wire.limits import Limits
from caching_proxy.wire.transport import HIGH_WATER, PullPump


class Outlet(Protocol):
    """What is common to all that a channel sends. ``due`` is the next deadline of the reading half or of closing."""

    transport: ITransport

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.clock = clock
        self.limits = limits
        self.full = False  # the transport has more to send than it should
        self.due = inf
        self._write_due = inf
        self._last_write = 0
        self._producer: IPushProducer | PullPump | None = None
        self._ending = False
        self._ended = False
        self._lingers = False

    def seconds(self) -> float:
        return self.clock.seconds()

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.full:
            self._write_due += len(data) / self.limits.write_rate
        else:
            self._last_write = len(data)
        self.transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """The producer of the response under way."""
        if streaming:
            self._producer = cast("IPushProducer", producer)
            if self.full:
                self._producer.pauseProducing()
        else:
            self._producer = PullPump(cast("IPullProducer", producer), lambda call: self.clock.callLater(0, call))
            if not self.full:
                self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        if isinstance(self._producer, PullPump):
            self._producer.pauseProducing()
        self._producer = None

    # -- the transport's producer ----------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport has enough to send."""
        self.full = True
        backlog = self._last_write + HIGH_WATER
        self._write_due = self.seconds() + self.limits.write_seconds + backlog / self.limits.write_rate
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self.full = False
        self._write_due = inf
        if self._ending:
            self._end()
            return
        if self._producer is not None:
            self._producer.resumeProducing()
        self.drained()

    def stopProducing(self) -> None:
        """The transport is gone."""
        if self._producer is not None:
            self._producer.stopProducing()

    def drained(self) -> None:
        """The client reads again; for the reading half."""

    # -- the end ---------------------------------------------------------------------------------

    def end(self, *, lingers: bool) -> None:
        """Close once all is sent. ``lingers``: the client may still be sending, and has to be able to read the answer.

        Closing with bytes unread would reset the connection under an answer still in flight (RFC 9112 §9.6).
        """
        self._ending = True
        self._lingers = lingers
        self.due = inf
        if not self.full:
            self._end()

    def end_tunnel(self) -> None:
        """Close a connection that was taken over, once all is sent."""
        self.full = False  # nobody kept count since
        self.end(lingers=False)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.read_on()
        self.detach()
        half_close: Callable[[], None] | None = getattr(self.transport, "loseWriteConnection", None)
        if self._lingers and half_close is not None and not self.isSecure():
            self.due = self.seconds() + self.limits.linger_seconds
            half_close()
        else:
            self.due = self.seconds() + self.limits.write_seconds
            self.transport.loseConnection()

    def read_on(self) -> None:
        """Stop holding the client back; for the reading half."""

    def detach(self) -> None:
        """Stop being the transport's producer."""
        self._write_due = inf
        self.transport.unregisterProducer()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.connected:
            self.due = self._write_due = inf
            cast("ITCPTransport", self.transport).abortConnection()

    def check(self, now: float) -> None:
        """Act upon deadlines that passed at ``now``."""
        if now >= self._write_due:
            self.abort()
        elif now >= self.due:
            if self._ending:
                self.abort()
            else:
                self.overdue(now)

    def overdue(self, now: float) -> None:
        """``due`` passed; for the reading half."""

    def isSecure(self) -> bool:
        return ISSLTransport.providedBy(self.transport)
