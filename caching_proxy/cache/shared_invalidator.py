"""The invalidator of one of several workers: what it begins, its siblings do too, before anybody hears that it is done.

A sibling drops what matches from its memory and from work under way at once. Where each worker has a store of its
own, it has its store remove the same. Where they share one, it is told again when the store has carried it out, as it
may have read the old answer from there in between. What siblings removed counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.pending import OnDone, Pending, Swept, invalidation_of
from caching_proxy.interfaces import ISiblings
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.pattern_set import PatternSet

PATIENCE_SECONDS = 0.25
"""For so long the answer to an unsafe request waits for the store; siblings have dropped everything by then."""

LAST_SECONDS = 10.0
"""And for so long at most for siblings."""


class SharedInvalidator(Invalidator):
    """``own_store``: the store is this worker's alone. The other arguments are those of :class:`Invalidator`."""

    def __init__(self, siblings: ISiblings, own_store: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._siblings = siblings
        self._own_store = own_store
        self._hearing = False
        self._told_again: set[Pending] = set()

    def hear(self, invalidations: Sequence[Invalidation], on_removed: Callable[[set[bytes]], object]) -> None:
        """A sibling invalidates this: it takes effect at once; ``on_removed`` hears which keys were there, once."""
        gathering = _Gathering(on_removed)
        self._hearing = True
        try:
            for invalidation in invalidations:
                if self._own_store:
                    self._carry_out(invalidation, gathering)
                else:
                    self._drop(invalidation, gathering)
        finally:
            self._hearing = False
        gathering.left_one()

    def everywhere(self, done: Deferred[bool]) -> Deferred[None]:
        """Fires when what was begun has taken effect in every worker; never fails unless cancelled.

        ``done`` fires when the store has carried it out, and goes on with its result. A store that all share is waited
        for too, for :data:`PATIENCE_SECONDS` at most.
        """
        return self._reached() if self._own_store else Deferred.fromCoroutine(self._everywhere(done))

    async def _everywhere(self, done: Deferred[bool]) -> None:
        await self._soon(done)
        await self._reached()

    def _reached(self) -> Deferred[None]:
        return self._siblings.reached().addTimeout(LAST_SECONDS, self._clock).addErrback(self._late)

    def _late(self, failure: Failure) -> None:
        failure.trap(TimeoutError)  # who does not answer is killed sooner: it is the supervisor that stands still
        self._log.error("other workers could not be told of an invalidation")

    async def _soon(self, done: Deferred[bool]) -> None:
        enough: Deferred[None] = Deferred()

        def over(result: bool) -> bool:
            if not enough.called:
                enough.callback(None)
            return result

        timer = self._clock.callLater(PATIENCE_SECONDS, over, True)
        done.addCallback(over)
        try:
            await enough
        finally:
            if timer.active():
                timer.cancel()

    def _carry_out(self, invalidation: Invalidation, gathering: _Gathering) -> None:
        soft = invalidation.soft
        for target in invalidation.targets:
            self.invalidate_target(target, gathering.wait(), soft)
        for key in invalidation.keys:
            self._invalidate_key(key, gathering.wait(), counted=False, soft=soft)
        if invalidation.patterns:
            self._invalidate_groups([(invalidation.patterns, gathering.wait())], soft)
        if invalidation.tags:
            self._invalidate_tags(dict.fromkeys(invalidation.tags), gathering.wait, soft)

    def _drop(self, invalidation: Invalidation, gathering: _Gathering) -> None:
        for target in invalidation.targets:
            gathering.removed |= self._memory.drop_target(target)[1]
        for key in invalidation.keys:
            if self._memory.drop_key(key)[1]:
                gathering.removed.add(key)
        if invalidation.patterns:
            _await(self._memory.drop_matching(PatternSet(*invalidation.patterns))[1], gathering.wait())
        if invalidation.tags:
            _await(self._memory.drop_tagged(invalidation.tags)[1], gathering.wait())

    def _add(self, pending: Pending, on_done: OnDone) -> None:
        if self._hearing:
            pending.counted = False
        elif pending.counted:
            self._tell(pending)
        super()._add(pending, on_done)

    def _count(self, pending: Pending) -> None:
        if not self._own_store and pending.counted and pending not in self._told_again:
            self._told_again.add(pending)
            self._tell(pending)
        if pending.gather() is None:
            self._told_again.discard(pending)
            for waiter in pending.waiters:
                if isinstance(waiter, _Report):
                    waiter.removed = pending.removed
        super()._count(pending)

    def _tell(self, pending: Pending) -> None:
        told = Swept(1)
        pending.sweeps.append(told)
        self._siblings.announce(invalidation_of([pending]), told.over)


def _await(swept: Swept, report: _Report) -> None:
    """``report`` hears what the sweeps removed when they are over."""

    def over() -> None:
        report.removed = swept.gone
        report(swept.gone)

    if swept.left:
        swept.then.append(over)
    else:
        over()


class _Gathering:
    """Keys that several removals found, told when all are over."""

    def __init__(self, on_removed: Callable[[set[bytes]], object]) -> None:
        self.removed: set[bytes] = set()
        self._on_removed = on_removed
        self._left = 1

    def wait(self) -> _Report:
        self._left += 1
        return _Report(self)

    def left_one(self) -> None:
        self._left -= 1
        if not self._left:
            self._on_removed(self.removed)


class _Report:
    """An ``OnDone`` that has the keys, however it ends."""

    def __init__(self, gathering: _Gathering) -> None:
        self.removed: set[bytes] = set()
        self._gathering = gathering

    def __call__(self, outcome: set[bytes] | Failure) -> None:
        self._gathering.removed |= self.removed
        self._gathering.left_one()
