"""Whether workers still turn their loops: each is pinged, and who says nothing is reported, then killed.

A worker that hangs holds its connections, and whoever waits for it to have carried out an invalidation.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK = 0.5
REPORT_SECONDS = 2.0
KILL_SECONDS = 5.0


class Health:
    """``ping`` asks a worker, by number; ``report`` and ``kill`` hear of those that say nothing."""

    def __init__(
        self,
        clock: IReactorTime,
        ping: Callable[[int], object],
        report: Callable[[int], object],
        kill: Callable[[int], object],
    ) -> None:
        self._clock = clock
        self._ping = ping
        self._report = report
        self._kill = kill
        self._since: dict[int, float | None] = {}  # when the ping was sent that is not answered yet
        self._reported: set[int] = set()
        self._timer: IDelayedCall | None = None
        self._due = 0.0

    def watch(self, worker: int) -> None:
        self._since[worker] = None
        if self._timer is None:
            self._again()

    def forget(self, worker: int) -> None:
        self._since.pop(worker, None)
        self._reported.discard(worker)
        if not self._since and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pong(self, worker: int) -> None:
        if worker in self._since:
            self._since[worker] = None
            self._reported.discard(worker)

    def _again(self) -> None:
        self._due = self._clock.seconds() + TICK
        self._timer = self._clock.callLater(TICK, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        stood_still = now - self._due > TICK  # it is we who did not run: perhaps nobody did
        for worker, since in list(self._since.items()):
            if since is None or stood_still:
                self._since[worker] = now
                if since is None:
                    self._ping(worker)
            elif now - since >= KILL_SECONDS:
                self._kill(worker)
            elif now - since >= REPORT_SECONDS and worker not in self._reported:
                self._reported.add(worker)
                self._report(worker)
        if self._since:
            self._again()
        else:
            self._timer = None
