"""How far the walks over the store's keys have come that invalidations need, for metrics and for the log.

A walk that takes longer than a second says so once a second, and what it found when it is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

TELL_SECONDS = 1.0
MOST_SHOWN = 200
"""Characters of what is invalidated that stand in the log."""


class Progress:
    """All walks of one proxy: ``walks`` begun, ``looked_at`` and ``changed`` keys, all counts; ``running`` are those
    under way."""

    def __init__(self, clock: IReactorTime) -> None:
        self.walks = self.looked_at = self.changed = 0
        self.running: list[Walk] = []
        self._clock = clock

    @contextmanager
    def walk(self, what: bytes) -> Iterator[Walk]:
        """A walk for ``what``, as long as the block lasts."""
        walk = Walk(self, what, self._clock)
        self.walks += 1
        self.running.append(walk)
        how = "breaks off"
        try:
            yield walk
            how = "is done"
        finally:
            self.running.remove(walk)
            walk.over(how)

    @property
    def seconds(self) -> float:
        """How long the oldest walk under way has taken; 0 without one."""
        return self.running[0].seconds if self.running else 0.0

    @property
    def looked_at_now(self) -> int:
        """Keys that walks under way have looked at."""
        return sum(walk.looked_at for walk in self.running)

    @property
    def changed_now(self) -> int:
        """Keys that walks under way have removed or made stale."""
        return sum(walk.changed for walk in self.running)


class Walk:
    """One walk."""

    _log = Logger()

    def __init__(self, all_: Progress, what: bytes, clock: IReactorTime) -> None:
        self.looked_at = self.changed = 0
        self._all = all_
        self._what = what
        self._clock = clock
        self._began = clock.seconds()
        self._told_at = self._began

    @property
    def seconds(self) -> float:
        return max(0.0, self._clock.seconds() - self._began)

    def step(self, looked_at: int, changed: int = 0) -> None:
        """So many keys more."""
        self.looked_at += looked_at
        self.changed += changed
        self._all.looked_at += looked_at
        self._all.changed += changed
        now = self._clock.seconds()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self._tell("goes on")

    def over(self, how: str) -> None:
        """It ended so; a short one is not worth a line."""
        if self.seconds >= TELL_SECONDS:
            self._tell(how)

    def _tell(self, how: str) -> None:
        self._log.info(
            "invalidating {what} {how}: {looked_at} keys looked at, {changed} of them changed, in {seconds:.1f} s",
            what=self._what.decode("latin-1")[:MOST_SHOWN],
            how=how,
            looked_at=self.looked_at,
            changed=self.changed,
            seconds=self.seconds,
        )
