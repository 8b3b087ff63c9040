"""Two clocks: the reactor's, which never goes back and times everything that waits, and the wall's, which dates.

Twisted's reactors schedule by ``time.time``: a clock set back by an hour would stop every timeout, drain and idle limit
for an hour. So the reactor is made to count on the monotonic clock, and dates (``Date``, ages, tokens, log lines) come
from :class:`WallClock`. When the wall clock is set back, an entry in memory would seem younger than it is:
:class:`StepWatch` tells, and the memory tiers are emptied. Entries in a store are dated by what is left of their
time there (:mod:`caching_proxy.cache.tiers.store_reader`). A step forward only ends entries early.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

WATCH_SECONDS = 0.5
SET_BACK = 0.2
"""Seconds that the wall clock may lose against the monotonic one between two looks: slewing is no step."""


def count_monotonically(reactor: object, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Let ``reactor`` schedule by the monotonic clock; call it before anything is scheduled."""
    if isinstance(reactor, ReactorBase):
        reactor.seconds = monotonic


@implementer(IReactorTime)
class WallClock:
    """POSIX seconds by the wall clock; what is scheduled here goes to ``reactor``, by whose clock it is timed."""

    def __init__(self, reactor: Any, now: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self.seconds = now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        later: IDelayedCall = self._reactor.callLater(delay, callable, *args, **kwargs)
        return later

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return list(self._reactor.getDelayedCalls())


class StepWatch:
    """Calls ``set_back`` with the number of seconds when the wall clock was set back against the reactor's."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime, wall: IReactorTime, set_back: Callable[[float], None]) -> None:
        self._reactor = reactor
        self._wall = wall
        self._set_back = set_back
        self._ahead = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        self._ahead = self._wall.seconds() - self._reactor.seconds()
        self._timer = self._reactor.callLater(WATCH_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._reactor.callLater(WATCH_SECONDS, self._look)
        before, self._ahead = self._ahead, self._wall.seconds() - self._reactor.seconds()
        lost = before - self._ahead
        if lost > SET_BACK:
            self._log.warn("the clock was set back by {seconds:.1f} s: memory tiers are emptied", seconds=lost)
            self._set_back(lost)
