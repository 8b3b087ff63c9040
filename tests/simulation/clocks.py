"""Time in a game: one clock for all, and for each process a view of it that ends with the process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

NEVER = 1e12


class WorldClock(Clock):
    """A ``task.Clock`` that keeps its calls in a heap, as a game makes thousands; equal times keep their order."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.rightNow = start
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._count = itertools.count()

    def callLater(self, delay: float, function: Callable[..., object], *args: Any, **named: Any) -> Any:
        call = DelayedCall(self.rightNow + delay, function, args, named, _nothing, self._add, self.seconds)
        self._add(call)
        return call

    def _add(self, call: DelayedCall) -> None:
        heappush(self._heap, (call.getTime(), next(self._count), call))

    def getDelayedCalls(self) -> list[DelayedCall]:
        return [call for _, _, call in sorted(self._heap) if call.active()]

    def step(self, until: float) -> bool:
        """Make the first call that is due by ``until``, at its time; False if there is none: then it is ``until``."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            due, _, call = heappop(heap)
            if call.called or call.cancelled:
                continue
            if call.getTime() != due:  # put off, or moved to an earlier time before
                if call.getTime() > due:
                    self._add(call)
                continue
            self.rightNow = max(self.rightNow, due)
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        self.rightNow = max(self.rightNow, until)
        return False

    def advance(self, amount: float) -> None:
        until = self.rightNow + amount
        while self.step(until):
            pass


def _nothing(call: DelayedCall) -> None:
    """A cancelled call is passed over when its time comes."""


@implementer(IReactorTime)
class ProcessClock:
    """The clock as one process has it; what it has begun to wait for is known."""

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds
        self._clock = clock
        self.alive = True
        self._calls: list[DelayedCall] = []

    def callLater(self, delay: float, function: Callable[..., object], *args: Any, **named: Any) -> Any:
        call = self._clock.callLater(delay if self.alive else NEVER, function, *args, **named)
        self._calls.append(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        self._calls = [call for call in self._calls if call.active()]
        return self._calls

    def kill(self) -> None:
        """The process is no more: what it waits for does not come, though what python frees of it may cancel that."""
        for call in self.getDelayedCalls():
            call.delay(NEVER)
        self.alive = False
