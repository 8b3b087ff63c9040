"""What workers have counted, kept by the supervisor: no sum that was shown becomes smaller when a worker ends.

A worker that ends in order says last what it has counted; of one that is killed, what it said when it was last asked
is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.logger import Logger

from caching_proxy.telemetry.metrics.snapshot import Snapshot, summed

WHAT = "metrics"
"""The question whose answers are kept."""


class Archive:
    """``own`` gives the supervisor's own snapshot."""

    _log = Logger()

    def __init__(self, own: Callable[[], Snapshot]) -> None:
        self._own = own
        self._ended = Snapshot("", 0, {})
        self._parts: dict[int, bytearray] = {}
        self._known: dict[int, bytes] = {}

    def part(self, worker: int, blob: bytes, more: bool) -> None:
        """A worker says what it has counted, or a part of it."""
        parts = self._parts.setdefault(worker, bytearray())
        parts += blob
        if not more:
            del self._parts[worker]
            if parts:
                self._known[worker] = bytes(parts)

    def known(self, worker: int) -> bytes:
        """What a worker said last in full; nothing if it never did."""
        return self._known.get(worker, b"")

    def gone(self, worker: int) -> None:
        """A worker has ended: what it counted stays."""
        self._parts.pop(worker, None)
        text = self._known.pop(worker, b"")
        if not text:
            return
        try:
            ended = Snapshot.decode(text).lasting()
        except (KeyError, TypeError, ValueError):
            self._log.failure("what worker {n} has counted is lost", n=worker)
            return
        self._ended = Snapshot("", 0, summed([self._ended, ended]))

    def own(self) -> bytes:
        """What ended workers have counted, and the supervisor's own process."""
        return attrs.evolve(self._own(), values=self._ended.values).encode()
