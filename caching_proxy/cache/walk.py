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
from caching_proxy.cache.pending import Pending, invalidation_of
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


def change_tagged(pending: Pending, store: IStore, clock: IReactorTime) -> Deferred[set[bytes]]:
    """Change what carries the tag that is the subject; the keys concerned."""
    assert isinstance(pending.subject, bytes)
    return Deferred.fromCoroutine(_change_tagged(pending.subject, pending, store, clock))


async def _change_tagged(tag: bytes, pending: Pending, store: IStore, clock: IReactorTime) -> set[bytes]:
    pace, cursor, found = Pace(clock), SCAN_ENDS, set[bytes]()
    fate = Fate.STALE if pending.soft else Fate.DELETED
    moment = pending.at
    while True:
        step = await store.tagged(tag, cursor, fate, moment)
        found.update(step.keys)
        await pace.spend(len(step.keys) * REMOVAL_STEPS)
        cursor = step.cursor
        if cursor == SCAN_ENDS:
            return found


async def change_matching(together: Sequence[Pending], store: IStore, clock: IReactorTime) -> None:
    """One walk over the keys of ``store`` for all of some patterns; what is changed is noted with each."""
    await told_before_and_after(together, store, lambda: Deferred.fromCoroutine(_walk(together, store, clock)))


async def _walk(together: Sequence[Pending], store: IStore, clock: IReactorTime) -> None:
    subjects = [pending.subject for pending in together if isinstance(pending.subject, PatternSet)]
    union = PatternSet(*dict.fromkeys(chain.from_iterable(subject.patterns for subject in subjects)))
    pace, cursor = Pace(clock), SCAN_ENDS
    while True:
        found = await store.scan(cursor, union.prefix)
        await pace.spend(len(found.keys) * SCAN_STEPS)
        for piece in union.slices(found.keys, SLICE_STEPS):
            doomed = list(dict.fromkeys(union.select(piece)))
            await pace.spend(union.steps(piece))
            hits = [set(subject.select(doomed)) for subject in subjects] if doomed else []
            for start in range(0, len(doomed), DELETE_BATCH):
                gone = await _change(doomed[start : start + DELETE_BATCH], together, hits, store)
                for pending, hit in zip(together, hits, strict=False):
                    pending.removed |= gone & hit
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
