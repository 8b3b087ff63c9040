"""When to look which keys have ended: keys by the second in which they are due.

A key that ends far in the future is due a little earlier and then noted anew, so there are only a few hundred
different seconds however many keys there are, and no step of work is in proportion to all keys.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import ceil

NEVER = 1 << 62


class Expiries:
    """Times are whole seconds of the clock that the caller goes by; ``len`` is how many keys are noted."""

    __slots__ = ("_by_second", "_seconds", "_size")

    def __init__(self) -> None:
        self._by_second: dict[int, set[bytes]] = {}
        self._seconds: list[int] = []  # a heap; may hold some that have no keys any more
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def note(self, key: bytes, ends_at: float, now: float) -> int:
        """Note a key that is not noted; the second in which it will be due."""
        end = ceil(ends_at)
        grain = 1 << max(0, (end - int(now)).bit_length() - 4)  # an eighth of what is left, or less
        second = end // grain * grain
        keys = self._by_second.get(second)
        if keys is None:
            keys = self._by_second[second] = set()
            heappush(self._seconds, second)
            self._tidy()
        keys.add(key)
        self._size += 1
        return second

    def forget(self, key: bytes, second: int) -> None:
        """``key`` was noted for ``second`` and is not to be."""
        keys = self._by_second.get(second)
        if keys is not None and key in keys:
            keys.remove(key)
            self._size -= 1
            if not keys:
                del self._by_second[second]

    def first(self) -> int:
        """The first second in which a key is due, :data:`NEVER` if there is none."""
        while self._seconds and self._seconds[0] not in self._by_second:
            heappop(self._seconds)
        return self._seconds[0] if self._seconds else NEVER

    def take(self, now: float, most: int) -> list[bytes]:
        """Up to ``most`` keys that are due; they are not noted any more."""
        taken: list[bytes] = []
        while len(taken) < most and self.first() <= now:
            second = self._seconds[0]
            keys = self._by_second[second]
            while keys and len(taken) < most:
                taken.append(keys.pop())
            if not keys:
                del self._by_second[second]
        self._size -= len(taken)
        return taken

    def _tidy(self) -> None:
        if len(self._seconds) > 2 * len(self._by_second) + 64:
            self._seconds = list(self._by_second)
            heapify(self._seconds)
