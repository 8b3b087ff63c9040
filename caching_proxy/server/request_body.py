"""The body of a request on its way in: counts or decodes what the channel reads and feeds the request's ``Body``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import BadMessage, Framing
from caching_proxy.http.messages import NO_FIELDS
from caching_proxy.server.limits import Limits


class InboundChannel(Protocol):
    """The channel, as the body sees it."""

    def seconds(self) -> float:
        """The time."""

    def hold_body(self, held: bool) -> None:
        """Stop reading from the client, or go on."""

    def body_unwanted(self) -> None:
        """Too much of the body is left to read it all just to keep the connection."""


class Budget:
    """Bytes that uploads of all connections may take together before the backend is asked."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


class Inbound:
    """One request body with its bounds; the ``Source`` behind ``body``.

    With :meth:`keep` the first bytes are kept, all of a short body: whoever sends slowly has only its own connection
    waiting. ``on_ready`` is called when that is over.
    """

    __slots__ = (
        "_decoder",
        "_discarded",
        "_discarding",
        "_held_at",
        "_kept",
        "_kept_bytes",
        "_kept_most",
        "_left",
        "_limits",
        "_budget",
        "_reader",
        "_waited",
        "body",
        "broken",
        "complete",
        "on_ready",
        "received",
        "started_at",
    )

    def __init__(self, reader: InboundChannel, framing: Framing, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._decoder = None if framing.length is not None else ChunkedDecoder()
        self._left = framing.length or 0
        self._discarding = False
        self._discarded = 0
        self._held_at: float | None = None
        self._waited = 0.0
        self.body = Body(framing.length, self)
        self.received = 0
        self.complete = False
        self.broken = False
        self.started_at = reader.seconds()
        self.on_ready: Callable[[], None] | None = None
        self._budget: Budget | None = None
        self._kept: bytearray | None = None
        self._kept_bytes = 0  # taken from the budget
        self._kept_most = 0

    def keep(self, most: int, budget: Budget) -> None:
        """Keep what comes until the body is complete, or ``most`` bytes are here, or ``budget`` is used up."""
        if most:
            self._kept, self._kept_most, self._budget = bytearray(), most, budget

    @property
    def keeping(self) -> bool:
        """Whether ``body`` is still held back."""
        return self._kept is not None

    def settle(self) -> None:
        """The request is over: what was kept for it counts no longer."""
        self.on_ready = self._kept = None
        if self._budget is not None:
            self._budget.left += self._kept_bytes
            self._kept_bytes = 0
            self._budget = None

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body and return what follows it; raises :class:`BadMessage`."""
        if self.broken:
            return b""
        if self._decoder is None:
            left = self._left
            rest = data[left:] if len(data) > left else b""
            self._left = max(0, left - len(data))
            self._pass_on(data[:left] if rest else data)
            if not self._left:
                self._end()
            return rest
        pieces = self._decoder.feed(data)
        if pieces:
            self._pass_on(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._decoder.done:
            self._end()
        return self._decoder.rest

    def fail(self, reason: Failure) -> None:
        """Nothing more of the body can be read."""
        self.broken = True
        self.body.fail(reason)

    def overdue(self, now: float) -> float:
        """By how many seconds the body is too slow at ``now``; negative while there is time left."""
        waited = self._waited + (now - self._held_at if self._held_at is not None else 0.0)
        return now - self.started_at - waited - self._limits.body_seconds - self.received / self._limits.body_rate

    @property
    def drainable(self) -> bool:
        """Whether the rest is known to be short, or of unknown length and thus worth a try within the bound."""
        return self._left <= self._limits.drain_bytes

    def discard(self) -> None:
        """Read the rest, within the bound, for nobody."""
        if self.broken:
            return
        self._discarding = True
        if self.drainable:
            self._resume()
        else:
            self._give_up()

    # -- Source: what Body asks for --------------------------------------------------------------

    def pause_body(self) -> None:
        if self._held_at is None and not self.complete:  # else the next request would wait for a reader of this one
            self._held_at = self._reader.seconds()
            self._reader.hold_body(True)

    def resume_body(self) -> None:
        self._resume()

    def cancel_body(self) -> None:
        self.discard()

    # --------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        if self._held_at is not None:
            self._waited += self._reader.seconds() - self._held_at
            self._held_at = None
            self._reader.hold_body(False)

    def _pass_on(self, data: bytes) -> None:
        if self.broken:
            return
        self.received += len(data)
        limit = self._limits.body_bytes
        if limit is not None and self.received > limit:
            raise BadMessage(413, "request body too large")
        if self._kept is not None:
            self._keep(self._kept, data)
            return
        if not self._discarding:
            self.body.feed(data)
            return
        self._discarded += len(data)
        if self._discarded > self._limits.drain_bytes:
            self._give_up()

    def _keep(self, kept: bytearray, data: bytes) -> None:
        budget = self._budget
        kept += data
        if budget is None or budget.left < len(data):
            self._pass_kept()
            self._ready()
            return
        budget.left -= len(data)
        self._kept_bytes += len(data)
        if len(kept) >= self._kept_most and (self._left or self._decoder is not None):
            self._pass_kept()
            self._ready()

    def _pass_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept:
            self.body.feed(bytes(kept))

    def _ready(self) -> None:
        ready, self.on_ready = self.on_ready, None
        if ready is not None:
            ready()

    def _give_up(self) -> None:
        self.broken = True
        self._reader.body_unwanted()

    def _end(self) -> None:
        if self.broken:
            return
        self.complete = True
        self._resume()
        self._pass_kept()
        self.body.end(self._decoder.trailers if self._decoder is not None else NO_FIELDS)
        self._ready()
