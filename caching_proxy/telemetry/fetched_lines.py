"""Access lines for watchers in other workers, who come for them now and then.

Lines are kept only while somebody comes: who has not come for ``PATIENCE`` seconds is forgotten, with what waited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.telemetry.access_log import AccessLog

PATIENCE = 10.0
MOST_WATCHERS = 16
MOST_LINES = 200
MOST_CHARACTERS = 1 << 18
"""What waits for one watcher: the first lines of a moment, no more of them and no longer than this."""


@attrs.define(eq=False)
class _Waiting:
    """What waits for one watcher; ``timer`` forgets it."""

    timer: IDelayedCall
    lines: list[str] = attrs.Factory(list)
    characters: int = 0
    left_out: int = 0

    def add(self, lines: Sequence[str]) -> None:
        for line in lines:
            if len(self.lines) >= MOST_LINES or self.characters + len(line) > MOST_CHARACTERS:
                self.left_out += 1
            else:
                self.lines.append(line)
                self.characters += len(line)


class FetchedLines:
    """What ``access`` logs, for those who fetch it."""

    def __init__(self, access: AccessLog, clock: IReactorTime) -> None:
        self._access = access
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._unwatch: Callable[[], None] | None = None

    def fetch(self, who: str) -> tuple[list[str], int]:
        """What was logged since ``who`` came last, and how many lines of it are left out; nothing the first time."""
        known = self._waiting.pop(who, None)
        if known is None and len(self._waiting) >= MOST_WATCHERS:
            return [], 0
        if known is not None:
            known.timer.cancel()
        self._waiting[who] = _Waiting(self._clock.callLater(PATIENCE, self._forget, who))
        if self._unwatch is None:
            self._unwatch = self._access.watch(self._logged)
        return ([], 0) if known is None else (known.lines, known.left_out)

    def _logged(self, lines: list[str]) -> None:
        for waiting in self._waiting.values():
            waiting.add(lines)

    def _forget(self, who: str) -> None:
        del self._waiting[who]
        if not self._waiting and self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
