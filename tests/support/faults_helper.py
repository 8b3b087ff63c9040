"""Processes beside the daemon of the fault tests, and what the load in one of them says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs

TESTS = Path(__file__).resolve().parents[1]


class Helper:
    """A process that answers each line of JSON with another; ``first`` is what it said at its start."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"support.{module}", *map(str, arguments)],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._line().strip()

    def ask(self, **words: object) -> dict[str, object]:
        self.tell(**words)
        return self.told()

    def tell(self, **words: object) -> None:
        """Say something whose answer is read later, by :meth:`told`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def told(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a helper process ended"
        return line

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@attrs.frozen
class Report:
    """What the load saw since the last report; times in milliseconds."""

    asked: int
    broken: int
    statuses: dict[str, int]
    caches: dict[str, int]
    wrong: list[str]
    p50: float
    p99: float
    lag: float
    """How late the load's own event loop is, in seconds (99 of 100 times): what the machine itself costs."""

    def share(self, *caches: str) -> float:
        return sum(self.caches.get(cache, 0) for cache in caches) / max(1, self.asked)

    def hold(self, statuses: tuple[str, ...] = ("200",), broken: int = 0) -> Report:
        """No wrong byte, no other status, no broken connection."""
        assert self.wrong == []
        assert set(self.statuses) <= set(statuses), self
        assert self.broken <= broken, self
        return self
