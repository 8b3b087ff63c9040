"""Metrics as a scraper reads them, in both formats."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from caching_proxy.telemetry.metrics import SERIES, Metrics
from caching_proxy.telemetry.metrics.requests import RequestSeries
from caching_proxy.telemetry.metrics.text import number

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def scraped(metrics, accept=None):
    """Sample name and labels → value, from the plain format."""
    _, body = metrics.render(accept)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in (parse_openmetrics if accept else parse_text)(body.decode())
        for sample in family.samples
    }


def value(metrics, name, **labels):
    return scraped(metrics)[name, tuple(sorted(labels.items()))]


def test_both_formats_say_the_same():
    metrics = Metrics("shop", "shop")
    metrics.request_children("GET", "/x", 200, "HIT", "admin").observe(0.2)
    metrics.counter("backend_errors_total", "timeout").inc()
    metrics.histogram("redis_pool_acquisition_seconds").observe(0.0002)
    moving = ("process_", "python_gc")
    plain, open_ = (
        {key: value for key, value in scraped(metrics, accept).items() if not key[0][5:].startswith(moving)}
        for accept in (None, "application/openmetrics-text")
    )
    assert plain == open_
    assert len(plain) > 60


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_every_series_is_typed_described_and_named_once(openmetrics):
    _, body = Metrics().render("application/openmetrics-text" if openmetrics else None)
    names = re.findall(rb"^# TYPE (\S+) (\S+)$", body, re.MULTILINE)
    assert len(names) == len({name for name, _ in names})
    for series in SERIES:
        name = series.name.removesuffix("_total") if openmetrics and series.kind == "counter" else series.name
        assert (name.encode(), series.kind.encode()) in names
        assert f"# HELP {name} {series.help}\n".encode() in body


def test_one_observation_counts_in_three_series():
    metrics = Metrics()
    for status, cache_status, role, seconds in [
        (200, "HIT", "admin", 0.005),
        (200, "HIT", "editor", 0.006),
        (200, "MISS", "admin", 0.3),
        (404, "MISS", "admin", 60.0),
    ]:
        metrics.request_children("GET", "/x", status, cache_status, role).observe(seconds)
    seen = {"method": "GET", "path": "/x"}
    assert value(metrics, "http_requests_total", **seen, status_code="200", cache_status="HIT") == 2
    assert value(metrics, "http_requests_total", **seen, status_code="404", cache_status="MISS") == 1
    assert value(metrics, "endpoint_usage_total", **seen, cache_status="MISS", user_role="admin") == 2
    name = "http_request_duration_seconds"
    for bound, count in {"0.005": 1, "0.01": 2, "0.25": 2, "0.5": 3, "+Inf": 3}.items():
        assert value(metrics, name + "_bucket", **seen, status_code="200", le=bound) == count
    assert value(metrics, name + "_count", **seen, status_code="200") == 3
    assert value(metrics, name + "_sum", **seen, status_code="200") == pytest.approx(0.311)
    assert value(metrics, name + "_bucket", **seen, status_code="404", le="10.0") == 0


def test_the_same_labels_have_the_same_meter():
    metrics = Metrics()
    labels = ("GET", "/x", 200, "HIT", "admin")
    assert metrics.request_children(*labels) is metrics.request_children(*labels)


def test_roles_are_bounded_and_the_built_in_ones_keep_their_names():
    series = RequestSeries(max_roles=7)
    for role in ["a", "b", "c", "d", "admin"]:
        series.meter("GET", "/x", 200, "HIT", role).observe(0.1)
    assert {labels[3]: count for labels, count in series.usage().items()} == {"a": 1, "b": 1, ":other": 2, "admin": 1}


def test_combinations_are_bounded_and_none_is_lost():
    series = RequestSeries(max_meters=10)
    for n in range(100):
        series.meter("GET", f"/{n}", 200, "HIT", "admin").observe(0.1)
    totals = series.totals()
    assert sum(totals.values()) == 100
    assert totals["GET", ":other", "200", "HIT"] == 90
    assert len(totals) == 11
    assert len(series._known) <= 20


@pytest.mark.parametrize(
    ("status", "label"), [(100, "100"), (599, "599"), (99, "other"), (600, "other"), (-1, "other")]
)
def test_odd_statuses(status, label):
    metrics = Metrics()
    metrics.request_children("GET", "/", status, "MISS", "admin").observe(0.1)
    assert value(metrics, "http_requests_total", method="GET", path="/", status_code=label, cache_status="MISS") == 1


def test_prefix_and_app():
    samples = scraped(Metrics("shop", "shop"))
    assert samples["shop_hot_cache_hits_total", (("app", "shop"),)] == 0
    assert all(name.startswith("shop_") and ("app", "shop") in labels for name, labels in samples)
    assert any(name.startswith("shop_process_") or name == "shop_python_info" for name, _ in samples)


def test_without_a_prefix_there_is_no_label():
    assert scraped(Metrics())["hot_cache_hits_total", ()] == 0


def test_a_prefix_may_bring_its_own_underscore():
    assert ("a_hot_cache_hits_total", ()) in scraped(Metrics("a_"))


@pytest.mark.parametrize("prefix", ["1a", "a-b", "a b", "é", 'a"', "_"])
def test_prefixes_that_cannot_begin_a_name(prefix):
    if prefix == "_":
        assert scraped(Metrics(prefix))
    else:
        with pytest.raises(ValueError, match="cannot begin"):
            Metrics(prefix)


def test_runtime_metrics_are_there():
    names = {name for name, _ in scraped(Metrics())}
    assert {"python_info", "python_gc_collections_total"} <= names


def test_two_instances_share_nothing():
    one, two = Metrics(), Metrics()
    one.counter("collapsed_requests_total").inc(2)
    assert (value(one, "collapsed_requests_total"), value(two, "collapsed_requests_total")) == (2, 0)


def test_cells():
    metrics = Metrics()
    counter = metrics.counter("backend_requests_total", "2xx")
    assert metrics.counter("backend_requests_total", "2xx") is counter
    counter.inc()
    counter.inc(2)
    gauge = metrics.gauge("backend_connections")
    gauge.set(5)
    gauge.inc()
    metrics.histogram("backend_request_duration_seconds").observe(0.02)
    assert value(metrics, "backend_requests_total", status_class="2xx") == 3
    assert value(metrics, "backend_connections") == 6
    assert value(metrics, "backend_request_duration_seconds_bucket", le="0.025") == 1


@pytest.mark.parametrize(
    ("kind", "name", "labels", "error"),
    [
        ("counter", "nothing_total", (), KeyError),
        ("counter", "backend_connections", (), ValueError),
        ("counter", "backend_errors_total", (), ValueError),
        ("gauge", "collapsed_requests_total", (), ValueError),
        ("histogram", "redis_pool_acquisition_seconds", ("x",), ValueError),
    ],
)
def test_only_what_is_declared_can_be_counted(kind, name, labels, error):
    with pytest.raises(error):
        getattr(Metrics(), kind)(name, *labels)


def test_watched_values_are_read_at_each_scrape():
    metrics = Metrics()
    entries = [3]
    metrics.watch("hot_cache_entries", entries.__len__)
    metrics.watch("backend_errors_total", lambda: {("timeout",): 2, ("refused",): 1})
    entries.append(4)
    assert value(metrics, "hot_cache_entries") == 2
    assert value(metrics, "backend_errors_total", kind="refused") == 1


def test_a_watched_value_that_fails_spoils_nothing_else():
    metrics = Metrics()
    failures = []
    metrics._log.failure = lambda *args, **kwargs: failures.append(kwargs)
    metrics.watch("hot_cache_entries", lambda: 1 // 0)
    assert value(metrics, "hot_cache_bytes") == 0
    assert failures == [{"series": "hot_cache_entries"}]


def test_histograms_cannot_be_watched():
    with pytest.raises(ValueError, match="histogram"):
        Metrics().watch("redis_pool_acquisition_seconds", lambda: 0)


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "é", "\ud800", "", "a\\n"])
@pytest.mark.parametrize("accept", [None, "application/openmetrics-text"])
def test_any_label_value_can_be_scraped(text, accept):
    metrics = Metrics("p", text)
    metrics.counter("backend_errors_total", text).inc()
    shown = text.encode("utf-8", "backslashreplace").decode()
    labels = {"kind": shown, **({"app": shown} if text else {})}
    assert scraped(metrics, accept)["p_backend_errors_total", tuple(sorted(labels.items()))] == 1


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("text/plain, Application/OpenMetrics-Text", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=0.000", False),
        (";;,=,q", False),
        ("application/openmetrics-text;version=banana", True),
    ],
)
def test_the_format_is_negotiated(accept, openmetrics):
    content_type, body = Metrics().render(accept)
    assert content_type.startswith(b"application/openmetrics-text" if openmetrics else b"text/plain; version=0.0.4")
    assert body.endswith(b"# EOF\n") is openmetrics


@pytest.mark.parametrize(
    ("given", "text"), [(1, "1"), (0.5, "0.5"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")]
)
def test_numbers(given, text):
    assert number(given) == text


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_every_series_is_documented(series):
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{series.name}` |")]
    assert len(rows) == 1
    _, _, kind, labels, meaning, _ = (cell.strip() for cell in rows[0].split("|"))
    assert kind == series.kind
    assert re.findall(r"`(\w+)`", labels) == list(series.labels)
    assert meaning


def test_the_document_names_no_series_that_is_not_there():
    text = DOCUMENT.read_text()
    known = {name for name, _ in scraped(Metrics())} | {series.name for series in SERIES}
    known |= {"process_open_fds", "process_max_fds"} | {name.removesuffix("_bucket") for name in known}
    for series in SERIES:
        if series.kind == "histogram":
            known |= {series.name + suffix for suffix in ("_bucket", "_sum", "_count")}
    queries = "".join(re.findall(r"```promql\n(.*?)```", text, re.DOTALL))
    used = set(re.findall(r"\b[a-z]+(?:_[a-z]+){1,}\b(?=[\[{ )]|$)", queries, re.MULTILINE))
    used -= {"cache_status", "status_code", "status_class", "user_role", "group_left", "max_over_time"}
    assert used <= known
    assert len(used) > 15
