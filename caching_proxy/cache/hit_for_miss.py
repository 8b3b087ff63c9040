"""A bounded memory of keys whose responses turned out not to be storable.

Their concurrent requests would gain nothing by waiting for one another, so they skip single-flight for a while
(what Varnish calls hit-for-miss).
"""

from __future__ import annotations

from collections import OrderedDict

from caching_proxy.rules.outcome import Refusal


class HitForMiss:
    """Keys with the moment until which they count as uncacheable; at most ``limit`` of them, ``ttl`` in seconds."""

    def __init__(self, limit: int = 10_000, ttl: float = 120.0) -> None:
        self.until: OrderedDict[bytes, tuple[float, Refusal | None]] = OrderedDict()
        """From keys to when they are forgotten, and why; empty for most, which saves asking."""
        self._limit = limit
        self._ttl = ttl

    def add(self, key: bytes, now: float, refusal: Refusal | None = None) -> None:
        """``refusal`` is why the response was not stored, None where it was, but serves nobody else as it is."""
        self.until.pop(key, None)
        self.until[key] = now + self._ttl, refusal
        if len(self.until) > self._limit:
            self.until.popitem(last=False)

    def discard(self, key: bytes) -> None:
        """Something was stored under ``key`` after all."""
        self.until.pop(key, None)

    def covers(self, key: bytes, now: float) -> bool:
        known = self.until.get(key)
        if known is None:
            return False
        if now >= known[0]:
            del self.until[key]
            return False
        return True

    def refusal(self, key: bytes, now: float) -> Refusal | None:
        """Why the last response was not stored, as far as it is remembered; changes nothing."""
        until, refusal = self.until.get(key, (0.0, None))
        return refusal if now < until else None

    def __len__(self) -> int:
        return len(self.until)
