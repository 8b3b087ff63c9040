"""Exemplars (OpenMetrics 1.0): beside the count of a histogram's bucket the trace of one request that fell into it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import attrs

MAX_SERIES = 1000
"""Combinations of label values that keep exemplars; others have none."""


@attrs.frozen(slots=True)
class Exemplar:
    """``value`` was observed at ``moment`` (POSIX seconds) in the trace with this identifier (hexadecimal)."""

    trace_id: str
    value: float
    moment: float


Kept = Mapping[tuple[str, ...], Mapping[int, Exemplar]]
"""Label values → bucket → its exemplar."""


class Exemplars:
    """The last one of each bucket, for the histogram with these inclusive upper ``bounds``."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._kept: dict[tuple[str, ...], dict[int, Exemplar]] = {}

    def keep(self, labels: tuple[str, ...], exemplar: Exemplar) -> None:
        buckets = self._kept.get(labels)
        if buckets is None:
            if len(self._kept) >= MAX_SERIES:
                return
            buckets = self._kept[labels] = {}
        buckets[bisect_left(self._bounds, exemplar.value)] = exemplar

    def all(self) -> Kept:
        return self._kept


def merged(kept: list[Kept]) -> Kept:
    """Those of several processes: of each bucket the latest."""
    found: dict[tuple[str, ...], dict[int, Exemplar]] = {}
    for each in kept:
        for labels, buckets in each.items():
            mine = found.setdefault(labels, {})
            for bucket, exemplar in buckets.items():
                if bucket not in mine or mine[bucket].moment < exemplar.moment:
                    mine[bucket] = exemplar
    return found
