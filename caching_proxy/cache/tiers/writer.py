"""Putting entries into the tiers: hot at once, the store behind the answer's back.

Operations on one key reach the store one after another, so the later answer is the one that stays. Writes under way
are bounded; past that an entry stays in memory only. A write whose lease was voided meanwhile is taken back before
anything else happens to its key, so that it cannot undo an invalidation. What the store could not be made to forget
is handed to ``purge_key``, which goes on trying. A store that refuses writes is logged once when that begins and once
when it is over.

With several proxies on one store, a write names the newest invalidation that was applied here (``bus.seen``). The
store refuses it where a later one may concern its key; that is applied first, and the write is sent anew if its lease
has outlived it. So an answer from before an invalidation is never stored after it, whoever invalidated and whatever
messages were lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.key_state import KeyState, Lease
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.variants import VaryNames, field_name
from caching_proxy.interfaces import IInvalidationBus, IStore, Overtaken, StoreError, StoreUnavailable
from caching_proxy.rules.codec import encode
from caching_proxy.rules.entry import CacheEntry

MAX_PENDING_BYTES = 64 * 1024 * 1024

LARGE_BYTES = 1024 * 1024
"""Entries from this size on are encoded one in a turn of the event loop."""

MAX_OVERTAKEN = 10
"""How often a write is sent anew, as there was one more invalidation meanwhile."""

CALM_SECONDS = 10.0
"""Writes work again when one did and none has failed for so long: a store that wavers does not fill the log."""


def _nothing() -> None:
    """What is to be done when nobody waits for the end."""


class Writer:
    """Fills hot tier and store. ``purge_key`` removes a key from every tier, now or later
    (:meth:`Invalidator.purge_key`).

    ``dropped`` counts entries that were never tried because too much was under way, ``failed`` the writes that the
    store did not confirm, ``overtaken`` the times that it refused one for a later invalidation: no failure of its.
    """

    _log = Logger()

    def __init__(
        self,
        hot: HotTier,
        burst: BurstTier,
        store: IStore,
        key_state: KeyState,
        clock: IReactorTime,
        purge_key: Callable[[bytes], None],
        varying: VaryNames,
        bus: IInvalidationBus | None = None,
    ) -> None:
        self._hot = hot
        self._burst = burst
        self._store = store
        self._key_state = key_state
        self._clock = clock
        self._large: deque[tuple[CacheEntry, Lease, Callable[[], None], int, int, int]] = deque()
        self._now: Callable[[], float] = clock.seconds
        self._purge_key = purge_key
        self._varying = varying
        self._bus = bus
        self._pending_bytes = 0
        self.dropped = 0
        self.failed = 0
        self.overtaken = 0
        self._failed_at: float | None = None  # the last failure of an outage that is not over (POSIX seconds)

    def keep(
        self,
        entries: Collection[CacheEntry],
        lease: Lease,
        known: Collection[CacheEntry] = (),
        gone: Collection[CacheEntry] = (),
    ) -> None:
        """Store variants of one key in every tier if ``lease`` is still valid; closes it when all is done.

        ``known`` are the key's variants as read under the lease, of which an invalidation by tags may have taken some
        since; ``gone`` those that ``entries`` replace under another name.
        """
        now, key, alive = self._now(), lease.key, entries
        for entry in entries:
            if entry.tags:
                lease.carry(entry.tags)
            if now >= entry.received_at + entry.keep:
                alive = ()
        if not lease.valid:
            lease.close()
            return
        if alive is not entries:
            alive = [entry for entry in entries if now < entry.received_at + entry.keep]
            gone = [*gone, *(entry for entry in entries if entry not in alive)]
        if known and not all(lease.outlived(entry.tags) for entry in known):
            lease.current = False
        if lease.current or self._hot.holds(key, now):  # else it is not known which variants the record must have
            self._hot.update(key, alive, gone, known, now)
        self._outdate(key)
        if not gone and not alive:
            lease.close()
            return
        over = lease.close if len(gone) + len(alive) == 1 else _last_of(len(gone) + len(alive), lease.close)
        for entry in gone:
            self._discard(entry, over)
        for entry in alive:
            if entry.selecting:
                self._varying.add(entry)
            self._write(entry, lease, over)

    def discard(self, entry: CacheEntry) -> None:
        """Take one variant out of every tier."""
        now = self._now()
        if self._hot.holds(entry.key, now):
            self._hot.update(entry.key, (), (entry,), (), now)
        self._outdate(entry.key)
        self._discard(entry)

    def drain(self) -> Deferred[None]:
        """Fires when everything under way has ended."""
        return self._key_state.drain()

    def _outdate(self, key: bytes) -> None:
        if key in self._burst.answers:
            self._burst.remove(key)
        self._key_state.outdate(key)

    def _write(self, entry: CacheEntry, lease: Lease, over: Callable[[], None]) -> None:
        size = len(entry.key) + len(entry.head) + len(entry.body)  # ``entry.size``, at a frame less
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            self.dropped += 1
            self._discard(entry, over)  # what it replaces must not come back
            return
        self._pending_bytes += size
        self._key_state.in_turn(entry.key, self._put, entry, lease, over, size)

    def _put(
        self, entry: CacheEntry, lease: Lease, over: Callable[[], None], size: int, tries: int = MAX_OVERTAKEN
    ) -> None:
        # Nothing is younger than new: where it seems so, the wall clock was set back since the response came.
        ttl_ms = int(min(entry.received_at + entry.keep - self._now(), entry.keep) * 1000)
        if not lease.valid or ttl_ms <= 0:
            self._ended(entry.key, over, size)
            return
        if size < LARGE_BYTES:
            self._send(entry, lease, over, size, ttl_ms, tries)
            return
        self._large.append((entry, lease, over, size, ttl_ms, tries))
        if len(self._large) == 1:
            self._clock.callLater(0, self._write_large)

    def _write_large(self) -> None:
        """One in a turn of the loop: to encode ten megabytes takes many milliseconds."""
        self._send(*self._large[0])
        self._large.popleft()
        if self._large:
            self._clock.callLater(0, self._write_large)

    def _send(
        self, entry: CacheEntry, lease: Lease, over: Callable[[], None], size: int, ttl_ms: int, tries: int
    ) -> None:
        since = None if self._bus is None else self._bus.seen
        try:
            field = entry.variant or field_name(entry)
            write = self._store.put(entry.key, field, encode(entry), ttl_ms, since, entry.tags)
        except Exception:  # noqa: BLE001 a bug, which must not stand in the way of the key for ever; it is logged
            write = fail()
        write.addBoth(self._answered, entry, lease, over, size, tries)

    def _answered(
        self, result: Failure | None, entry: CacheEntry, lease: Lease, over: Callable[[], None], size: int, tries: int
    ) -> None:
        """A write that failed may have reached the store all the same."""
        if isinstance(result, Failure):
            if self._bus is not None and result.check(Overtaken):
                self.overtaken += 1
                if tries:
                    self._bus.catch_up().addBoth(self._caught_up, entry, lease, over, size, tries)
                    return
                self._log.debug("an entry is kept in memory only: invalidations come faster than it could be written")
            else:
                self._not_written(result)
        elif self._failed_at is not None:
            self._written(self._failed_at)
        if lease.valid:
            self._ended(entry.key, over, size)
        else:
            self._remove(entry).addCallback(lambda _: self._ended(entry.key, over, size))

    def _caught_up(
        self, result: Failure | None, entry: CacheEntry, lease: Lease, over: Callable[[], None], size: int, tries: int
    ) -> None:
        """What overtook the write has been applied here: the lease tells whether it was concerned."""
        if isinstance(result, Failure):
            self._not_written(result)
            self._ended(entry.key, over, size)
        else:
            self._put(entry, lease, over, size, tries - 1)

    def _ended(self, key: bytes, over: Callable[[], None], size: int = 0) -> None:
        self._pending_bytes -= size
        if key in self._burst.answers:
            self._burst.remove(key)  # what was read while the store was at it may be from before
        over()
        self._key_state.end_turn(key)

    def _discard(self, entry: CacheEntry, over: Callable[[], None] = _nothing) -> None:
        """Until the store has forgotten it, nothing that old is believed from there."""
        tombstone = self._key_state.open(entry.key)
        tombstone.void(entry.received_at)
        self._key_state.in_turn(entry.key, self._take_out, entry, tombstone, over)

    def _take_out(self, entry: CacheEntry, tombstone: Lease, over: Callable[[], None]) -> None:
        def ended(_: None) -> None:
            tombstone.close()
            self._ended(entry.key, over)

        self._remove(entry).addCallback(ended)

    def _remove(self, entry: CacheEntry) -> Deferred[None]:
        """Fires when the store has forgotten it or cannot be made to; never fails."""
        asked = maybeDeferred(self._store.discard, entry.key, field_name(entry))
        removal: Deferred[None] = asked.addCallback(lambda _: None)
        return removal.addErrback(self._not_removed, entry.key).addErrback(self._unexpected)

    def _not_written(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        self.failed += 1
        if not failure.check(StoreError):
            self._unexpected(failure)
            return
        reason = failure.getErrorMessage()
        if self._failed_at is None:
            self._log.warn("writes to the store fail, answers are kept in memory only: {reason}", reason=reason)
        elif not failure.check(StoreUnavailable):
            self._log.debug("store write failed: {reason}", reason=reason)
        self._failed_at = self._now()

    def _written(self, failed_at: float) -> None:
        if self._now() - failed_at >= CALM_SECONDS:
            self._failed_at = None
            self._log.info("writes to the store work again; {failed} have failed since the start", failed=self.failed)

    def _not_removed(self, failure: Failure, key: bytes) -> None:
        failure.trap(StoreError)
        self._purge_key(key)

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure("store write failed", failure)


def _last_of(times: int, call: Callable[[], None]) -> Callable[[], None]:
    """What makes ``call`` when it is called itself for the last of so many ``times``."""
    left = times

    def called() -> None:
        nonlocal left
        left -= 1
        if not left:
            call()

    return called
