"""Looking into the cache from outside: which keys there are, and what a key holds."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.invalidator import EVERYTHING, Invalidator
from caching_proxy.core.codec import CodecError, decode
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.glob import compile_glob
from caching_proxy.interfaces import IStore


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
        """Every variant of ``key``; empty if there is none."""
        return Deferred.fromCoroutine(self._entries(key))

    async def _keys(self, pattern: bytes, limit: int | None) -> list[bytes]:
        stored = await self._store.scan(pattern, limit)
        matches = compile_glob(pattern)
        keys = sorted({*stored, *filter(matches, self._hot.keys(self._clock.seconds()))})
        return keys if limit is None else keys[:limit]

    async def _entries(self, key: bytes) -> list[CacheEntry]:
        found: dict[object, CacheEntry] = {}
        stored = await self._store.lookup(key)
        for value in stored.variants.values() if stored is not None else ():
            try:
                entry = decode(value, key)
            except CodecError:
                continue
            if not self._invalidator.hides(entry):
                found[(entry.selecting, entry.part is None)] = entry
        now = self._clock.seconds()
        record = self._hot.get(key, now)
        for entry in record.entries if record is not None else ():
            found.setdefault((entry.selecting, entry.part is None), entry)
        return [entry for entry in found.values() if now < entry.gone_at]
