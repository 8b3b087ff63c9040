"""The figures of one process, how those of several come to one, and how they are shown as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Any

import attrs

from caching_proxy.rules.outcome import FROM_CACHE
from caching_proxy.telemetry.traffic import quantile

TOP = 10
SENT = 50
"""Paths and roles that a process tells its siblings of: enough for the first ten of all to be right or nearly so."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

SAVED_HOW = (
    "answers from the cache, times the mean time until the backend began to answer, less what those answers took; "
    "since the start, null until the backend has answered"
)

_PHASES = ("closed", "half-open", "open")
_UNCOUNTED = frozenset(("N/A",))  # not for the cache at all

Counts = Mapping[str, int]
Shares = Mapping[str, Sequence[int]]
"""Name → number of requests, and of those that the cache answered."""


@attrs.frozen(kw_only=True)
class Figures:
    """Everything is JSON. Durations are in seconds, sizes in bytes.

    ``window`` and ``latency`` (counts by ``FINE_BUCKETS``) are about the last ``seconds``, all else is since the start
    or of now. ``backend`` is how often it answered and how long that took together. ``pool`` is None without one.
    """

    time: float
    version: str
    uptime: float
    seconds: float
    by_status: Counts
    window: Counts
    latency: Sequence[int]
    cached_seconds: float
    paths: Shares
    roles: Shares
    hot: Counts
    burst: Counts
    store: Counts
    kind: str
    breaker: str
    trips: int
    pool: Counts | None
    backend: Sequence[float]
    resident: int
    collapsed: int
    workers: int = 1


def together(all_: Sequence[Figures]) -> Figures:
    """The figures of several processes as if they were one; the first one's version and clock count."""
    first = all_[0]
    if len(all_) == 1:
        return first

    def total(of: Callable[[Figures], Counts]) -> dict[str, int]:
        return _sums(map(of, all_))

    pools = [each.pool for each in all_ if each.pool is not None]
    return attrs.evolve(
        first,
        uptime=max(each.uptime for each in all_),
        seconds=max(each.seconds for each in all_),
        by_status=total(lambda each: each.by_status),
        window=total(lambda each: each.window),
        latency=[sum(column) for column in zip(*(each.latency for each in all_), strict=True)],
        cached_seconds=sum(each.cached_seconds for each in all_),
        paths=_shares(each.paths for each in all_),
        roles=_shares(each.roles for each in all_),
        hot=total(lambda each: each.hot),
        burst=total(lambda each: each.burst),
        store=total(lambda each: each.store),
        breaker=max((each.breaker for each in all_), key=_PHASES.index),
        trips=sum(each.trips for each in all_),
        pool=_sums(pools) if pools else None,
        backend=[sum(column) for column in zip(*(each.backend for each in all_), strict=True)],
        resident=sum(each.resident for each in all_),
        collapsed=sum(each.collapsed for each in all_),
        workers=sum(each.workers for each in all_),
    )


def _sums(all_: Iterable[Counts]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for counts in all_:
        for name, count in counts.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def _shares(all_: Iterable[Shares]) -> dict[str, list[int]]:
    sums: dict[str, list[int]] = {}
    for shares in all_:
        for name, (requests, cached) in shares.items():
            share = sums.setdefault(name, [0, 0])
            share[0] += requests
            share[1] += cached
    return sums


def shown(figures: Figures) -> dict[str, object]:
    """What ``/_cache/stats`` answers."""
    f = figures
    hits = sum(count for status, count in f.by_status.items() if status in FROM_CACHE)
    answered, took = f.backend
    mean = took / answered if answered else None
    seconds = max(f.seconds, 1e-9)
    return {
        "time": f.time,
        "version": f.version,
        "uptimeSeconds": round(f.uptime, 3),
        "workers": f.workers,
        "requests": {
            "total": sum(f.by_status.values()),
            "byStatus": dict(f.by_status),
            "windowSeconds": round(f.seconds, 3),
            "window": dict(f.window),
            "perSecond": round(sum(f.window.values()) / seconds, 3),
            "hitRatio": hit_ratio(f.by_status),
            "windowHitRatio": hit_ratio(f.window),
        },
        "latencySeconds": {name: quantile(f.latency, part) for name, part in QUANTILES.items()},
        "savedBackendSeconds": {
            "total": None if mean is None else round(max(0.0, hits * mean - f.cached_seconds), 3),
            "answersFromCache": hits,
            "meanBackendSeconds": mean,
            "how": SAVED_HOW,
        },
        "tiers": {"hot": _tier(f.hot), "burst": _tier(f.burst), "store": _tier(f.store)},
        "store": {"kind": f.kind, "breaker": f.breaker, "breakerTrips": f.trips, "pool": f.pool},
        "backend": {"answered": int(answered), "meanSeconds": mean},
        "memory": {"residentBytes": f.resident},
        "collapsedRequests": f.collapsed,
        "topPaths": _top(f.paths, "path"),
        "topRoles": _top(f.roles, "role"),
    }


def hit_ratio(by_status: Counts) -> float | None:
    """The part of requests that the client had from the cache without waiting for the backend; None without any."""
    counted = sum(count for status, count in by_status.items() if status not in _UNCOUNTED)
    return _ratio(sum(count for status, count in by_status.items() if status in FROM_CACHE), counted)


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _tier(tier: Counts) -> dict[str, Any]:
    return {**tier, "hitRatio": _ratio(tier["hits"], tier["hits"] + tier["misses"])}


def _top(shares: Shares, name: str) -> list[dict[str, object]]:
    first = nlargest(TOP, shares.items(), key=lambda item: item[1][0])
    return [
        {name: label, "requests": requests, "hitRatio": _ratio(cached, requests)} for label, (requests, cached) in first
    ]
