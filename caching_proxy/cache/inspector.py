"""Looking into the cache from outside: which keys there are, and what a key holds."""

from __future__ import annotations

from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.invalidator import EVERYTHING, Invalidator
from caching_proxy.cache.reader import stored_entry
from caching_proxy.cache.variants import latest_of_each
from caching_proxy.core.codec import CodecError
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.glob import compile_glob
from caching_proxy.interfaces import IStore, Stored, Unreadable


class Inspector:
    """Sees hot tier and store as one. What was invalidated is not shown, even if the store still has it."""

    def __init__(self, hot: HotTier, store: IStore, invalidator: Invalidator, clock: IReactorTime) -> None:
        self._hot = hot
        self._store = store
        self._invalidator = invalidator
        self._clock = clock

    def keys(self, pattern: bytes | None, limit: int | None) -> Deferred[list[bytes]]:
        """Keys that match a glob, sorted, at most ``limit``; fails with :class:`StoreError` if the store does."""
        return Deferred.fromCoroutine(self._keys(pattern or EVERYTHING, limit))

    def entries(self, key: bytes) -> Deferred[list[CacheEntry]]:
        """Every variant of ``key``; empty if there is none, or something that is not ours."""
        return Deferred.fromCoroutine(self._entries(key))

    async def _keys(self, pattern: bytes, limit: int | None) -> list[bytes]:
        stored = await self._store.scan(pattern, limit)
        if self._invalidator.pending:
            stored = [key for key in stored if not self._invalidator.hides(key)]
        matches = compile_glob(pattern)
        keys = sorted({*stored, *filter(matches, self._hot.keys(self._clock.seconds()))})
        return keys if limit is None else keys[:limit]

    async def _entries(self, key: bytes) -> list[CacheEntry]:
        horizon = self._invalidator.horizon(key)
        found = await self._lookup(key)
        horizon, now = max(horizon, self._invalidator.horizon(key)), self._clock.seconds()
        stored = [entry for entry in _readable(found, key) if entry.received_at > horizon]
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
