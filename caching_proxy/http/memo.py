"""The one bounded memory of what was worked out from a value, for senders who repeat themselves.

``functools.lru_cache`` does where a pure function of hashable arguments is remembered. This one is for the rest: what
is made needs more than the key, some keys are not worth keeping, bounds are in bytes, or looking must not cost a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_NOTHING: Mapping[object, object] = MappingProxyType({})
_ONCE = 8192  # keys that came once, of which the hashes are known


class Memo(dict[K, V | None]):
    """The last values by key. ``memo[key]`` is None where nothing is known, so None is no value.

    There are two generations. A full one takes the place of the older, and what is asked for of the older moves to
    the younger: what is in use stays, and what is not goes without a list of who was used when.

    Args:
        bound: The weight of a generation, so that at most twice that is held.
        weigh: The weight of a value with its key, told by the key; 1 for each unless given.
    """

    __slots__ = ("_bound", "_free", "_older", "_seen", "_weigh")

    def __init__(self, bound: int, weigh: Callable[[K], int] | None = None) -> None:
        super().__init__()
        self._bound = self._free = bound
        self._weigh = weigh
        self._older: Mapping[K, V | None] = _NOTHING  # type: ignore[assignment]  # it has no keys of any type
        self._seen: set[int] | None = None

    def __missing__(self, key: K) -> V | None:
        value = self._older.get(key)
        if value is not None:
            self.keep(key, value)
        return value

    def keep(self, key: K, value: V) -> None:
        """Remember ``value``, unless it weighs more than a generation may."""
        weight = 1 if self._weigh is None else self._weigh(key)
        if weight > self._free:
            if weight > self._bound:
                return
            self.turn()
        self._free -= weight
        self[key] = value

    def keep_repeated(self, key: K, value: V) -> None:
        """Remember ``value`` if its key comes a second time: holding on to what never comes again costs more than
        making it anew."""
        if self._seen is None:
            self._seen = set()
        mark = hash(key)
        if mark in self._seen:
            self.keep(key, value)
            return
        if len(self._seen) >= _ONCE:
            self._seen.clear()
        self._seen.add(mark)

    def turn(self) -> None:
        """Begin a new generation."""
        self._older = dict(self)
        super().clear()
        self._free = self._bound

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._older, self._free = {}, self._bound

    @property
    def held(self) -> int:
        """Values in both generations; those in both are counted twice."""
        return len(self) + len(self._older)
