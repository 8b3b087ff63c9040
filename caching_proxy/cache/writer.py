"""Putting an entry into the tiers: hot at once, the store behind the answer's back.

Writes under way are bounded; past that an entry stays in memory only. A write whose ticket was voided meanwhile is
taken back when it is done, so that it cannot undo an invalidation.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.burst import BurstTier
from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.tickets import Ticket
from caching_proxy.core.codec import encode
from caching_proxy.core.entry import CacheEntry, Flag
from caching_proxy.core.variance import variant_id
from caching_proxy.interfaces import IStore, StoreError, StoreUnavailable

MAX_PENDING_BYTES = 64 * 1024 * 1024


def field_name(entry: CacheEntry) -> bytes:
    """The field of the key's hash under which ``entry`` is stored: its variant, parts apart from the whole."""
    return variant_id(entry.selecting, Flag.PARTIAL in entry.flags)


class Writer:
    """Fills hot tier and store."""

    _log = Logger()

    def __init__(self, hot: HotTier, burst: BurstTier, store: IStore, clock: IReactorTime) -> None:
        self._hot = hot
        self._burst = burst
        self._store = store
        self._clock = clock
        self._under_way: set[Deferred[None]] = set()
        self._pending_bytes = 0
        self.dropped = 0

    def keep(self, entries: Sequence[CacheEntry], ticket: Ticket) -> None:
        """Store variants of one key in every tier if ``ticket`` is still valid; closes it when all is done."""
        if not ticket.valid:
            ticket.close()
            return
        writes = [write for write in map(self._write, entries) if write is not None]
        if not writes:
            ticket.close()
            return
        DeferredList(writes).addCallback(self._written, ticket)

    def _write(self, entry: CacheEntry) -> Deferred[None] | None:
        now = self._clock.seconds()
        ttl_ms = int((entry.gone_at - now) * 1000)
        if ttl_ms <= 0:
            return None
        self._hot.put(entry, now)
        self._burst.remove(entry.key)
        if self._pending_bytes + entry.size > MAX_PENDING_BYTES:
            self.dropped += 1
            return None
        self._pending_bytes += entry.size
        write = self._store.put(entry.key, field_name(entry), encode(entry), ttl_ms)
        self._under_way.add(write)
        write.addErrback(self._not_written).addErrback(self._unexpected)
        return write.addCallback(self._settled, write, entry.size)

    def discard(self, entry: CacheEntry) -> None:
        """Take one variant out of every tier."""
        self._hot.remove(entry.key)
        self._burst.remove(entry.key)
        self._store.discard(entry.key, field_name(entry)).addErrback(self._not_written)

    def drain(self) -> Deferred[None]:
        """Fires when every write under way has ended."""
        return DeferredList([_follow(write) for write in self._under_way]).addCallback(lambda _: None)

    def _written(self, _: object, ticket: Ticket) -> None:
        if not ticket.valid:
            self._store.delete([ticket.key]).addErrback(self._not_written)
        ticket.close()

    def _not_written(self, failure: Failure) -> None:
        failure.trap(StoreError)
        if not failure.check(StoreUnavailable):
            self._log.debug("store write failed: {reason}", reason=failure.getErrorMessage())

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure("store write failed", failure)

    def _settled(self, _: None, write: Deferred[None], size: int) -> None:
        self._under_way.discard(write)
        self._pending_bytes -= size


def _follow(deferred: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when ``deferred`` has, whatever with."""
    follower: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        follower.callback(None)
        return result

    deferred.addBoth(fire)
    return follower
