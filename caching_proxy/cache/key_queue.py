"""Operations that must not overtake one another: those on one key run in turn, those on different keys side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVarTuple

from twisted.internet.defer import Deferred, DeferredList

Ts = TypeVarTuple("Ts")


class KeyQueue:
    """Keys with an operation under way, and what waits for its end. ``len()`` counts the keys."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Callable[[], None]]] = {}
        self._ready: list[Callable[[], None]] = []
        self._stepping = False

    def take(self, key: bytes, begin: Callable[[*Ts], None], *args: *Ts) -> None:
        """Call ``begin`` when nothing is under way for ``key``, now or later; whoever ends it calls :meth:`over`.

        ``begin`` must not raise.
        """
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(partial(begin, *args))
            return
        self._waiting[key] = deque()
        begin(*args)

    def over(self, key: bytes) -> None:
        """The operation on ``key`` has ended; the next one begins."""
        waiting = self._waiting[key]
        if not waiting:
            del self._waiting[key]
            return
        self._ready.append(waiting.popleft())
        if self._stepping:  # what ends while it begins must not nest, as thousands may wait
            return
        self._stepping = True
        while self._ready:
            self._ready.pop()()
        self._stepping = False

    def drain(self) -> Deferred[None]:
        """Fires when everything that is under way or waits now has ended."""
        return DeferredList([self._end_of(key) for key in list(self._waiting)]).addCallback(lambda _: None)

    def _end_of(self, key: bytes) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def fire() -> None:
            ended.callback(None)
            self.over(key)

        self.take(key, fire)
        return ended

    def __len__(self) -> int:
        return len(self._waiting)
