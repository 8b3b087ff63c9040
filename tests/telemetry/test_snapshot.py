"""What several processes have counted, added up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from caching_proxy.telemetry.metrics import SERIES, Metrics
from caching_proxy.telemetry.metrics.snapshot import Snapshot, by_worker, summed


def metrics(**counted: float) -> Metrics:
    made = Metrics()
    for name, value in counted.items():
        if name.endswith("_total") and name != "cache_keys_total":
            made.counter(name).inc(value)
        else:
            made.gauge(name).set(value)
    return made


def snapshots(*several: Metrics) -> list[Snapshot]:
    """Each as a sibling would get it."""
    return [Snapshot.decode(each.snapshot(str(n), n).encode()) for n, each in enumerate(several, 1)]


@pytest.mark.parametrize(
    ("name", "values", "together"),
    [
        ("cache_invalidations_total", [1, 2, 4], 7),
        ("hot_cache_entries", [10, 20, 0], 30),
        ("hot_cache_hits_total", [10, 20, 0], 30),
        ("redis_pool_size", [2, 2, 3], 7),
        ("backend_connections", [1, 0, 5], 6),
        ("circuit_breaker_state", [0, 2, 1], 2),
        ("bus_subscribed", [1, 0, 1], 0),
        ("bus_subscribed", [1, 1, 1], 1),
        ("cache_keys_total", [0, 40, 40], 40),
    ],
)
def test_what_several_stand_at(name: str, values: list[float], together: float) -> None:
    made = summed(snapshots(*(metrics(**{name: value}) for value in values)))
    assert made[name] == {(): together}


def test_histograms_and_requests_are_added() -> None:
    first, second = metrics(), metrics()
    for each, seconds in ((first, 0.003), (second, 0.2), (second, 99)):
        each.histogram("backend_request_duration_seconds").observe(seconds)
        each.request_children("GET", "/x", 200, "HIT", "anonymous").observe(seconds)
    first.request_children("GET", "/y", 200, "HIT", "anonymous").observe(1)
    made = summed(snapshots(first, second))
    histogram: Any = made["backend_request_duration_seconds"][()]
    assert (sum(histogram.counts), histogram.sum) == (3, pytest.approx(99.203))
    assert made["http_requests_total"] == {("GET", "/x", "200", "HIT"): 3, ("GET", "/y", "200", "HIT"): 1}


@given(st.lists(st.lists(st.integers(0, 2**40), min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_order_does_not_matter(counts: list[list[int]]) -> None:
    several = []
    for row in counts:
        each = Metrics()
        for n, count in enumerate(row):
            each.counter("backend_errors_total", f"kind{n}").inc(count)
        several.append(each)
    forward, backward = summed(snapshots(*several)), summed(reversed(snapshots(*several)))
    assert forward["backend_errors_total"] == backward["backend_errors_total"]
    total = sum(forward["backend_errors_total"].values())  # type: ignore[arg-type]
    assert total == sum(map(sum, counts))


def test_only_what_was_counted_outlives_a_process() -> None:
    [snapshot] = snapshots(metrics(hot_cache_entries=3, cache_invalidations_total=4))
    kept = snapshot.lasting()
    assert "hot_cache_entries" not in kept.values
    assert kept.values["cache_invalidations_total"] == {(): 4}
    assert kept.runtime == ()


def test_one_rendering_has_each_family_once_and_names_the_workers() -> None:
    several = [metrics(hot_cache_entries=1), metrics(hot_cache_entries=2)]
    _, text = several[0].render_all(snapshots(*several), None)
    families = list(text_string_to_metric_families(text.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    resident = next(family for family in families if family.name == "process_resident_memory_bytes")
    assert {sample.labels["worker"] for sample in resident.samples} == {"1", "2"}
    assert {series.name.removesuffix("_total") for series in SERIES} <= {name.removesuffix("_total") for name in names}


def test_of_two_processes_of_one_name_the_later_has_it() -> None:
    made = [metrics().snapshot("1", 1), metrics().snapshot("1", 5), metrics().snapshot("2", 2)]
    for family in by_worker(made):
        assert {sample.labels["worker"] for sample in family.samples} == {"1", "1.1", "2"}


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"process": "1", "number": 1, "values": {"cache_invalidations_total": 3}, "runtime": []}'],
)
def test_what_is_no_snapshot_is_refused(text: bytes) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Snapshot.decode(text)


def test_another_number_of_buckets_is_refused() -> None:
    written = b'{"process":"","number":1,"values":{"backend_request_duration_seconds":[[[],[1.0,2]]]},"runtime":[]}'
    with pytest.raises(ValueError, match="buckets"):
        Snapshot.decode(written)
