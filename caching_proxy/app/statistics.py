"""Reads the figures of this process from the parts that it is made of."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.app.figures import SENT, Figures, Shares
from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IStore
from caching_proxy.settings.model import Settings
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.traffic import Traffic, TrafficShare, top

LOOK_SECONDS = 5.0
"""How often the traffic is looked at while nobody asks, so that who asks gets the rates of now."""


@attrs.frozen(eq=False)
class Watched:
    """The parts that statistics are about."""

    settings: Settings
    store: IStore
    hot: HotTier
    burst: BurstTier
    reader: StoreReader
    writer: Writer
    key_state: KeyState
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

    def __call__(self) -> Figures:
        """The figures of now."""
        w, now = self._w, self._clock.seconds()
        before, sample = self._traffic.look(now)
        asked = w.metrics.histogram("backend_request_duration_seconds")
        kind, breaker, trips, pool = self._store()
        limits = w.settings
        window = {status: count - before.by_status.get(status, 0) for status, count in sample.by_status.items()}
        return Figures(
            time=self._wall.seconds(),
            version=self._version,
            uptime=now - self._began,
            seconds=sample.moment - before.moment,
            by_status=sample.by_status,
            window={status: count for status, count in window.items() if count},
            latency=[after - earlier for after, earlier in zip(sample.latency, before.latency, strict=True)],
            cached_seconds=self._traffic.cached_seconds,
            paths=_shares(self._traffic.paths),
            roles=_shares(self._traffic.roles),
            hot=_tier(w.hot, limits.hot_cache_max_entries, limits.hot_cache_max_bytes),
            burst=_tier(w.burst, limits.burst_cache_max_entries, limits.burst_cache_max_bytes),
            store={
                "hits": w.reader.found,
                "misses": w.reader.asked - w.reader.found,
                "failedWrites": w.writer.failed,
            },
            kind=kind,
            breaker=breaker,
            trips=trips,
            pool=pool,
            backend=(sum(asked.counts), asked.sum),
            resident=resident(),
            collapsed=w.key_state.collapsed,
        )

    def _store(self) -> tuple[str, str, int, dict[str, int] | None]:
        store = self._w.store
        if not isinstance(store, CircuitBreakerStore):
            return "embedded", "closed", 0, None
        pool = getattr(store.store, "pool", None)
        sizes = None if pool is None else {"size": pool.size, "inUse": pool.in_use, "waiting": pool.waiting}
        trips = int(self._w.metrics.counter("circuit_breaker_trips_total").value)
        return "redis", store.phase.name.lower().replace("_", "-"), trips, sizes


def _tier(tier: HotTier | BurstTier, max_entries: int, max_bytes: int) -> dict[str, int]:
    names = ("entries", "bytes", "hits", "misses", "evictions")
    return {**{name: getattr(tier, name) for name in names}, "maxEntries": max_entries, "maxBytes": max_bytes}


def _shares(shares: dict[str, TrafficShare]) -> Shares:
    return {name: (share.requests, share.cached) for name, share in top(shares, SENT)}


@cache
def _version() -> str:
    """Of the installed distribution; its metadata are read once in a process."""
    try:
        return version("caching-proxy")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def resident(read: Callable[[], str] = Path("/proc/self/statm").read_text) -> int:
    """Bytes of this process in memory."""
    try:
        return int(read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):  # no Linux: the most it ever was
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
