"""How late the event loop is: what every client waits, whoever it is that keeps the loop busy."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

EVERY_SECONDS = 0.1
"""Between two looks. One timer costs nothing, and a stall that no look falls into is shorter than this."""


class LoopLag:
    """Hands to ``observe`` by how many seconds a timer fired too late, again and again."""

    def __init__(self, reactor: IReactorTime, observe: Callable[[float], object]) -> None:
        self._reactor = reactor
        self._observe = observe
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        self._due = self._reactor.seconds() + EVERY_SECONDS
        self._timer = self._reactor.callLater(EVERY_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._observe(max(0.0, self._reactor.seconds() - self._due))
        self.start()
