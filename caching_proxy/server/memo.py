"""A memory of what was made from some bytes, for senders who repeat themselves."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

_PLACE = 600  # bytes that a value takes, about, beside three times those that it was made from


class Memo(Generic[T]):
    """The last values by what they were made from, at most ``2 * size`` bytes: a full generation takes the place of
    the older.

    Only what comes a second time is kept: holding on to what never comes again costs more than making it anew.
    """

    __slots__ = ("_free", "_old", "_seen", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._seen: set[int] = set()  # hashes of what came once
        self._young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}

    def get(self, data: bytes) -> T | None:
        """What was made of ``data``."""
        value = self._young.get(data)
        if value is None and self._old:
            value = self._old.get(data)
            if value is not None:
                self._keep(data, value)
        return value

    def put(self, data: bytes, value: T) -> None:
        """``value`` was made from ``data``."""
        mark, seen = hash(data), self._seen
        if mark in seen:
            self._keep(data, value)
            return
        if len(seen) >= self._size // 256:
            seen.clear()
        seen.add(mark)

    def _keep(self, data: bytes, value: T) -> None:
        size = 3 * len(data) + _PLACE
        if size > self._free:
            self._old, self._young, self._free = self._young, {}, self._size
        self._free -= size
        self._young[data] = value
