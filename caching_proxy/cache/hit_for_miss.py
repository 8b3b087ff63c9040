"""A bounded memory of keys whose responses turned out not to be storable.

Their concurrent requests would gain nothing by waiting for one another, so they skip single-flight for a while
(what Varnish calls hit-for-miss).
"""

from __future__ import annotations

from collections import OrderedDict


class HitForMiss:
    """Keys with the moment until which they count as uncacheable; at most ``limit`` of them, ``ttl`` in seconds."""

    def __init__(self, limit: int = 10_000, ttl: float = 120.0) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._limit = limit
        self._ttl = ttl

    def add(self, key: bytes, now: float) -> None:
        self._until.pop(key, None)
        self._until[key] = now + self._ttl
        if len(self._until) > self._limit:
            self._until.popitem(last=False)

    def discard(self, key: bytes) -> None:
        """Something was stored under ``key`` after all."""
        self._until.pop(key, None)

    def covers(self, key: bytes, now: float) -> bool:
        until = self._until.get(key)
        if until is None:
            return False
        if now >= until:
            del self._until[key]
            return False
        return True

    def __len__(self) -> int:
        return len(self._until)
