"""What happened lately: invalidations, and requests that the cache did not serve, each with its reason.

The last of each kind are kept for those who begin to watch; those who watch already are told at once. Both are
bounded, and so is how many are taken note of in a second: what is beyond that is counted only, and told of with the
next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from caching_proxy.rules.reasons import Reason

KEPT = 50
"""Happenings of each kind that are remembered."""

A_SECOND = 20
"""Happenings of each kind that are taken note of in one second."""

MOST_TEXT = 300
"""Characters of a target, a pattern or the like that are shown."""


@attrs.frozen(slots=True)
class Happening:
    """``kind`` is the name of the event, ``time`` in POSIX seconds; ``data`` is for JSON."""

    kind: str
    time: float
    data: dict[str, object]


class Happenings:
    """``now`` gives POSIX seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._kinds = {"invalidation": _Kind(), "uncached": _Kind()}
        self._listeners: list[Callable[[Happening], None]] = []

    def uncached(self, method: str, target: str, status: int, cache_status: str, role: str, reason: Reason) -> None:
        """A request that was neither answered from the cache nor stored, if there is :meth:`room`; ``target`` without
        secrets."""
        self._add(
            "uncached",
            {
                "method": method,
                "path": cut(target),
                "status": status,
                "cacheStatus": cache_status,
                "role": cut(role),
                "reason": {"rule": reason.rule, "rfc": reason.rfc, "text": reason.text},
            },
        )

    def invalidation(self, what: str, who: str, count: int | None, **more: object) -> None:
        """``count`` distinct keys left, None where the store has yet to say; ``who`` asked for it."""
        if self.room("invalidation"):
            self._add("invalidation", {"what": cut(what), "who": cut(who), "count": count, **more})

    def recent(self) -> list[Happening]:
        """What is remembered, in order."""
        found = [happening for kind in self._kinds.values() for happening in kind.last]
        return sorted(found, key=lambda happening: happening.time)

    def listen(self, listener: Callable[[Happening], None]) -> Callable[[], None]:
        """Call ``listener`` with each one from now on, until the function returned is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def room(self, kind: str) -> bool:
        """Whether one more may be taken note of now; else it counts as skipped."""
        return self._kinds[kind].room(int(self.now()))

    def _add(self, kind: str, data: dict[str, object]) -> None:
        now = self.now()
        happening = Happening(kind, now, {"time": now, **data, "skipped": self._kinds[kind].took()})
        self._kinds[kind].last.append(happening)
        for listener in list(self._listeners):
            listener(happening)


class _Kind:
    """The last ones of a kind, and how many there was no room for since."""

    __slots__ = ("_left", "_second", "last", "skipped")

    def __init__(self) -> None:
        self.last: deque[Happening] = deque(maxlen=KEPT)
        self.skipped = 0
        self._second = -1
        self._left = 0

    def room(self, second: int) -> bool:
        """Whether one more may be taken note of; else it counts as skipped."""
        if second != self._second:
            self._second, self._left = second, A_SECOND
        if self._left <= 0:
            self.skipped += 1
            return False
        self._left -= 1
        return True

    def took(self) -> int:
        """How many were skipped since the last one."""
        skipped, self.skipped = self.skipped, 0
        return skipped


def cut(text: str) -> str:
    """``text`` as far as it is shown."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
