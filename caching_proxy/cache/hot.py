"""The hot tier: the entries read most recently, in process memory.

Bounded in variants and in bytes, keys and heads included. An entry leaves when the tier's own TTL, counted from
when it was put, or the entry's own end comes; reading neither extends the one nor the other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from caching_proxy.core.entry import CacheEntry, Flag
from caching_proxy.core.variance import variant_id

OVERHEAD = 640
"""Bytes that an entry costs beside its key, head and body (objects, dictionary slots), as measured."""


class HotRecord:
    """All variants of one key, and room for what the hot path renders once a second."""

    __slots__ = ("entries", "expires_at", "renderings", "size")

    def __init__(self, entries: tuple[CacheEntry, ...], expires_at: float) -> None:
        self.entries = entries
        self.expires_at = expires_at
        self.size = sum(entry.size + OVERHEAD for entry in entries)
        self.renderings: dict[object, object] = {}


class HotTier:
    """An LRU of :class:`HotRecord` by key. Times are POSIX seconds, sizes bytes; ``ttl`` is in seconds."""

    def __init__(self, max_entries: int, max_bytes: int, ttl: float) -> None:
        self._records: OrderedDict[bytes, HotRecord] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self.entries = 0
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def get(self, key: bytes, now: float) -> HotRecord | None:
        """The record of ``key`` if it may still be used; makes it the most recent. Counting is up to the caller."""
        record = self._records.get(key)
        if record is None:
            return None
        if now >= record.expires_at:
            self._remove(key)
            return None
        self._records.move_to_end(key)
        return record

    def put(self, entry: CacheEntry, now: float) -> None:
        """Add one variant; of the others of its key, those it replaces or that have ended go."""
        old = self._records.get(entry.key)
        others = old.entries if old is not None and now < old.expires_at else ()
        kept = [other for other in others if now < other.gone_at and not _same_variant(entry, other)]
        self.put_all(entry.key, [*kept, entry], now)

    def put_all(self, key: bytes, entries: Iterable[CacheEntry], now: float) -> None:
        """Make ``entries`` the only variants of ``key``. One that could never fit is not taken."""
        self._remove(key)
        kept = tuple(entries)
        if not kept or self._max_entries <= 0:
            return
        record = HotRecord(kept, min(now + self._ttl, *(entry.gone_at for entry in kept)))
        if record.size > self._max_bytes or len(kept) > self._max_entries or now >= record.expires_at:
            return
        self._records[key] = record
        self.entries += len(kept)
        self.bytes += record.size
        while self.entries > self._max_entries or self.bytes > self._max_bytes:
            self._remove(next(iter(self._records)))
            self.evictions += 1

    def remove(self, key: bytes) -> bool:
        """Drop ``key``; whether it was here."""
        return self._remove(key)

    def remove_matching(self, matches: Callable[[bytes], bool]) -> list[bytes]:
        """Drop every key that matches; the keys that were here."""
        gone = [key for key in self._records if matches(key)]
        for key in gone:
            self._remove(key)
        return gone

    def keys(self, now: float) -> list[bytes]:
        """Keys that may still be used."""
        return [key for key, record in self._records.items() if now < record.expires_at]

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self.entries = self.bytes = 0

    def _remove(self, key: bytes) -> bool:
        record = self._records.pop(key, None)
        if record is None:
            return False
        self.entries -= len(record.entries)
        self.bytes -= record.size
        return True


def _same_variant(one: CacheEntry, other: CacheEntry) -> bool:
    if (Flag.PARTIAL in one.flags) is not (Flag.PARTIAL in other.flags):
        return False
    return one.selecting == other.selecting or variant_id(one.selecting) == variant_id(other.selecting)
