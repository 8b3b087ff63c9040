"""A backend's body on its way to the clients that wait for it and, at the same time, into the cache.

While it is collected for the cache nothing holds it back, since every byte is kept anyway, and each client reads the
collected bytes at its own pace: the one that it was fetched for, and those who asked for the same meanwhile. Once it
has outgrown the limit it merely streams: nobody can join any more, it goes on at the pace of the fastest reader, and
a reader that falls behind by more than the limit is cut off rather than made everybody's pace.

Bytes collected by all fills together are bounded, and so is what is kept for readers that are slower than the backend
(``rules.slow_readers``). When the last client has left, a fetch goes on only for a moment:
long enough for what is nearly here, not long enough to keep a backend connection busy for nobody (Squid's
``quick_abort``).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from caching_proxy.cache.backend.tee_reader import TeeReader
from caching_proxy.http.body import HIGH_WATER, Body
from caching_proxy.http.messages import Fields
from caching_proxy.interfaces import IncompleteBody
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.slow_readers import KEPT_BYTES, too_slow

BUDGET = 48 * 1024 * 1024
"""Bytes that all bodies on their way may hold for the cache. Past that they stream without being stored."""

SMALL = 64 * 1024
"""Bodies up to here are collected however much is kept for slow readers."""

TICK = 1.0
"""Seconds between two looks at them."""

NEARLY_HERE = 64 * 1024
"""Bytes missing of a known length that count as little."""

NEARLY_HERE_SECONDS = 10.0
ABANDONED_SECONDS = 2.0
"""How long a fetch goes on that nobody waits for, by whether little of a known length is missing."""

Done = Callable[[bytes | Refusal], None]


class Fills:
    """Makes fills with one budget and one clock. ``limit`` is the size in bytes up to which a body is stored."""

    def __init__(self, clock: IReactorTime, limit: int, budget: int = BUDGET, patience: float = 60.0) -> None:
        self.clock = clock
        self.limit = limit
        self.patience = patience
        """Seconds that a fetch made for the cache alone may take."""
        self.most_behind = max(KEPT_BYTES, 2 * limit)
        """Bytes that may be kept for readers that are behind before nothing large is collected any more."""
        self._left = max(budget, 2 * limit)
        self._behind: dict[Tee, None] = {}
        self._ticking: IDelayedCall | None = None

    @property
    def left(self) -> int:
        """Bytes that may still be collected."""
        return self._left

    def begin(self, upstream: Body, done: Done) -> tuple[Tee, Body] | None:
        """Start collecting ``upstream``; the fill and the body for its first reader, or None if there is no room.

        ``done`` is called once, with the whole body or with the reason why there is none to store.
        """
        reserved = upstream.length or 0
        if not self.take(reserved, reserved):
            return None
        fill = Tee(self, upstream, done, reserved)
        body = fill.reader()
        upstream.attach(fill)
        return fill, body

    @property
    def behind(self) -> int:
        """Bytes that are kept only because some reader has not taken them yet."""
        return sum(tee.kept for tee in self._behind)

    def take(self, size: int, whole: int) -> bool:
        """Reserve ``size`` bytes for a body of ``whole`` bytes so far; whether there was room."""
        if size > self._left or (whole > SMALL and self._behind and self.behind > self.most_behind):
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Return what was reserved."""
        self._left += size

    def fell_behind(self, tee: Tee) -> None:
        """``tee`` is kept for its readers alone from now on."""
        self._behind[tee] = None
        if self._ticking is None:
            self._ticking = self.clock.callLater(TICK, self._tick)

    def caught_up(self, tee: Tee) -> None:
        """Nobody needs ``tee`` any more."""
        self._behind.pop(tee, None)
        if not self._behind and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def _tick(self) -> None:
        self._ticking = self.clock.callLater(TICK, self._tick)
        now, kept = self.clock.seconds(), self.behind
        if kept > self.most_behind:
            for tee in list(self._behind):
                tee.drop_slow(now, kept)


class Tee:
    """One body being collected; the sink of the upstream body. Ends by itself, and holds nobody after its end."""

    __slots__ = (
        "_base",
        "_behind_at",
        "_collecting",
        "_data",
        "_done",
        "_failure",
        "_fills",
        "_over",
        "_readers",
        "_reserved",
        "_size",
        "_timer",
        "_upstream",
        "length",
        "unattended",
    )

    def __init__(self, fills: Fills, upstream: Body, done: Done, reserved: int) -> None:
        self.length = upstream.length
        self.unattended = False
        """Set for a fetch that the cache itself wants: it goes on without any reader."""
        self._fills = fills
        self._upstream: Body | None = upstream
        self._done: Done | None = done
        self._reserved = reserved
        self._data: bytearray | bytes = bytearray()
        self._base = 0  # position in the body of the first byte of _data
        self._size = 0
        self._collecting = True
        self._over = False
        self._failure: Failure | None = None
        self._readers: list[TeeReader] = []
        self._timer: IDelayedCall | None = None
        self._behind_at: float | None = None  # since when it is kept for its readers alone

    @property
    def kept(self) -> int:
        """Bytes in memory."""
        return len(self._data)

    @property
    def open(self) -> bool:
        """Whether one more reader can have all of it."""
        return self._collecting

    def reader(self) -> Body:
        """The whole body for one more client, from its first byte on, as it comes; only while :attr:`open`."""
        self._stop_timer()
        reader = TeeReader(self)
        reader.body = Body(self.length, reader)
        self._readers.append(reader)
        reader.push()
        return reader.body

    # -- from the backend ------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        before, self._size = self._size, self._size + len(data)
        if self._collecting:
            self._reserve()
        ready = [reader for reader in self._readers if reader.at == before and reader.ready]
        for reader in ready:
            reader.at = self._size
        if self._collecting or len(ready) < len(self._readers):
            assert isinstance(self._data, bytearray)
            self._data += data
        else:
            self._data, self._base = bytearray(), self._size
        for reader in ready:
            reader.body.feed(data)
        if not self._collecting:
            self._trim()

    def _reserve(self) -> None:
        """Account for what has come; not for the cache any more where it is too much."""
        if self._size > self._fills.limit:
            self._give_up(Refusal.TOO_LARGE)
            return
        missing = self._size - self._reserved
        if missing > 0:
            step = max(missing, HIGH_WATER)
            if self._fills.take(step, self._size):
                self._reserved += step
            else:
                self._give_up(Refusal.MEMORY)

    def ended(self, trailers: Fields) -> None:
        if self._collecting:
            self._data = bytes(self._data)
            self._end(self._data)
        else:
            self._end(None)

    def failed(self, reason: Failure) -> None:
        self._failure = reason
        self._end(Refusal.INCOMPLETE if self._collecting else None)

    def _end(self, outcome: bytes | Refusal | None) -> None:
        """The last byte is here, or never will be: let go of everybody but readers who are not there yet."""
        self._over = True
        self._collecting = False
        self._upstream = None
        self._stop_timer()
        done, self._done = self._done, None
        if outcome is not None and done is not None:
            done(outcome)
        self._fills.give(self._reserved)
        self._reserved = 0
        for reader in list(self._readers):
            reader.push()
        self._for_readers_alone()

    def _for_readers_alone(self) -> None:
        """What is still here is not for the cache."""
        if self._readers and self._behind_at is None:
            self._behind_at = self._fills.clock.seconds()
            for reader in self._readers:
                reader.behind_from = reader.at
            self._fills.fell_behind(self)

    def drop_slow(self, now: float, kept: int) -> None:
        """Cut off readers for whom too much is kept, of all that is ``kept`` for readers of all fills."""
        seconds = now - (self._behind_at if self._behind_at is not None else now)
        for reader in list(self._readers):
            behind = reader.at < self._size
            if behind and too_slow(reader.at - reader.behind_from, seconds, kept, self._fills.most_behind):
                self._remove(reader)
                reader.cut(Failure(IncompleteBody("too slow, and others need the memory")))
        self._trim()

    def _remove(self, reader: TeeReader) -> None:
        self._readers.remove(reader)
        if not self._readers and self._behind_at is not None:
            self._fills.caught_up(self)

    def _give_up(self, reason: Refusal) -> None:
        """Not for the cache any more."""
        self._collecting = False
        self._fills.give(self._reserved)
        self._reserved = 0
        done, self._done = self._done, None
        if done is not None:
            done(reason)
        if not self._readers:
            self._drop()
        self._for_readers_alone()

    def _drop(self) -> None:
        """Nobody wants the rest."""
        upstream, self._upstream = self._upstream, None
        self._over = True
        self._stop_timer()
        self._failure = self._failure or Failure(IncompleteBody("given up"))
        self._data = b""
        if upstream is not None:
            upstream.cancel()

    # -- from the readers ------------------------------------------------------------------------

    def read(self, at: int) -> bytes:
        """Some bytes from position ``at`` on; none if there are no more yet."""
        start = at - self._base
        return bytes(memoryview(self._data)[start : start + HIGH_WATER])

    def finish(self, reader: TeeReader) -> bool:
        """Whether ``reader``, who has read all there is, is at the end; it is told so."""
        if not self._over:
            self._trim()
            return False
        self._remove(reader)
        if self._failure is None:
            reader.body.end()
        else:
            reader.body.fail(self._failure)
        return True

    def held(self) -> None:
        """A reader is not ready for more."""
        if not self._collecting:
            self._trim()

    def left(self, reader: TeeReader) -> None:
        """The client of ``reader`` is gone."""
        if reader in self._readers:
            self._remove(reader)
        if self._over:
            return
        if self._readers:
            self._trim()
        elif not self._collecting:
            self._drop()
        else:
            self._abandoned()

    def _abandoned(self) -> None:
        if self.unattended:
            seconds = self._fills.patience
        elif self.length is not None and self.length - self._size <= NEARLY_HERE:
            seconds = NEARLY_HERE_SECONDS
        else:
            seconds = ABANDONED_SECONDS
        self._timer = self._fills.clock.callLater(seconds, self._patience_over)

    def _patience_over(self) -> None:
        self._timer = None
        self._give_up(Refusal.INCOMPLETE)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _trim(self) -> None:
        """Past the limit: forget what everybody has read, cut off who is too far behind, hold the backend back."""
        if self._collecting or self._over or not self._readers:
            return
        for reader in [each for each in self._readers if self._size - each.at > self._fills.limit + HIGH_WATER]:
            if len(self._readers) > 1:
                self._remove(reader)
                reader.cut(Failure(IncompleteBody("too far behind the others")))
        slowest = min(reader.at for reader in self._readers)
        assert isinstance(self._data, bytearray)
        del self._data[: slowest - self._base]
        self._base = slowest
        upstream = self._upstream
        if upstream is not None:
            if self._size - max(reader.at for reader in self._readers) >= HIGH_WATER or not any(
                reader.ready for reader in self._readers
            ):
                upstream.pause()
            else:
                upstream.resume()
