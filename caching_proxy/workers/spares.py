"""Workers in waiting: started and loaded in advance, so that one can take the place of another that died at once.

What a start costs is half a second of a processor, which on a busy machine may take many times as long to get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

RETRY_SECONDS = 5.0
"""A spare that ended by itself is started again after so long."""


class ISpare(Protocol):
    """What is used of :class:`caching_proxy.workers.process.Process`."""

    pid: int

    def kill(self) -> None: ...


P = TypeVar("P", bound=ISpare)


class Spares(Generic[P]):
    """Keeps ``count`` processes that ``start`` starts; what it is given hears how the process ended."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, count: int, start: Callable[[Callable[[str], object]], P]) -> None:
        self._clock = clock
        self._count = count
        self._start = start
        self._waiting: list[P] = []
        self._later: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def fill(self) -> None:
        """Start what is missing; not while workers start that are wanted at once."""
        try:
            while self._stopped is None and len(self._waiting) < self._count:
                self._begin()
        except OSError as problem:  # no memory, too many processes
            self._log.warn("a worker in waiting could not be started: {why}", why=str(problem))
            self._fill_later()

    def take(self) -> P | None:
        """One of them, whose end is from now on the taker's business; None if there is none."""
        return self._waiting.pop(0) if self._waiting and self._stopped is None else None

    def stop(self) -> Deferred[None]:
        """End them; fires when none is left."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._stopped = Deferred() if self._waiting else succeed(None)
        for spare in self._waiting:
            spare.kill()
        return self._stopped

    def _begin(self) -> None:
        spare = self._start(lambda how: self._ended(spare, how))
        self._waiting.append(spare)

    def _fill_later(self) -> None:
        if self._later is None:
            self._later = self._clock.callLater(RETRY_SECONDS, self._fill_now)

    def _fill_now(self) -> None:
        self._later = None
        self.fill()

    def _ended(self, spare: P, how: str) -> None:
        self._waiting.remove(spare)
        if self._stopped is None:
            self._log.warn("a worker in waiting (pid {pid}) is gone: {how}", pid=spare.pid, how=how)
            self._fill_later()
        elif not self._waiting:
            self._stopped.callback(None)
