"""Putting entries into the tiers: hot at once, the store behind the answer's back.

Operations on one key reach the store one after another, so the later answer is the one that stays. Writes under way
are bounded; past that an entry stays in memory only. A write whose ticket was voided meanwhile is taken back before
anything else happens to its key, so that it cannot undo an invalidation. What the store could not be made to forget
is handed to ``forsake``, which goes on trying. A store that refuses writes is logged once when that begins and once
when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.burst import BurstTier
from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.tickets import Ticket, Tickets
from caching_proxy.cache.variants import field_name
from caching_proxy.core.codec import encode
from caching_proxy.core.entry import CacheEntry
from caching_proxy.interfaces import IStore, StoreError, StoreUnavailable

MAX_PENDING_BYTES = 64 * 1024 * 1024

CALM_SECONDS = 10.0
"""Writes work again when one did and none has failed for so long: a store that wavers does not fill the log."""


class Writer:
    """Fills hot tier and store. ``forsake`` removes a key from every tier, now or later
    (:meth:`Invalidator.forsake`).

    ``dropped`` counts entries that were never tried because too much was under way, ``failed`` the writes that the
    store did not confirm.
    """

    _log = Logger()

    def __init__(
        self,
        hot: HotTier,
        burst: BurstTier,
        store: IStore,
        tickets: Tickets,
        clock: IReactorTime,
        forsake: Callable[[bytes], None],
    ) -> None:
        self._hot = hot
        self._burst = burst
        self._store = store
        self._tickets = tickets
        self._clock = clock
        self._forsake = forsake
        self._turns: dict[bytes, Deferred[None]] = {}  # the last operation on each key that is not over
        self._under_way: set[Deferred[None]] = set()
        self._pending_bytes = 0
        self.dropped = 0
        self.failed = 0
        self._failed_at: float | None = None  # the last failure of an outage that is not over (POSIX seconds)

    def keep(
        self,
        entries: Collection[CacheEntry],
        ticket: Ticket,
        known: Collection[CacheEntry] = (),
        gone: Collection[CacheEntry] = (),
    ) -> None:
        """Store variants of one key in every tier if ``ticket`` is still valid; closes it when all is done.

        ``known`` are the key's variants as read under the ticket; ``gone`` those that ``entries`` replace under
        another name.
        """
        now, key = self._clock.seconds(), ticket.key
        if not ticket.valid:
            ticket.close()
            return
        alive = [entry for entry in entries if now < entry.gone_at]
        gone = [*gone, *(entry for entry in entries if entry not in alive)]
        if ticket.current or self._hot.holds(key, now):  # else it is not known which variants the record must have
            self._hot.update(key, alive, gone, known, now)
        self._outdate(key)
        operations = [self._discard(entry) for entry in gone] + [self._write(entry, ticket) for entry in alive]
        done = operations[0] if len(operations) == 1 else DeferredList(operations)
        done.addCallback(lambda _: ticket.close())

    def discard(self, entry: CacheEntry) -> None:
        """Take one variant out of every tier."""
        now = self._clock.seconds()
        if self._hot.holds(entry.key, now):
            self._hot.update(entry.key, (), (entry,), (), now)
        self._outdate(entry.key)
        self._discard(entry)

    def drain(self) -> Deferred[None]:
        """Fires when everything under way has ended."""
        return DeferredList([_follow(operation) for operation in self._under_way]).addCallback(lambda _: None)

    def _outdate(self, key: bytes) -> None:
        self._burst.remove(key)
        self._tickets.outdate(key)

    def _write(self, entry: CacheEntry, ticket: Ticket) -> Deferred[None]:
        if self._pending_bytes + entry.size > MAX_PENDING_BYTES:
            self.dropped += 1
            return self._discard(entry)  # what it replaces must not come back
        self._pending_bytes += entry.size

        def over(_: None) -> None:
            self._pending_bytes -= entry.size

        return self._in_turn(entry.key, lambda: self._put(entry, ticket)).addCallback(over)

    def _put(self, entry: CacheEntry, ticket: Ticket) -> Deferred[None]:
        ttl_ms = int((entry.gone_at - self._clock.seconds()) * 1000)
        if not ticket.valid or ttl_ms <= 0:
            return succeed(None)
        write = self._store.put(entry.key, field_name(entry), encode(entry), ttl_ms)
        return write.addBoth(self._unless_voided, entry, ticket)

    def _unless_voided(self, result: Failure | None, entry: CacheEntry, ticket: Ticket) -> Deferred[None] | None:
        """A write that failed may have reached the store all the same."""
        if isinstance(result, Failure):
            self._not_written(result)
        elif self._failed_at is not None:
            self._written(self._failed_at)
        return None if ticket.valid else self._remove(entry)

    def _discard(self, entry: CacheEntry) -> Deferred[None]:
        """Until the store has forgotten it, nothing that old is believed from there."""
        veil = self._tickets.open(entry.key)
        veil.void(entry.received_at)
        return self._in_turn(entry.key, lambda: self._remove(entry)).addCallback(lambda _: veil.close())

    def _remove(self, entry: CacheEntry) -> Deferred[None]:
        removal: Deferred[None] = self._store.discard(entry.key, field_name(entry)).addCallback(lambda _: None)
        return removal.addErrback(self._not_removed, entry.key)

    def _in_turn(self, key: bytes, operation: Callable[[], Deferred[None]]) -> Deferred[None]:
        """Do it after whatever is under way for ``key``; the result never fails."""
        before = self._turns.get(key)
        if before is None:
            done = maybeDeferred(operation)
        else:
            turn: Deferred[None] = Deferred()
            before.addCallback(lambda _: turn.callback(None))
            done = turn.addCallback(lambda _: operation())
        self._turns[key] = done
        self._under_way.add(done)
        done.addErrback(self._unexpected)
        return done.addCallback(self._settled, done, key)

    def _settled(self, _: None, done: Deferred[None], key: bytes) -> None:
        self._under_way.discard(done)
        self._outdate(key)  # what was read while the store was at it may be from before
        if self._turns.get(key) is done:
            del self._turns[key]

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
        self._failed_at = self._clock.seconds()

    def _written(self, failed_at: float) -> None:
        if self._clock.seconds() - failed_at >= CALM_SECONDS:
            self._failed_at = None
            self._log.info("writes to the store work again; {failed} have failed since the start", failed=self.failed)

    def _not_removed(self, failure: Failure, key: bytes) -> None:
        failure.trap(StoreError)
        self._forsake(key)

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure("store write failed", failure)


def _follow(deferred: Deferred[None]) -> Deferred[None]:
    """A Deferred that fires when ``deferred`` has, whatever with."""
    follower: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        follower.callback(None)
        return result

    deferred.addBoth(fire)
    return follower
