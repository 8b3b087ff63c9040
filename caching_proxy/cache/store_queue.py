"""Whose turn it is at the store: invalidations that it has yet to carry out.

What is named, a key or one target for every role, is looked up, some at a time and in order. Patterns need a walk over
all keys: all that wait share one. What fails goes to the end and is tried again until it succeeds; with a journal it
stands there before anybody is told that it has to wait. Until the store has carried something out, what it still gives
for a matching key from before is hidden.
"""

from __future__ import annotations

from itertools import chain

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.keeper import JournalKeeper
from caching_proxy.cache.pending import OnDone, Pending, Queue, Waiting, either, hidden_since
from caching_proxy.cache.progress import Progress
from caching_proxy.cache.walk import StoreWork
from caching_proxy.interfaces import IJournal, IStore, Postponed, StoreError

RETRY_SECONDS = 1.0

AT_ONCE = 64
"""Named invalidations that the store carries out side by side."""


class StoreQueue:
    """Has the store carry out what is added; a subclass says what follows from that (:meth:`_carried_out`)."""

    _log = Logger()

    def __init__(self, store: IStore, clock: IReactorTime, journal: IJournal | None) -> None:
        self._work = StoreWork(store, clock)
        self._clock = clock
        self._journal = JournalKeeper(journal)
        self._waiting = Waiting()  # those whose turn has not come
        self._working = Queue()  # named ones that the store is at
        self._passing: list[Pending] = []  # patterns that a walk over the keys is at
        self._walk: Deferred[None] | None = None
        self._starting = False
        self._failures = 0
        self._stopped = False
        self._timer: IDelayedCall | None = None
        self._settling: list[Deferred[None]] = []

    @property
    def progress(self) -> Progress:
        """How far walks over the store are."""
        return self._work.progress

    @property
    def pending(self) -> int:
        """Invalidations that the store has not confirmed."""
        return len(self._waiting) + len(self._working) + len(self._passing)

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
        if self._walk is not None:
            self._walk.cancel()
        for pending in list(self._working.values()):
            if pending.work is not None:
                pending.work.cancel()
        self._disappoint(Failure(StoreError("stopped before the store was told")))

    def _carried_out(self, pending: Pending) -> None:
        """The store has carried out ``pending``; nothing of it waits any more."""
        raise NotImplementedError

    def _hidden_since(self, key: bytes, moment: float) -> float:
        waiting = self._waiting
        if self._passing or waiting.patterns:
            moment = hidden_since(key, waiting.named, chain(self._passing, waiting.patterns.values()), moment)
        elif waiting.named:
            moment = hidden_since(key, waiting.named, (), moment)
        return hidden_since(key, self._working, (), moment) if self._working else moment

    def _add(self, pending: Pending, on_done: OnDone) -> None:
        pending.waiters.append(on_done)
        if self._may_begin(pending):
            self._begin(pending)
        else:
            self._waiting.add(pending)
            self._work_on()

    def _may_begin(self, pending: Pending) -> bool:
        """Whether its turn is now, as nothing waits before it."""
        if not pending.kind or self._waiting.named or self._starting or self._timer is not None or self._stopped:
            return False
        return pending.name not in self._working and len(self._working) < AT_ONCE

    def _work_on(self) -> None:
        if self._starting or self._timer is not None or self._stopped or not self._waiting:
            return
        self._starting = True  # a store that answers at once calls back from within
        try:
            while self._start_all():
                pass
        finally:
            self._starting = False

    def _start_all(self) -> bool:
        """Begin what may begin; whether to go on. Either kind stops at its first failure, not at the other's."""
        before, started = self._failures, False
        for start in (self._start_walk, self._start_named):
            failures = self._failures
            while failures == self._failures and start():
                started = True
        return started and before == self._failures

    def _start_named(self) -> bool:
        """Begin the one whose turn it is. The same as one under way waits for its end, to serve all who ask
        meanwhile."""
        if len(self._working) >= AT_ONCE:
            return False
        for waiting in self._waiting.named.values():
            if waiting.name not in self._working:
                break
        else:
            return False
        self._begin(self._waiting.named.take(waiting.name))
        return True

    def _begin(self, pending: Pending) -> None:
        self._working.add(pending)
        pending.work = work = self._work.named(pending)
        work.addCallbacks(self._confirmed, self._postponed, callbackArgs=(pending,), errbackArgs=(pending,))

    def _start_walk(self) -> bool:
        if self._passing or not self._waiting.patterns:
            return False
        self._passing = self._waiting.patterns.take_all()
        self._walk = self._work.matching(self._passing)
        self._walk.addCallbacks(lambda _: self._walked(), self._not_walked)
        return True

    def _walked(self) -> None:
        over, self._passing, self._walk = self._passing, [], None
        for pending in over:
            self._carried_out(pending)
        self._carry_on()

    def _not_walked(self, failure: Failure) -> None:
        over, self._passing, self._walk = self._passing, [], None
        later = self._waiting.patterns.take_all()
        for pending in (*over, *later):
            self._waiting.add(pending)
        self._try_later(failure, "of patterns")

    def _confirmed(self, gone: set[bytes], pending: Pending) -> None:
        self._working.take(pending.name)
        if gone:
            pending.removed = either(pending.removed, gone)
        self._carried_out(pending)
        self._carry_on()

    def _postponed(self, failure: Failure, pending: Pending) -> None:
        """It goes to the end: one that can never succeed must not keep the others waiting."""
        self._working.take(pending.name)
        later = self._waiting.named.get(pending.name)
        if later is not None:  # asked for again meanwhile
            self._waiting.named.take(pending.name)
            pending.absorb(later)
        self._waiting.add(pending)
        self._try_later(failure, pending.name.decode("latin-1"))

    def _carry_on(self) -> None:
        waiting = self._waiting
        if waiting.named or waiting.patterns:
            self._work_on()
        elif not self._working and not self._passing:
            self._journal.clear()
            if self._settling:
                self._settle()

    def _try_later(self, failure: Failure, what: str) -> None:
        self._failures += 1
        if self._stopped:
            failure = Failure(StoreError("stopped before the store was told"))
        else:
            if not failure.check(StoreError):
                self._log.failure("invalidation {what} failed", failure, what=what)
            if self._timer is None:
                self._timer = self._clock.callLater(RETRY_SECONDS, self._retry)
        self._disappoint(failure)

    def _disappoint(self, failure: Failure) -> None:
        """Tell everybody whose turn has not come that it will take longer, once that is in the journal."""
        waiting = list(self._waiting.everything())
        told = [on_done for pending in waiting for on_done in pending.take_waiters()]

        def tell(kept: bool) -> None:
            outcome = Failure(Postponed(failure.getErrorMessage(), kept)) if failure.check(StoreError) else failure
            for on_done in told:
                on_done(outcome)
            self._settle()

        self._journal.keep(waiting, tell)

    def _retry(self) -> None:
        self._timer = None
        self._work_on()
