"""The table of all series. What is not declared here cannot be counted, and ``docs/metrics.md`` lists every row.

Names are without the deployment's prefix; counters end in ``_total`` (except that a gauge may, where the name is a
promise to users). Labels take values from closed or bounded sets only: each value costs memory until restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs

Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, inclusive; an infinite one follows."""

FINE_BUCKETS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, *LATENCY_BUCKETS)
"""What requests are counted by: most answers from memory are far below the first bound that is scraped."""

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
ACQUISITION_BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@attrs.frozen(slots=True)
class Series:
    """One family of metrics; durations are in seconds, sizes in bytes."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    join: Literal["sum", "max", "min"] = "sum"
    """What several workers together stand at."""


def _tier(prefix: str, what: str) -> Iterator[Series]:
    yield Series(f"{prefix}_entries", "gauge", f"Entries in the {what} cache now.")
    yield Series(f"{prefix}_bytes", "gauge", f"Bytes held by the {what} cache now: keys, heads and bodies.")
    yield Series(f"{prefix}_hits_total", "counter", f"Lookups that the {what} cache answered.")
    yield Series(f"{prefix}_misses_total", "counter", f"Lookups that the {what} cache could not answer.")
    yield Series(f"{prefix}_evictions_total", "counter", f"Entries that the {what} cache dropped to stay in bounds.")
    yield Series(
        f"{prefix}_saved_redis_operations_total", "counter", f"Redis commands not sent because of the {what} cache."
    )


SERIES: tuple[Series, ...] = (
    Series(
        "http_requests_total",
        "counter",
        "Requests answered, by method, normalised path, status code and X-Cache-Status.",
        ("method", "path", "status_code", "cache_status"),
    ),
    Series(
        "http_request_duration_seconds",
        "histogram",
        "Time from the end of a request's head to the end of its answer.",
        ("method", "path", "status_code"),
        LATENCY_BUCKETS,
    ),
    Series(
        "endpoint_usage_total",
        "counter",
        "Requests answered, by method, normalised path, X-Cache-Status and role.",
        ("method", "path", "cache_status", "user_role"),
    ),
    Series("cache_keys_total", "gauge", "Keys in the store when /keys last counted them.", join="max"),
    *_tier("hot_cache", "hot"),
    *_tier("burst_cache", "burst"),
    Series("redis_pool_size", "gauge", "Connections to Redis that are open."),
    Series("redis_pool_in_use", "gauge", "Connections to Redis that carry a command."),
    Series("redis_pool_waiting", "gauge", "Commands that wait for a connection to Redis."),
    Series(
        "redis_pool_acquisition_seconds",
        "histogram",
        "Time that a command waited for a connection to Redis.",
        (),
        ACQUISITION_BUCKETS,
    ),
    Series(
        "event_loop_lag_seconds",
        "histogram",
        "How late a timer of the event loop fired: what everybody waits while one piece of work is done.",
        (),
        LAG_BUCKETS,
    ),
    Series(
        "circuit_breaker_state", "gauge", "Circuit breaker of the store: 0 closed, 1 half-open, 2 open.", join="max"
    ),
    Series("circuit_breaker_trips_total", "counter", "Times that the circuit breaker opened."),
    Series("invalidations_pending", "gauge", "Invalidations that the store has yet to carry out."),
    Series("invalidation_walks_running", "gauge", "Walks over the store's keys for invalidations, under way now."),
    Series(
        "invalidation_walk_seconds", "gauge", "How long the oldest walk under way has taken; 0 without.", join="max"
    ),
    Series("invalidation_walk_keys_looked_at", "gauge", "Keys that walks under way have looked at."),
    Series("invalidation_walk_keys_changed", "gauge", "Keys that walks under way have removed or made stale."),
    Series("invalidation_walks_total", "counter", "Walks over the store's keys that invalidations began."),
    Series("invalidation_keys_looked_at_total", "counter", "Keys that walks for invalidations looked at."),
    Series("bus_subscribed", "gauge", "Whether invalidations of other proxies are heard: 1 or 0.", join="min"),
    Series("bus_sent_total", "counter", "Invalidations that other proxies were told of, in messages."),
    Series("bus_received_total", "counter", "Messages of other proxies about their invalidations."),
    Series("bus_gaps_total", "counter", "Times that messages of other proxies may have been missed."),
    Series("bus_flushes_total", "counter", "Times that memory was emptied, as nobody could tell what was missed."),
    Series("cache_invalidations_total", "counter", "Invalidations carried out, one for each pattern."),
    Series("cache_invalidated_keys_total", "counter", "Distinct keys that invalidations removed from any tier."),
    Series("cache_store_write_failures_total", "counter", "Entries that the store was asked to keep and did not."),
    Series("cache_store_writes_overtaken_total", "counter", "Writes refused for an invalidation yet to be applied."),
    Series("collapsed_requests_total", "counter", "Requests that shared the fetch of another one under way."),
    Series("backend_requests_total", "counter", "Final responses of the backend, by status class.", ("status_class",)),
    Series(
        "backend_request_duration_seconds",
        "histogram",
        "Time from sending a request to the backend to the head of its response.",
        (),
        LATENCY_BUCKETS,
    ),
    Series("backend_connections", "gauge", "Connections to the backend that are open."),
    Series("backend_errors_total", "counter", "Requests that the backend gave no usable response to.", ("kind",)),
    Series("log_lines_lost_total", "counter", "Log lines that were not written, since nothing took them in time."),
)
