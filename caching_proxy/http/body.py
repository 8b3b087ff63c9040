"""A message body on its way: bytes pushed by a connection, pulled back by whoever reads them.

One connection end *feeds* the body, one consumer *attaches* to it. Until a consumer is attached, chunks wait here,
and the source is paused as soon as ``HIGH_WATER`` bytes do. After that nothing is buffered: the consumer pauses
and resumes the source through the body, which is what turns a slow reader into back-pressure on the sender.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.http.messages import Fields

HIGH_WATER = 64 * 1024
"""Bytes held at which the source is paused."""

CHUNK_WEIGHT = 64
"""What a chunk costs beside its bytes: a body in chunks of one byte must not hold forty times what it counts."""


class Source(Protocol):
    """The connection end behind a body."""

    def pause_body(self) -> None:
        """Stop reading from the peer."""

    def resume_body(self) -> None:
        """Read from the peer again."""

    def cancel_body(self) -> None:
        """Nobody wants the rest: drain it or drop the connection."""


class Sink(Protocol):
    """A consumer of a body. After ``ended`` or ``failed`` nothing more is called."""

    def received(self, data: bytes) -> None: ...

    def ended(self, trailers: Fields) -> None: ...

    def failed(self, reason: Failure) -> None: ...


class BodyTooLarge(Exception):
    """More bytes than the reader allowed."""


_NO_TRAILERS = Fields()


class Body:
    """One message body; ``length`` is its size in bytes where the framing says it, else None.

    At its end, whichever it is, a body lets go of its source and of its sink: nothing is left that only the cycle
    collector could free.
    """

    # Where each body begins; on the class, because most are complete when they come and change little of it.
    _sink: Sink | None = None
    _paused = False
    _done = False
    _failure: Failure | None = None
    _trailers = _NO_TRAILERS
    _attaching = False
    _unwanted = False  # the consumer itself asked for a pause
    _weight = 0  # of what is held: its bytes, and something for each chunk

    def __init__(self, length: int | None, source: Source | None = None) -> None:
        self.length = length
        self._source = source
        self._held: list[bytes] = []

    @classmethod
    def of(cls, data: bytes) -> Body:
        """A complete body that is already here."""
        body = cls(len(data))
        if data:
            body._held.append(data)
        body._done = True
        return body

    # -- for the connection end ------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """More bytes have arrived."""
        if self._sink is not None and not self._held:
            self._sink.received(data)
            return
        self._held.append(data)
        self._weight += len(data) + CHUNK_WEIGHT
        if self._weight >= HIGH_WATER and not self._paused:
            self._pause_source()

    def end(self, trailers: Fields = _NO_TRAILERS) -> None:
        """The body is complete by its framing. ``trailers`` stay apart from the fields (RFC 9110 §6.5)."""
        if self._done:
            return
        self._done = True
        self._trailers = trailers
        self._source = None
        self._tell_end()

    def fail(self, reason: Failure) -> None:
        """The body will not be completed."""
        if self._done:
            return
        self._done = True
        self._failure = reason
        self._source = None
        self._tell_end()

    def _tell_end(self) -> None:
        """Tell the sink how it ended, unless bytes have to be delivered first, and let go of it."""
        if self._sink is None or self._held or self._attaching:
            return
        sink, self._sink = self._sink, _NOWHERE
        if self._failure is not None:
            sink.failed(self._failure)
        else:
            sink.ended(self._trailers)

    # -- for the consumer ------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether every byte has arrived here and the framing is satisfied."""
        return self._done and self._failure is None

    @property
    def held(self) -> int:
        """What waits here for a reader, about, in bytes."""
        return self._weight

    def attach(self, sink: Sink) -> None:
        """Send everything, from the first byte on, to ``sink``; once only."""
        if self._sink is not None:
            raise RuntimeError("a body has one reader")
        self._sink = sink
        self._attaching = True
        at, held = 0, self._held  # chunks stay in place meanwhile, so that one fed from within queues behind them
        while at < len(held):
            sink.received(held[at])
            at += 1
        held.clear()
        self._weight = 0
        self._attaching = False
        if self._done:
            self._tell_end()
        elif not self._unwanted:
            self.resume()

    def pause(self) -> None:
        """Ask the sender to wait; bytes already read may still arrive."""
        self._unwanted = True
        self._pause_source()

    def resume(self) -> None:
        """Ask the sender to go on."""
        self._unwanted = False
        if self._attaching:  # attach() resumes when what was held has been delivered
            return
        if self._paused and self._source is not None:
            self._paused = False
            self._source.resume_body()

    def _pause_source(self) -> None:
        if not self._paused and self._source is not None:
            self._paused = True
            self._source.pause_body()

    def cancel(self) -> None:
        """Throw away the rest; the sink hears nothing more."""
        self._sink = _NOWHERE
        self._held.clear()
        source, self._source = self._source, None
        if source is not None and not self._done:
            source.cancel_body()

    def take(self) -> bytes:
        """All bytes of a body that is :attr:`complete` and was never attached, at once."""
        if not self._done or self._failure is not None or self._sink is not None:
            raise RuntimeError("only a complete body that nobody reads can be taken")
        self._sink = _NOWHERE
        held, self._held = self._held, []
        return held[0] if len(held) == 1 else b"".join(held)

    def collect(self, limit: int) -> Deferred[bytes]:
        """The whole body; fails with :class:`BodyTooLarge` past ``limit`` bytes, or as the body fails."""
        collector = _Collector(self, limit)
        self.attach(collector)
        return collector.done


class _Nowhere:
    """A sink that drops everything."""

    def received(self, data: bytes) -> None: ...

    def ended(self, trailers: Fields) -> None: ...

    def failed(self, reason: Failure) -> None: ...


_NOWHERE = _Nowhere()


class _Collector:
    def __init__(self, body: Body, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: body.cancel())
        self._body = body
        self._limit = limit
        self._data = bytearray()  # not a list: a body may come byte by byte

    def received(self, data: bytes) -> None:
        if len(self._data) + len(data) > self._limit:
            self._data.clear()
            self._body.cancel()
            self.done.errback(Failure(BodyTooLarge(f"more than {self._limit} bytes")))
            return
        self._data += data

    def ended(self, trailers: Fields) -> None:
        self.done.callback(bytes(self._data))

    def failed(self, reason: Failure) -> None:
        self.done.errback(reason)
