"""What the store has to do for an invalidation that no script of its own carries out at once, step by step.

The other proxies are told before anything is changed, so that no answer from before is stored after it, and once more
when all is done, as they may have read the old answer in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.pace import SLICE_STEPS, Pace
from caching_proxy.cache.pending import TAG, TARGET, Pending, invalidation_of
from caching_proxy.cache.progress import Progress
from caching_proxy.interfaces import SCAN_ENDS, Fate, IStore
from caching_proxy.rules.pattern_set import REMOVAL_STEPS, SCAN_STEPS, PatternSet

T = TypeVar("T")

DELETE_BATCH = 500


async def told_before_and_after(together: Sequence[Pending], store: IStore, change: Callable[[], Deferred[T]]) -> T:
    """``change`` between two words to the other proxies."""
    told = invalidation_of(together)
    await store.mark(told)
    changed = await change()
    await store.mark(told)
    return changed


class StoreWork:
    """Carries invalidations out in ``store``; ``progress`` shows how far long ones are."""

    def __init__(self, store: IStore, clock: IReactorTime) -> None:
        self.progress = Progress(clock)
        self._store = store
        self._clock = clock

    def named(self, pending: Pending) -> Deferred[set[bytes]]:
        """Change what is for a target or a key, or carries a tag; the keys concerned."""
        assert isinstance(pending.subject, bytes)
        store, subject, moment = self._store, pending.subject, pending.at
        if pending.kind is TARGET:
            if not pending.soft:
                return store.delete_target(subject)
            return self._in_order([pending], lambda: store.soften_target(subject, moment))
        if pending.kind is TAG:
            return self._in_order([pending], lambda: Deferred.fromCoroutine(self._change_tagged(subject, pending)))
        if pending.soft:
            return self._in_order([pending], lambda: store.soften([subject], moment))
        if pending.counted:
            return self._in_order([pending], lambda: store.delete([subject]))
        return store.delete([subject])

    def matching(self, together: Sequence[Pending]) -> Deferred[None]:
        """One walk over all keys for all of some patterns; what is changed is noted with each."""
        return self._in_order(together, lambda: Deferred.fromCoroutine(self._change_matching(together)))

    def _in_order(self, together: Sequence[Pending], change: Callable[[], Deferred[T]]) -> Deferred[T]:
        return Deferred.fromCoroutine(told_before_and_after(together, self._store, change))

    async def _change_tagged(self, tag: bytes, pending: Pending) -> set[bytes]:
        pace, cursor, found = Pace(self._clock), SCAN_ENDS, set[bytes]()
        fate = Fate.STALE if pending.soft else Fate.DELETED
        with self.progress.walk(pending.name) as walk:
            while True:
                step = await self._store.tagged(tag, cursor, fate, pending.at)
                found.update(step.keys)
                walk.step(len(step.keys), len(step.keys))
                await pace.spend(len(step.keys) * REMOVAL_STEPS)
                cursor = step.cursor
                if cursor == SCAN_ENDS:
                    return found

    async def _change_matching(self, together: Sequence[Pending]) -> None:
        subjects = [pending.subject for pending in together if isinstance(pending.subject, PatternSet)]
        union = PatternSet(*dict.fromkeys(chain.from_iterable(subject.patterns for subject in subjects)))
        pace, cursor = Pace(self._clock), SCAN_ENDS
        with self.progress.walk(b" ".join(union.patterns)) as walk:
            while True:
                found = await self._store.scan(cursor, union.prefix)
                walk.step(len(found.keys))
                await pace.spend(len(found.keys) * SCAN_STEPS)
                for piece in union.slices(found.keys, SLICE_STEPS):
                    doomed = list(dict.fromkeys(union.select(piece)))
                    await pace.spend(union.steps(piece))
                    hits = [set(subject.select(doomed)) for subject in subjects] if doomed else []
                    for start in range(0, len(doomed), DELETE_BATCH):
                        gone = await _change(doomed[start : start + DELETE_BATCH], together, hits, self._store)
                        for pending, hit in zip(together, hits, strict=False):
                            pending.note(gone & hit)
                        walk.step(0, len(gone))
                        await pace.spend(len(gone) * REMOVAL_STEPS)
                cursor = found.cursor
                if cursor == SCAN_ENDS:
                    return


async def _change(keys: list[bytes], together: Sequence[Pending], hits: list[set[bytes]], store: IStore) -> set[bytes]:
    """Delete ``keys``, or note that they are stale where all that hit them are soft; those that existed."""
    soft = [pending for pending in together if pending.soft]
    if not soft:
        return await store.delete(keys)
    hard = set().union(*(hit for pending, hit in zip(together, hits, strict=True) if not pending.soft))
    moment = max(pending.at for pending in soft)
    softened = await store.soften([key for key in keys if key not in hard], moment)
    return softened | await store.delete([key for key in keys if key in hard])
