"""Where numbers are kept: plain attributes, a fraction of the cost of the client library's locked values.

Everything runs on the reactor's thread, so nothing is locked. Cells are looked up once and held by who counts.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import add

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
        self.counts = list(map(add, self.counts, other.counts))

    def folded(self, bounds: tuple[float, ...]) -> Histogram:
        """The same observations by fewer bounds, which are the last ones of its own."""
        made, finer = Histogram(bounds), len(self.bounds) - len(bounds)
        made.sum = self.sum
        made.counts = [sum(self.counts[: finer + 1]), *self.counts[finer + 1 :]]
        return made


class RequestMeter(Histogram):
    """One observation counts a request in all three request series; scraping sums over the labels each leaves out."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(FINE_BUCKETS)
