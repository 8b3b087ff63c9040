"""Totals, windows and quantiles of requests, taken from the meters that count them."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.telemetry.metrics.cells import Histogram
from caching_proxy.telemetry.metrics.requests import RequestSeries
from caching_proxy.telemetry.metrics.series import FINE_BUCKETS, LATENCY_BUCKETS
from caching_proxy.telemetry.traffic import APART_SECONDS, WINDOW_SECONDS, Traffic, quantile, top

seconds = st.floats(0, 20, allow_nan=False)


def counted(*observed: float) -> list[int]:
    histogram = Histogram(FINE_BUCKETS)
    for one in observed:
        histogram.observe(one)
    return histogram.counts


@given(st.lists(seconds, max_size=40))
def test_folding_is_what_fewer_buckets_would_have_counted(observed: list[float]) -> None:
    fine, coarse = Histogram(FINE_BUCKETS), Histogram(LATENCY_BUCKETS)
    for one in observed:
        fine.observe(one)
        coarse.observe(one)
    folded = fine.folded(LATENCY_BUCKETS)
    assert (folded.counts, folded.sum, folded.bounds) == (coarse.counts, coarse.sum, coarse.bounds)


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_quantile_is_exact_to_the_width_of_its_bucket(observed: list[float], part: float) -> None:
    found = quantile(counted(*observed), part)
    rank = -(-part * len(observed) // 1)  # the smallest that so many do not exceed
    true = sorted(observed)[max(0, int(rank) - 1)]
    low, high = 0.0, inf
    for bound in FINE_BUCKETS:
        if bound < true:
            low = bound
        elif bound >= true:
            high = bound
            break
    assert found is not None
    assert low <= found <= high * (1 + 1e-9)


def test_quantiles_at_the_ends() -> None:
    assert quantile(counted(), 0.5) is None
    assert quantile(counted(50.0), 0.5) == FINE_BUCKETS[-1]


def test_windows_and_totals() -> None:
    series = RequestSeries()
    traffic = Traffic(series, 100.0)
    series.meter("GET", "/x", 200, "HOT_HIT", "admin").observe(0.001)
    before, now = traffic.look(101.0)
    assert (before.requests, now.by_status) == (0, {"HOT_HIT": 1})
    series.meter("GET", "/y", 200, "MISS", "anonymous").observe(0.5)
    series.meter("GET", "/x", 200, "HOT_HIT", "admin").observe(0.0)
    before, now = traffic.look(101.0 + WINDOW_SECONDS)
    assert (before.by_status, now.by_status) == ({"HOT_HIT": 1}, {"HOT_HIT": 2, "MISS": 1})
    assert [after - first for after, first in zip(now.latency, before.latency, strict=True)] == counted(0.5, 0.0)
    assert traffic.cached_seconds == pytest.approx(0.001)
    shares = [(name, share.requests, share.cached) for name, share in top(traffic.paths, 5)]
    assert shares == [("/x", 2, 2), ("/y", 1, 0)]
    assert [name for name, _ in top(traffic.roles, 1)] == ["admin"]


def test_looks_in_a_row_do_not_shorten_the_window() -> None:
    traffic = Traffic(RequestSeries(), 0.0)
    for step in range(1000):
        before, now = traffic.look(step * APART_SECONDS / 10)
        if now.moment > 2 * WINDOW_SECONDS:
            assert WINDOW_SECONDS - 1 <= now.moment - before.moment < WINDOW_SECONDS + 1.1


def test_what_is_kept_is_bounded() -> None:
    series = RequestSeries(max_roles=10, max_meters=50)
    traffic = Traffic(series, 0.0)
    for n in range(500):
        series.meter("GET", f"/{n}", 200, "MISS", f"role{n}").observe(0.1)
        traffic.look(float(n))
    assert traffic.by_status == {"MISS": 500}
    assert (len(traffic.paths), len(traffic._seen), len(traffic._samples)) <= (51, 51, 32)
