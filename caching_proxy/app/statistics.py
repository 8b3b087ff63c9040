"""The statistics of one proxy as JSON: what ``/_cache/stats`` shows and what the dashboard draws."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.cache.flights import SingleFlight
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IStore
from caching_proxy.settings.model import Settings
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.cells import Histogram
from caching_proxy.telemetry.traffic import FROM_CACHE, Sample, Share, Traffic, quantile, top

TOP = 10
LOOK_SECONDS = 5.0
"""How often the traffic is looked at while nobody asks, so that who asks gets the rates of now."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

SAVED_HOW = (
    "answers from the cache, times the mean time until the backend began to answer, less what those answers took; "
    "since the start, null until the backend has answered"
)

_UNCOUNTED = frozenset(("N/A",))  # not for the cache at all


@attrs.frozen(eq=False)
class Watched:
    """The parts that statistics are about."""

    settings: Settings
    store: IStore
    hot: HotTier
    burst: BurstTier
    reader: StoreReader
    writer: Writer
    flights: SingleFlight
    metrics: Metrics


class Statistics:
    """``clock`` never goes back; ``wall`` tells POSIX seconds."""

    def __init__(self, watched: Watched, clock: IReactorTime, wall: IReactorTime) -> None:
        self._w = watched
        self._clock = clock
        self._wall = wall
        self._began = clock.seconds()
        self._traffic = Traffic(watched.metrics.requests, self._began)
        self._timer: IDelayedCall | None = None
        self._version = _version()

    def start(self) -> None:
        self._timer = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK_SECONDS, self._look)
        self._traffic.look(self._clock.seconds())

    def __call__(self) -> dict[str, object]:
        """The statistics of now; durations in seconds, sizes in bytes."""
        now = self._clock.seconds()
        before, sample = self._traffic.look(now)
        return {
            "time": self._wall.seconds(),
            "version": self._version,
            "uptimeSeconds": round(now - self._began, 3),
            "requests": self._requests(before, sample),
            "latencySeconds": _latency(before, sample),
            "savedBackendSeconds": self._saved(sample),
            "tiers": self._tiers(),
            "store": self._store(),
            "backend": self._backend(),
            "memory": {"residentBytes": resident()},
            "collapsedRequests": self._w.flights.collapsed,
            "topPaths": _top(self._traffic.paths, "path"),
            "topRoles": _top(self._traffic.roles, "role"),
        }

    def _requests(self, before: Sample, sample: Sample) -> dict[str, object]:
        seconds = max(sample.moment - before.moment, 1e-9)
        window = {
            status: count - before.by_status.get(status, 0)
            for status, count in sample.by_status.items()
            if count != before.by_status.get(status, 0)
        }
        return {
            "total": sample.requests,
            "byStatus": dict(sample.by_status),
            "windowSeconds": round(seconds, 3),
            "window": window,
            "perSecond": round(sum(window.values()) / seconds, 3),
            "hitRatio": hit_ratio(sample.by_status),
            "windowHitRatio": hit_ratio(window),
        }

    def _saved(self, sample: Sample) -> dict[str, object]:
        asked = self._w.metrics.histogram("backend_request_duration_seconds")
        answered = sum(asked.counts)
        hits = sum(count for status, count in sample.by_status.items() if status in FROM_CACHE)
        mean = asked.sum / answered if answered else None
        saved = None if mean is None else round(max(0.0, hits * mean - self._traffic.cached_seconds), 3)
        return {"total": saved, "answersFromCache": hits, "meanBackendSeconds": mean, "how": SAVED_HOW}

    def _tiers(self) -> dict[str, object]:
        w = self._w
        limits = w.settings
        return {
            "hot": {
                **_tier(w.hot),
                "maxEntries": limits.hot_cache_max_entries,
                "maxBytes": limits.hot_cache_max_bytes,
            },
            "burst": {
                **_tier(w.burst),
                "maxEntries": limits.burst_cache_max_entries,
                "maxBytes": limits.burst_cache_max_bytes,
            },
            "store": {
                "hits": w.reader.found,
                "misses": w.reader.asked - w.reader.found,
                "hitRatio": _ratio(w.reader.found, w.reader.asked),
                "failedWrites": w.writer.failed,
            },
        }

    def _store(self) -> dict[str, object]:
        store = self._w.store
        if not isinstance(store, CircuitBreakerStore):
            return {"kind": "embedded", "breaker": "closed", "breakerTrips": 0, "pool": None}
        pool = getattr(store.store, "pool", None)
        sizes = None if pool is None else {"size": pool.size, "inUse": pool.in_use, "waiting": pool.waiting}
        return {
            "kind": "redis",
            "breaker": store.phase.name.lower().replace("_", "-"),
            "breakerTrips": int(self._w.metrics.counter("circuit_breaker_trips_total").value),
            "pool": sizes,
        }

    def _backend(self) -> dict[str, object]:
        asked: Histogram = self._w.metrics.histogram("backend_request_duration_seconds")
        answered = sum(asked.counts)
        return {"answered": answered, "meanSeconds": asked.sum / answered if answered else None}


def hit_ratio(by_status: Mapping[str, int]) -> float | None:
    """The part of requests that the client had from the cache without waiting for the backend; None without any."""
    counted = sum(count for status, count in by_status.items() if status not in _UNCOUNTED)
    return _ratio(sum(count for status, count in by_status.items() if status in FROM_CACHE), counted)


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _tier(tier: HotTier | BurstTier) -> dict[str, object]:
    return {
        "entries": tier.entries,
        "bytes": tier.bytes,
        "hits": tier.hits,
        "misses": tier.misses,
        "evictions": tier.evictions,
        "hitRatio": _ratio(tier.hits, tier.hits + tier.misses),
    }


def _latency(before: Sample, sample: Sample) -> dict[str, object]:
    """Of the window: the time from the end of a request's head to the end of its answer."""
    counts = [after - earlier for after, earlier in zip(sample.latency, before.latency, strict=True)]
    return {name: quantile(counts, part) for name, part in QUANTILES.items()}


def _top(shares: dict[str, Share], name: str) -> list[dict[str, object]]:
    return [
        {name: label, "requests": share.requests, "hitRatio": _ratio(share.cached, share.requests)}
        for label, share in top(shares, TOP)
    ]


def _version() -> str:
    try:
        return version("caching-proxy")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _resident_from(read: Callable[[], str] = Path("/proc/self/statm").read_text) -> int:
    try:
        return int(read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):  # no Linux: the most it ever was
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def resident() -> int:
    """Bytes of this process in memory."""
    return _resident_from()
