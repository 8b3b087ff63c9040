"""The burst tier: a short memory of the store's own answers, so that a burst on one key reads it once.

It keeps what the store said, decoded, bounded in keys and bytes and, for each key, by a few seconds or the time left
in the store, whichever is shorter. Only finds are kept: an absent key
may be filled by another proxy at any moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import ClassVar

import attrs

from caching_proxy.cache.tiers.sweeper import Sweep
from caching_proxy.cache.tiers.target_index import ByTarget
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.tag_index import ByTag

OVERHEAD = 300
"""Bytes that a remembered answer costs beside its key and entries."""

ENTRY_OVERHEAD = 700
"""Bytes that an entry costs beside its key, head and body, as in the hot tier."""

_UNTAGGED: frozenset[bytes] = frozenset()


@attrs.define(slots=True, eq=False)
class Remembered:
    """An answer, and until when it may be used. A write or an invalidation takes it away: what is here is ``current``,
    and it is ``kept`` here already."""

    trouble: ClassVar[None] = None
    current: ClassVar[bool] = True

    entries: Sequence[CacheEntry]
    expires_at: float
    size: int
    tags: frozenset[bytes] = frozenset()
    kept: bool = True


class BurstTier:
    """An LRU of store answers by key. Times are POSIX seconds, sizes bytes; ``ttl`` is in seconds."""

    def __init__(self, max_entries: int, max_bytes: int, ttl: float) -> None:
        self.answers: OrderedDict[bytes, Remembered] = OrderedDict()
        """By key, the oldest first; for who only wants to know whether there is one."""
        self._targets = ByTarget(self.answers)
        self._tags = ByTag()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self.sweeps: Sequence[Sweep] = ()
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.shared_reads = 0

    @property
    def entries(self) -> int:
        return len(self.answers)

    def get(self, key: bytes, now: float) -> Remembered | None:
        """What the store said about ``key`` a moment ago, if that still holds."""
        answer = self.answers.get(key)
        if answer is None or now >= answer.expires_at or (self.sweeps and self._swept(key)):
            if answer is not None:
                self.remove(key)
            self.misses += 1
            return None
        self.answers.move_to_end(key)
        self.hits += 1
        return answer

    def peek(self, key: bytes, now: float) -> Remembered | None:
        """What :meth:`get` would give; does not count as reading it, and changes nothing."""
        answer = self.answers.get(key)
        if answer is None or now >= answer.expires_at or any(sweep.covers(key) for sweep in self.sweeps):
            return None
        return answer

    def put(self, key: bytes, entries: Sequence[CacheEntry], ttl_ms: int, now: float) -> None:
        """Remember the variants that the store gave, which it keeps for ``ttl_ms`` milliseconds."""
        self.remove(key)
        for sweep in self.sweeps:
            sweep.spared.add(key)
        size, tags = OVERHEAD + len(key), _UNTAGGED
        for entry in entries:
            size += ENTRY_OVERHEAD + entry.weight
            if entry.tags:
                tags = tags.union(entry.tags)
        expires_at = now + min(self._ttl, ttl_ms / 1000)
        if size > self._max_bytes or self._max_entries <= 0 or expires_at <= now:
            return
        self.answers[key] = Remembered(entries, expires_at, size, tags)
        self._targets.add(key)
        if tags:
            self._tags.add(key, tags)
        self.bytes += size
        while len(self.answers) > self._max_entries or self.bytes > self._max_bytes:
            self.remove(next(iter(self.answers)))
            self.evictions += 1

    def remove(self, key: bytes) -> bool:
        """Forget ``key``; whether it was here."""
        answer = self.answers.pop(key, None)
        if answer is None:
            return False
        self._targets.discard(key)
        if answer.tags:
            self._tags.discard(key, answer.tags)
        self.bytes -= answer.size
        return True

    def all_keys(self) -> list[bytes]:
        """Every key, those among them that may not be used any more."""
        return list(self.answers)

    def remove_target(self, target: bytes) -> list[bytes]:
        """Forget every key of ``target``, whatever its role; the keys that were here."""
        gone = self._targets.of(target)
        for key in gone:
            self.remove(key)
        return gone

    def take_tagged(self, tags: Iterable[bytes]) -> set[bytes]:
        """The same for a caller who removes all of them: they are not found by these tags any more."""
        return self._tags.take(tags)

    def tagged(self, tags: Iterable[bytes]) -> set[bytes]:
        """The keys with a variant that carries one of ``tags``."""
        return set().union(*map(self._tags.of, tags))

    def clear(self) -> None:
        self.answers.clear()
        self._targets.clear()
        self._tags.clear()
        self.bytes = 0

    def _swept(self, key: bytes) -> bool:
        """Whether a sweep under way covers what is here for ``key``; each that does is told."""
        return sum(sweep.takes(key) for sweep in self.sweeps) > 0
