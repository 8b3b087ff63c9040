"""The sending half of a client connection: back-pressure for whoever writes, lack of progress, and closing.

The sending half is its transport's only producer for as long as the connection lives; the producer of the response
under way hangs on it. Content that is stored goes out in slices of the stored bytes, each when the one before is on
its way, so that a client that reads slowly costs no copy of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import cast

from twisted.internet.interfaces import (
    IProducer,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.interfaces import IReactorTime as Clock

from caching_proxy.http.pieces import SHARED_BYTES, Content, Pieces
from caching_proxy.server.limits import Limits
from caching_proxy.server.peer import PeerProtocol
from caching_proxy.server.pinned import IMPATIENT_SECONDS, Kept, Pinned
from caching_proxy.server.turn import Turn
from caching_proxy.transport.native import NativeTransport, unsent
from caching_proxy.transport.pull_pump import PullPump
from caching_proxy.transport.tls_server import TLSConnection

SLICE = 128 * 1024
"""Bytes of stored content that are handed to the transport at once."""

TURN_BYTES = 512 * 1024
"""Bytes after which others have their turn, however fast the client reads."""


class SendingHalf(PeerProtocol):
    """What is common to all that a channel sends. ``due`` is the next deadline of the reading half or of closing.

    ``full``: more is to be sent than the transport takes for now, so nothing new should be made.
    """

    def __init__(self, clock: Clock, limits: Limits, pinned: Pinned, turn: Turn) -> None:
        self.clock = clock
        self.limits = limits
        self._pinned = pinned
        self._turn = turn
        self._pins: bytes | None = None  # the body of which there are slices in ``_rest``
        self._alone = 0  # bytes that wait in the transport for this client alone, when last looked at
        self._pinned_at = 0.0  # since when it keeps either
        self._pinned_from = 0  # ``_written`` then
        self.full = False
        self.due = inf
        self._choked = False  # the transport said so
        self._rest: deque[memoryview] = deque()  # what it has not been given yet
        self._written = 0  # bytes given to the transport
        self._last = 0  # how many at once: all of them are in memory until the last is sent
        self._taken = 0  # of these, what the system had taken when last looked at
        self._taken_at = clock.seconds()
        self._producer: IPushProducer | PullPump | None = None
        self._ending = False
        self._ended = False
        self._lingers = False

    def seconds(self) -> float:
        return self.clock.seconds()

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._rest:
            self._rest.append(memoryview(data))
            return
        self._last = size = len(data)
        self._written += size
        self.transport.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def write_content(self, head: bytes, content: Content) -> None:
        """Send ``head`` and the ``content`` after it, which is shared and cut into slices unless it is short."""
        if len(content) < SHARED_BYTES:
            self.write(head + bytes(content))
            return
        self.write(head)
        parts = content.parts if isinstance(content, Pieces) else (content,)
        self._rest.extend(map(memoryview, parts))
        self._pin(parts)
        if not self.full:
            self.full = True
            self._pump()

    def _pin(self, parts: Iterable[bytes | memoryview]) -> None:
        self._unpin()
        for part in parts:
            body = part.obj if isinstance(part, memoryview) else part
            if len(part) >= SHARED_BYTES and isinstance(body, bytes):  # all parts are of one body
                self._pins = body
                self._pinned_at, self._pinned_from = self.clock.seconds(), self._written
                self._pinned.hold(body)
                return

    def _unpin(self) -> None:
        if self._pins is not None:
            self._pinned.release(self._pins)
            self._pins = None

    def _pump(self) -> None:
        """Hand over slices while the transport has room."""
        rest, until = self._rest, self._written + TURN_BYTES
        shares = isinstance(self.transport, NativeTransport | TLSConnection)
        while rest and not self._choked:
            if self._written >= until or self._turn.over:
                self.clock.callLater(0, self._pump_on)
                return
            view = rest.popleft()
            if len(view) > SLICE:
                rest.appendleft(view[SLICE:])
                view = view[:SLICE]
            self._written += len(view)
            self._turn.take(len(view))
            self.transport.write(view if shares else bytes(view))  # type: ignore[arg-type]
        if not rest:
            self._unpin()
        self.full = bool(rest) or self._choked

    def _pump_on(self) -> None:
        if self.connected and not self._choked:
            self.resumeProducing()

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
        self.full = self._choked = True
        if self.connected:
            self._keep_alone(unsent(self.transport) or 0, self.clock.seconds())
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._choked = False
        self._keep_alone(0, 0.0)
        if self._rest:
            self._pump()
        if self._rest or self._choked:
            return
        self.full = False
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
        self.full = self._choked = False  # nobody kept count since
        self.end(lingers=False)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.read_on()
        self.detach()
        half_close: Callable[[], None] | None = getattr(self.transport, "loseWriteConnection", None)
        ends_halves = isinstance(self.transport, TLSConnection) or not self.isSecure()
        if self._lingers and half_close is not None and ends_halves:
            self.due = self.seconds() + self.limits.linger_seconds
            half_close()
        else:
            self.due = self.seconds() + self.limits.write_seconds
            self.transport.loseConnection()

    def read_on(self) -> None:
        """Stop holding the client back; for the reading half."""

    def detach(self) -> None:
        """Stop being the transport's producer."""
        self.transport.unregisterProducer()  # type: ignore[attr-defined]

    def forget(self) -> None:
        """The connection is gone: let go of what was to be sent."""
        self.due = inf
        self._producer = None
        self._rest.clear()
        self._unpin()
        self._keep_alone(0, 0.0)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.connected:
            self.due = inf
            self._rest.clear()
            self._unpin()
            self._keep_alone(0, 0.0)
            cast("ITCPTransport", self.transport).abortConnection()

    def check(self, now: float) -> None:
        """Act upon deadlines that passed at ``now``; called about once a second."""
        if self._taken == self._written:
            self._taken_at = now
        elif self._stalled(now) or self._too_slow(now):
            self.abort()
            return
        if now >= self.due:
            if not self._ending:
                self.overdue(now)
            elif self._taken == self._written:
                self.abort()  # all is sent, and still the client does not close

    def _stalled(self, now: float) -> bool:
        """Whether the client has taken nothing of what waits for it for the whole of the write time."""
        waiting = unsent(self.transport)
        taken = self._written - (int(self._choked) if waiting is None else waiting)
        if taken != self._taken:
            self._taken, self._taken_at = taken, now
        self._keep_alone(waiting or 0, now)
        patience = self.limits.write_seconds
        kept = self._kept
        if kept is not None and kept.too_many:
            patience = min(patience, IMPATIENT_SECONDS)
        return now - self._taken_at >= patience

    def _keep_alone(self, waiting: int, now: float) -> None:
        """``waiting`` bytes are in the transport: those that are no part of a shared body count by themselves."""
        alone = max(waiting, self._last) if waiting and self._pins is None else 0
        if alone < SHARED_BYTES:
            alone = 0
        if alone == self._alone:
            return
        if not self._alone:
            self._pinned_at, self._pinned_from = now, self._taken
        self._alone = alone
        self._pinned.alone.wait(self, alone)

    @property
    def _kept(self) -> Kept | None:
        """Among what the client's slowness counts, if it keeps anything."""
        if self._pins is not None:
            return self._pinned
        return self._pinned.alone if self._alone else None

    def _too_slow(self, now: float) -> bool:
        """Whether the client keeps what others need the room of."""
        kept = self._kept
        if kept is None:
            return False
        return kept.too_slow(max(0, self._taken - self._pinned_from), now - self._pinned_at)

    def wind_down(self) -> None:
        """The answer under way will say so."""

    def overdue(self, now: float) -> None:
        """``due`` passed; for the reading half."""
