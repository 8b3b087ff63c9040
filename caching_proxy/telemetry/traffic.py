"""Requests as they come and go: totals since the start, and rates over a sliding window.

Everything is taken from the meters that count requests anyway, so that watching costs a request nothing. A look walks
all meters, of which there are a few thousand at most, and takes in those that have changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import nlargest
from math import inf
from operator import add, sub

import attrs

from caching_proxy.rules.outcome import FROM_CACHE
from caching_proxy.telemetry.metrics.cells import RequestMeter
from caching_proxy.telemetry.metrics.requests import RequestSeries
from caching_proxy.telemetry.metrics.series import FINE_BUCKETS

WINDOW_SECONDS = 10.0
"""What rates and quantiles are about, if there was a look so long ago."""

APART_SECONDS = 0.9
"""Looks that follow one another more closely make no sample of their own."""

_COUNTS = len(FINE_BUCKETS) + 1


@attrs.frozen(slots=True)
class Sample:
    """What had been counted at a ``moment`` (seconds of the clock handed in)."""

    moment: float
    by_status: Mapping[str, int]
    latency: Sequence[int]

    @property
    def requests(self) -> int:
        return sum(self.by_status.values())


@attrs.define(slots=True)
class TrafficShare:
    """Requests for one path, or of one role, and how many of them the cache answered."""

    requests: int = 0
    cached: int = 0


@attrs.define(slots=True)
class _Seen:
    """How far a meter has been taken in."""

    sum: float
    counts: list[int]


class Traffic:
    """Sums up ``series``; ``now`` is a clock that never goes back, in seconds."""

    def __init__(self, series: RequestSeries, now: float) -> None:
        self._series = series
        self._seen: dict[RequestMeter, _Seen] = {}
        self.by_status: dict[str, int] = {}
        self.paths: dict[str, TrafficShare] = {}
        self.roles: dict[str, TrafficShare] = {}
        self.cached_seconds = 0.0
        """What all answers from the cache took together."""
        self._latency = [0] * _COUNTS
        self._samples: deque[Sample] = deque([Sample(now, {}, (0,) * _COUNTS)], maxlen=32)

    def look(self, now: float) -> tuple[Sample, Sample]:
        """Take in what has happened; the sample at the beginning of the window, and the one of now."""
        for (_, path, _, status, role), meter in self._series.meters().items():
            seen = self._seen.get(meter)
            if seen is None:
                seen = self._seen[meter] = _Seen(0.0, [0] * _COUNTS)
            elif seen.sum == meter.sum and seen.counts == meter.counts:
                continue
            self._take(meter, seen, path, status, role)
        sample = Sample(now, dict(self.by_status), tuple(self._latency))
        before = self._before(now)
        if now - self._samples[-1].moment >= APART_SECONDS:
            self._samples.append(sample)
        return before, sample

    def _take(self, meter: RequestMeter, seen: _Seen, path: str, status: str, role: str) -> None:
        new = list(map(sub, meter.counts, seen.counts))
        count = sum(new)
        self._latency = list(map(add, self._latency, new))
        self.by_status[status] = self.by_status.get(status, 0) + count
        cached = count if status in FROM_CACHE else 0
        for shares, name in ((self.paths, path), (self.roles, role)):
            share = shares.get(name)
            if share is None:
                share = shares[name] = TrafficShare()
            share.requests += count
            share.cached += cached
        if cached:
            self.cached_seconds += meter.sum - seen.sum
        seen.sum, seen.counts = meter.sum, meter.counts.copy()

    def _before(self, now: float) -> Sample:
        """The oldest sample within the window, else the latest before it."""
        while len(self._samples) > 1 and self._samples[1].moment <= now - WINDOW_SECONDS:
            self._samples.popleft()
        return self._samples[0]


def top(shares: Mapping[str, TrafficShare], most: int) -> list[tuple[str, TrafficShare]]:
    """Those with most requests, most first."""
    return nlargest(most, shares.items(), key=lambda item: item[1].requests)


def quantile(counts: Sequence[int], part: float) -> float | None:
    """Seconds below which ``part`` (0 to 1) of the observations are, None where there are none.

    Exact to the width of a bucket, within which it is taken as even.
    """
    total = sum(counts)
    if not total:
        return None
    left, below = part * total, 0.0
    for bound, count in zip((*FINE_BUCKETS, inf), counts, strict=True):
        if count and left <= count:
            return below if bound == inf else below + (bound - below) * max(left, 0.0) / count
        left -= count
        below = bound
    return FINE_BUCKETS[-1]
