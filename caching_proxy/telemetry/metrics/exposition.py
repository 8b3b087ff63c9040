"""The registry of one proxy and its answer to a scrape.

Numbers come from three places: cells that others increment, functions read at scrape time (``watch``), and the
request series. A function that fails loses its own sample, never the scrape. Each instance has its own registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as _openmetrics_text
from prometheus_client.registry import Collector
from twisted.logger import Logger

from caching_proxy.telemetry.metrics.cells import Counter, Gauge, Histogram, RequestMeter
from caching_proxy.telemetry.metrics.exemplars import Exemplars, Kept, merged
from caching_proxy.telemetry.metrics.requests import RequestSeries
from caching_proxy.telemetry.metrics.series import LATENCY_BUCKETS, SERIES, Kind, Series
from caching_proxy.telemetry.metrics.snapshot import Family, Snapshot, by_worker, summed
from caching_proxy.telemetry.metrics.text import Values, family, printable

Reading = float | Mapping[tuple[str, ...], float]
"""One number, or one for each combination of label values."""

Cell = Counter | Gauge | Histogram
C = TypeVar("C", Counter, Gauge, Histogram)

_DURATION = "http_request_duration_seconds"
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

openmetrics_text = cast("Callable[[CollectorRegistry], bytes]", _openmetrics_text)  # has no annotations


class Metrics:
    """Counts and renders every series of the table.

    ``prefix`` and ``_`` go before every name; ``app`` is the value of a constant label of that name on every sample.
    Either may be empty. Raises ValueError for a prefix that cannot begin a metric name.
    """

    def __init__(self, prefix: str = "", app: str = "") -> None:
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError(f"{prefix!r} cannot begin the name of a metric")
        self._series = {series.name: series for series in SERIES}
        self._cells: dict[str, dict[tuple[str, ...], Cell]] = {series.name: {} for series in SERIES}
        self._watched: dict[str, Callable[[], Reading]] = {}
        self.requests = RequestSeries()
        self.exemplars = Exemplars(LATENCY_BUCKETS)
        """Of ``http_request_duration_seconds``; there are some where requests are traced."""
        self._log = Logger()
        self.request_children: Callable[[str, str, int, str, str], RequestMeter] = self.requests.meter
        """method, path label, status, X-Cache-Status, role label → the meter for these, always the same one."""
        self._prefix = prefix.rstrip("_") + "_" if prefix else ""
        self._constant = {"app": printable(app)} if app else {}
        self._runtime = CollectorRegistry()
        for collector in _runtime_collectors():
            self._runtime.register(_Named(collector, self._prefix, self._constant))

    def counter(self, name: str, *labels: str) -> Counter:
        """The cell of a declared counter for these label values. KeyError or ValueError if there is no such one."""
        return self._cell(name, "counter", labels, Counter)

    def gauge(self, name: str, *labels: str) -> Gauge:
        """The cell of a declared gauge."""
        return self._cell(name, "gauge", labels, Gauge)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The cell of a declared histogram; observations in seconds."""
        buckets = self._series[name].buckets
        return self._cell(name, "histogram", labels, lambda: Histogram(buckets))

    def watch(self, name: str, read: Callable[[], Reading]) -> None:
        """Ask ``read`` for the value of a declared counter or gauge at each scrape; it replaces an earlier one.

        A series with labels is read as a mapping from label values in declared order.
        """
        if self._series[name].kind == "histogram":
            raise ValueError(f"{name} is a histogram and must be observed")
        self._watched[name] = read

    def render(self, accept: str | None) -> tuple[bytes, bytes]:
        """Content type and body of a scrape, as OpenMetrics if ``accept`` names it, else as plain text."""
        return self._rendered(self._values, self._runtime, accept, self.exemplars.all())

    def snapshot(self, process: str, number: int) -> Snapshot:
        """What stands here now, for :meth:`render_all`; the arguments say whose it is."""
        runtime = [Family.of(metric) for metric in self._runtime.collect()]
        values = {series.name: self._values(series) for series in SERIES}
        return Snapshot(process, number, values, runtime, self.exemplars.all())

    def render_all(self, snapshots: Sequence[Snapshot], accept: str | None) -> tuple[bytes, bytes]:
        """As :meth:`render`, for several processes."""
        values = summed(snapshots)
        runtime = CollectorRegistry()
        runtime.register(_Given(by_worker(snapshots)))
        exemplars = merged([snapshot.exemplars for snapshot in snapshots])
        return self._rendered(lambda series: values.get(series.name, {}), runtime, accept, exemplars)

    def _rendered(
        self, values: Callable[[Series], Values], runtime: CollectorRegistry, accept: str | None, exemplars: Kept
    ) -> tuple[bytes, bytes]:
        openmetrics = _accepts_openmetrics(accept or "")
        lines: list[str] = []
        for series in SERIES:
            beside: Kept = exemplars if series.name == _DURATION else {}
            lines.extend(family(series, values(series), self._prefix, self._constant, openmetrics, beside))
        declared = "\n".join([*lines, ""]).encode()
        if openmetrics:
            return CONTENT_TYPE_OPENMETRICS.encode(), declared + openmetrics_text(runtime)
        return CONTENT_TYPE_PLAIN_0_0_4.encode(), declared + plain_text(runtime)

    def _cell(self, name: str, kind: Kind, labels: tuple[str, ...], make: Callable[[], C]) -> C:
        series = self._series[name]
        if series.kind != kind or len(labels) != len(series.labels):
            raise ValueError(f"{name} is a {series.kind} with the labels {series.labels}")
        cells = self._cells[name]
        if labels not in cells:
            cells[labels] = make()
        return cast("C", cells[labels])

    def _values(self, series: Series) -> Values:
        """Label values → what the series stands at now."""
        if series.name in self._watched:
            return self._read(series)
        if series.name == "http_requests_total":
            return self.requests.totals()
        if series.name == _DURATION:
            return self.requests.durations()
        if series.name == "endpoint_usage_total":
            return self.requests.usage()
        return {labels: _value(cell) for labels, cell in self._cells[series.name].items()}

    def _read(self, series: Series) -> Values:
        try:
            reading = self._watched[series.name]()
        except Exception:  # noqa: BLE001  whatever is wrong there, the rest of the scrape is needed all the more
            self._log.failure("{series} could not be read", series=series.name)
            return {}
        return reading if isinstance(reading, Mapping) else {(): reading}


def _value(cell: Cell) -> float | Histogram:
    return cell if isinstance(cell, Histogram) else cell.value


def _runtime_collectors() -> tuple[Collector, ...]:
    """The client library's own: process, Python platform, garbage collection; none registered globally."""
    return (
        ProcessCollector(registry=None),
        PlatformCollector(registry=None),
        GCCollector(registry=CollectorRegistry()),
    )


class _Named(Collector):
    """Another collector's metrics with a prefix to their names and constant labels."""

    def __init__(self, inner: Collector, prefix: str, constant: Mapping[str, str]) -> None:
        self._inner = inner
        self._prefix = prefix
        self._constant = dict(constant)

    def collect(self) -> Iterable[Metric]:
        if not self._prefix and not self._constant:
            return self._inner.collect()
        return (self._renamed(metric) for metric in self._inner.collect())

    def _renamed(self, metric: Metric) -> Metric:
        renamed = Metric(self._prefix + metric.name, metric.documentation, metric.type, metric.unit)
        renamed.samples = [
            sample._replace(name=self._prefix + sample.name, labels={**self._constant, **sample.labels})
            for sample in metric.samples
        ]
        return renamed


class _Given(Collector):
    """Metrics that are collected already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _accepts_openmetrics(accept: str) -> bool:
    """Whether a media range names OpenMetrics and does not refuse it with a weight of zero (RFC 9110 §12.4.2)."""
    for media_range in accept.split(","):
        name, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if name == "application/openmetrics-text":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
