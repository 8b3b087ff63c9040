"""One invalidation, every tier.

It takes effect in this process at once: memory tiers are purged, work under way that matches is voided, and until
the store has carried it out too, whatever the store still gives for a matching key from before that moment is
hidden. Should the store be down, the invalidation waits here and is tried again until it succeeds: nothing is lost,
and nobody is served what was invalidated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.burst import BurstTier
from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.single_flight import SingleFlight
from caching_proxy.cache.tickets import KeyTest, Tickets
from caching_proxy.core.glob import compile_glob
from caching_proxy.core.key import target_in
from caching_proxy.interfaces import IStore, StoreError

RETRY_SECONDS = 1.0
MAX_PENDING = 1000
"""Invalidations waiting for the store; past that they are merged into one that covers every key."""

AT_ONCE = 64
"""Invalidations that the store carries out side by side."""

DELETE_BATCH = 500
EVERYTHING = b"cache:*"


Told = Callable[[int | Failure], object]
"""Hears once how many keys were removed, or that the store could not carry it out yet."""


@attrs.define(slots=True, eq=False)
class Pending:
    """An invalidation that the store has not confirmed; ``at`` is POSIX seconds."""

    name: bytes
    matches: KeyTest
    carry_out: Callable[[], Deferred[set[bytes]]]
    at: float
    removed: set[bytes]
    counted: bool = True
    waiters: list[Told] = attrs.field(factory=list)
    work: Deferred[set[bytes]] | None = None


class Invalidator:
    """Carries invalidations to the memory tiers, to work under way and, some at a time, to the store."""

    _log = Logger()

    def __init__(
        self,
        hot: HotTier,
        burst: BurstTier,
        tickets: Tickets,
        flights: SingleFlight,
        store: IStore,
        clock: IReactorTime,
        observe: Callable[[int], None] = lambda removed: None,
    ) -> None:
        self._hot = hot
        self._burst = burst
        self._tickets = tickets
        self._flights = flights
        self._store = store
        self._clock = clock
        self._observe = observe
        self._waiting: dict[bytes, Pending] = {}  # by name, those whose turn has not come
        self._working: dict[bytes, Pending] = {}  # by name, those that the store is at
        self._starting = False
        self._stopped = False
        self._timer: IDelayedCall | None = None
        self._settling: list[Deferred[None]] = []

    def invalidate(self, *patterns: bytes) -> Deferred[int]:
        """Remove every key that matches one of some Redis globs; fires with how many distinct keys left any tier.

        Fails with :class:`StoreError` if the store cannot carry it out now; the invalidation stays pending all the
        same.
        """
        tests = [compile_glob(pattern) for pattern in patterns]
        matches = tests[0] if len(tests) == 1 else lambda key: any(test(key) for test in tests)
        removed = {*self._hot.remove_matching(matches), *self._burst.remove_matching(matches)}
        name = patterns[0] if len(patterns) == 1 else b"any of %a" % (patterns,)
        answer: Deferred[int] = Deferred()
        self._add(name, matches, lambda: self._delete_matching(*patterns), removed, answer.callback)
        return answer

    def invalidate_target(self, target: bytes, told: Told) -> None:
        """Remove what is stored for one target (as it stands in keys), for every role, every variant.

        Every change that passes through comes here: hence no Deferred; ``told`` hears what :meth:`invalidate` fires
        or fails with.
        """

        def matches(key: bytes) -> bool:
            return key.endswith(target) and target_in(key) == target

        removed = {*self._hot.remove_target(target), *self._burst.remove_target(target)}
        self._add(b"target " + target, matches, lambda: self._store.delete_target(target), removed, told)

    def forsake(self, key: bytes) -> None:
        """Remove one key that could not be put right in the store; tried until it succeeds."""
        self._hot.remove(key)
        self._burst.remove(key)
        self._add(b"key " + key, key.__eq__, lambda: self._store.delete([key]), set(), _nobody, counted=False)

    def horizon(self, key: bytes) -> float:
        """The moment (POSIX seconds) up to which whatever the store gives for ``key`` is invalid; -inf if there is
        nothing that the store has yet to carry out."""
        moment = self._tickets.voided_at(key)
        if self._waiting or self._working:
            for pending in self._all():
                if pending.at > moment and pending.matches(key):
                    moment = pending.at
        return moment

    def hides(self, key: bytes) -> bool:
        """Whether the store has yet to remove ``key``."""
        return any(pending.matches(key) for pending in self._all())

    @property
    def pending(self) -> int:
        """Invalidations that the store has not confirmed."""
        return len(self._waiting) + len(self._working)

    def _all(self) -> Iterator[Pending]:
        return chain(self._working.values(), self._waiting.values())

    def settled(self) -> Deferred[None]:
        """Fires when the store has carried out everything or has failed once more; :attr:`pending` tells which."""
        done: Deferred[None] = Deferred()
        self._settling.append(done)
        if self._timer is not None:
            self._timer.cancel()
            self._retry()
        if not self.pending:
            self._settle()
        return done

    def _settle(self) -> None:
        waiting, self._settling = self._settling, []
        for done in waiting:
            done.callback(None)

    def stop(self) -> None:
        """No more tries."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in list(self._working.values()):
            if pending.work is not None:
                pending.work.cancel()
        self._disappoint(Failure(StoreError("stopped before the store was told")))

    def _add(
        self,
        name: bytes,
        matches: KeyTest,
        carry_out: Callable[[], Deferred[set[bytes]]],
        removed: set[bytes],
        told: Told,
        counted: bool = True,
    ) -> None:
        """The rest of an invalidation; ``removed`` are the keys that left the memory tiers."""
        now = self._clock.seconds()
        if len(self._tickets):
            self._flights.forget(self._tickets.void(matches, now))
        pending = self._waiting.get(name)
        if pending is None:
            if self.pending >= MAX_PENDING:
                self._merge(now)
            pending = self._waiting[name] = Pending(name, matches, carry_out, now, removed, counted)
        else:  # the same once more before its turn came: the store's part serves both
            pending.at = now
            pending.removed |= removed
        pending.waiters.append(told)
        self._work_on()

    def _merge(self, now: float) -> None:
        others = self._waiting.values()
        self._log.warn("{n} invalidations wait for the store; merged into one of every key", n=len(others))
        merged = Pending(EVERYTHING, lambda key: True, lambda: self._delete_matching(EVERYTHING), now, set())
        for pending in others:
            merged.removed |= pending.removed
            merged.waiters += pending.waiters
        self._waiting = {EVERYTHING: merged}

    async def _delete(self, patterns: tuple[bytes, ...]) -> set[bytes]:
        gone: set[bytes] = set()
        for pattern in patterns:
            keys = await self._store.scan(pattern)
            for start in range(0, len(keys), DELETE_BATCH):
                gone |= await self._store.delete(keys[start : start + DELETE_BATCH])
        return gone

    def _delete_matching(self, *patterns: bytes) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete(patterns))

    def _work_on(self) -> None:
        if self._starting:  # a store that answers at once calls back from within
            return
        self._starting = True
        try:
            while (pending := self._next()) is not None:
                self._working[pending.name] = self._waiting.pop(pending.name)
                pending.work = work = pending.carry_out()
                work.addCallbacks(self._confirmed, self._postponed, callbackArgs=(pending,), errbackArgs=(pending,))
        finally:
            self._starting = False

    def _next(self) -> Pending | None:
        """The one whose turn it is; the same as one under way waits for its end, to serve all who ask meanwhile."""
        if not self._waiting or self._timer is not None or self._stopped or len(self._working) >= AT_ONCE:
            return None
        for name, pending in self._waiting.items():
            if name not in self._working:
                return pending
        return None

    def _confirmed(self, gone: set[bytes], pending: Pending) -> None:
        del self._working[pending.name]
        removed = len(pending.removed | gone)
        if pending.counted:
            self._observe(removed)
        for told in pending.waiters:
            told(removed)
        if self._settling and not self.pending:
            self._settle()
        self._work_on()

    def _postponed(self, failure: Failure, pending: Pending) -> None:
        del self._working[pending.name]
        if self._stopped:
            failure = Failure(StoreError("stopped before the store was told"))
        else:
            if not failure.check(StoreError):
                self._log.failure("invalidation of {name} failed", failure, name=pending.name.decode("latin-1"))
            if self._timer is None:
                self._timer = self._clock.callLater(RETRY_SECONDS, self._retry)
        self._put_back(pending)
        self._disappoint(failure)
        self._settle()

    def _put_back(self, pending: Pending) -> None:
        """At the end: one that can never succeed must not keep the others waiting."""
        later = self._waiting.pop(pending.name, None)
        if later is not None:  # asked for again meanwhile
            pending.at = later.at
            pending.removed |= later.removed
            pending.waiters += later.waiters
        self._waiting[pending.name] = pending

    def _disappoint(self, failure: Failure) -> None:
        """Tell everybody whose turn has not come that it will take longer."""
        for pending in self._waiting.values():
            waiters, pending.waiters = pending.waiters, []
            for told in waiters:
                told(failure)

    def _retry(self) -> None:
        self._timer = None
        self._work_on()


def _nobody(_: int | Failure) -> None:
    """Nobody wants to hear it."""
