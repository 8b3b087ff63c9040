"""Where numbers are kept: plain attributes, a fraction of the cost of the client library's locked values.

Everything runs on the reactor's thread, so nothing is locked. Cells are looked up once and held by who counts.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from caching_proxy.telemetry.metrics.series import FINE_BUCKETS


class Counter:
    """Goes up only."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Gauge:
    """Goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Histogram:
    """Counts observations by inclusive upper bound; ``counts`` are per bucket, not cumulative, the last is infinite."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.sum += value
        self.counts[bisect_left(self.bounds, value)] += 1

    def add(self, other: Histogram) -> None:
        """Take in the observations of a histogram with the same bounds."""
        self.sum += other.sum
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def folded(self, bounds: tuple[float, ...]) -> Histogram:
        """The same observations by fewer bounds, all of which are among its own."""
        made = Histogram(bounds)
        made.sum = self.sum
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            made.counts[bisect_left(bounds, bound)] += count
        return made


class RequestMeter(Histogram):
    """One observation counts a request in all three request series; scraping sums over the labels each leaves out."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(FINE_BUCKETS)
