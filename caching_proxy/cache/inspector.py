"""Looking into the cache from outside: which keys there are, and what a key holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from heapq import merge
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.invalidator import EVERYTHING, Invalidator
from caching_proxy.cache.pace import SLICE_STEPS, Pace
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import stored_entry
from caching_proxy.cache.tiers.variants import latest_of_each
from caching_proxy.interfaces import SCAN_ENDS, Fate, IStore, Stored, Unreadable
from caching_proxy.rules.codec import CodecError
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.listing import MEMORY, STORE, Cursor, Page, take
from caching_proxy.rules.pattern_set import SCAN_STEPS, PatternSet

PAGE = 10_000
"""Keys on a page whose size nobody asked for."""

RUN = 2000
SORT_STEPS = 150
"""What a key costs, sorted into others, as in :mod:`caching_proxy.rules.pattern_set`."""


class Inspector:
    """Sees hot tier and store as one. What was invalidated is not shown, even if the store still has it."""

    def __init__(self, hot: HotTier, store: IStore, invalidator: Invalidator, clock: IReactorTime) -> None:
        self._hot = hot
        self._store = store
        self._invalidator = invalidator
        self._clock = clock

    def keys(self, pattern: bytes | None, limit: int | None = None, cursor: Cursor | None = None) -> Deferred[Page]:
        """Keys that match a glob, at most ``limit`` (else :data:`PAGE`), from ``cursor`` on.

        A key that is there all the while comes on one of the pages at least. Fails with :class:`StoreError` if the
        store does.
        """
        start = cursor or Cursor(STORE, SCAN_ENDS)
        return Deferred.fromCoroutine(self._page(PatternSet(pattern or EVERYTHING), limit or PAGE, start))

    def tagged(self, tags: Collection[bytes]) -> Deferred[set[bytes]]:
        """The keys with a variant that carries one of ``tags``; fails with :class:`StoreError` if the store does."""
        return Deferred.fromCoroutine(self._tagged(dict.fromkeys(tags)))

    def entries(self, key: bytes) -> Deferred[list[CacheEntry]]:
        """Every variant of ``key``; empty if there is none, or something that is not ours."""
        return Deferred.fromCoroutine(self._entries(key))

    async def _tagged(self, tags: Collection[bytes]) -> set[bytes]:
        now, pace = self._clock.seconds(), Pace(self._clock)
        found = {key for key in self._hot.tagged(tags) if self._hot.holds(key, now)}
        for tag in tags:
            cursor = SCAN_ENDS
            while True:
                step = await self._store.tagged(tag, cursor, Fate.KEPT)
                await pace.spend(len(step.keys) * SCAN_STEPS)
                found.update(key for key in step.keys if not self._invalidator.hides(key))
                cursor = step.cursor
                if cursor == SCAN_ENDS:
                    break
        return found

    async def _page(self, pattern: PatternSet, limit: int, start: Cursor) -> Page:
        pace = Pace(self._clock)
        found: dict[bytes, None] = {}
        at: Cursor | None = start
        while at is not None and len(found) < limit:
            keys, after = await (self._step(pattern, at) if at.stage == STORE else self._unstored(pattern, pace))
            chosen: list[bytes] = []
            for piece in pattern.slices(keys, SLICE_STEPS):
                chosen += await self._chosen(pattern, piece, pace)
            taken, last = take([key for key in chosen if key not in found], at.after, limit - len(found))
            found.update(dict.fromkeys(taken))
            at = Cursor(at.stage, at.step, last) if last else after
        return Page(await in_order(list(found), pace), None if at is None else bytes(at))

    async def _step(self, pattern: PatternSet, at: Cursor) -> tuple[Sequence[bytes], Cursor | None]:
        """A step of the store's walk, and where the next begins."""
        step = await self._store.scan(at.step, pattern.prefix)
        last = step.cursor == SCAN_ENDS
        return step.keys, Cursor(MEMORY, SCAN_ENDS) if last else Cursor(STORE, step.cursor)

    async def _unstored(self, pattern: PatternSet, pace: Pace) -> tuple[Sequence[bytes], Cursor | None]:
        """Keys of this process that the store does not have; there is no step behind it."""
        now, missing = self._clock.seconds(), list[bytes]()
        for piece in pattern.slices(self._hot.all_keys(), SLICE_STEPS):
            nearby = [key for key in pattern.select(piece) if self._hot.holds(key, now)]
            await pace.spend(pattern.steps(piece))
            if nearby:
                there = await self._store.held(nearby)
                await pace.spend(len(nearby) * SCAN_STEPS)
                missing += [key for key in nearby if key not in there or self._invalidator.hides(key)]
        return missing, None

    async def _chosen(self, pattern: PatternSet, keys: Sequence[bytes], pace: Pace) -> list[bytes]:
        """Those that match and are not about to be removed."""
        found = pattern.select(keys)
        await pace.spend(pattern.steps(keys) + len(keys) * SCAN_STEPS)
        if not self._invalidator.pending:
            return found
        now = self._clock.seconds()
        return [key for key in found if not self._invalidator.hides(key) or self._hot.holds(key, now)]

    async def _entries(self, key: bytes) -> list[CacheEntry]:
        invalid_before = self._invalidator.invalid_before(key)
        found = await self._lookup(key)
        invalid_before, now = max(invalid_before, self._invalidator.invalid_before(key)), self._clock.seconds()
        stored = [entry for entry in _readable(found, key) if entry.received_at > invalid_before]
        record = self._hot.get(key, now)
        nearby = record.entries if record is not None else ()
        known = latest_of_each(nearby, stored)
        return [entry for entry in known if now < entry.gone_at and entry.missing is None]

    async def _lookup(self, key: bytes) -> Stored | None:
        try:
            return await self._store.lookup(key)
        except Unreadable:  # the store is well, only nothing there is ours
            return None


def _readable(found: Stored | None, key: bytes) -> list[CacheEntry]:
    """The variants that are what they should be."""
    entries: list[CacheEntry] = []
    if found is not None:
        for field in found.variants:
            with suppress(CodecError):
                entries.append(stored_entry(found, field, key))
    return entries


async def in_order(keys: list[bytes], pace: Pace) -> list[bytes]:
    """``keys`` sorted, in slices."""
    runs = []
    for start in range(0, len(keys), RUN):
        runs.append(sorted(keys[start : start + RUN]))
        await pace.spend(len(runs[-1]) * SORT_STEPS)
    if len(runs) < 2:
        return runs[0] if runs else []
    merged, ordered = merge(*runs), list[bytes]()
    while run := list(islice(merged, RUN)):
        ordered += run
        await pace.spend(len(run) * SORT_STEPS)
    return ordered
