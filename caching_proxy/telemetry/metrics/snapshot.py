"""What one process has counted, as a value that can be sent, kept after its end, and added to those of others.

Counters and histograms are added. So are gauges, unless their row says that the greatest or the least counts. Metrics
of the process itself stay apart, told from each other by the label ``worker``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from prometheus_client.metrics_core import Metric

from caching_proxy.telemetry.metrics.cells import Histogram
from caching_proxy.telemetry.metrics.exemplars import Exemplar, Kept
from caching_proxy.telemetry.metrics.series import SERIES, Series
from caching_proxy.telemetry.metrics.text import Values

_SERIES = {series.name: series for series in SERIES}
_JOIN = {"sum": sum, "max": max, "min": min}

Sample = tuple[str, dict[str, str], float]


@attrs.frozen(slots=True)
class Family:
    """A metric of the client library's own, with its samples."""

    name: str
    documentation: str
    type: str
    samples: Sequence[Sample]

    @classmethod
    def of(cls, metric: Metric) -> Family:
        samples = [(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples]
        return cls(metric.name, metric.documentation, metric.type, samples)


@attrs.frozen(slots=True)
class Snapshot:
    """``process`` names the process in the label ``worker``; its ``number`` is higher the later it was started."""

    process: str
    number: int
    values: Mapping[str, Values]
    runtime: Sequence[Family] = ()
    exemplars: Kept = attrs.Factory(dict)

    def encode(self) -> bytes:
        values = {
            name: [[list(labels), _written(value)] for labels, value in found.items()]
            for name, found in self.values.items()
            if found
        }
        runtime = [[each.name, each.documentation, each.type, each.samples] for each in self.runtime]
        exemplars = [
            [list(labels), [[bucket, each.trace_id, each.value, each.moment] for bucket, each in buckets.items()]]
            for labels, buckets in self.exemplars.items()
        ]
        written = {"process": self.process, "number": self.number, "values": values, "runtime": runtime}
        if exemplars:
            written["exemplars"] = exemplars
        return json.dumps(written, separators=(",", ":"), check_circular=False).encode()

    @classmethod
    def decode(cls, text: bytes) -> Snapshot:
        """Raises KeyError, TypeError or ValueError for what :meth:`encode` has not made."""
        written = json.loads(text)
        values = {
            name: {tuple(labels): _read(_SERIES[name], value) for labels, value in found}
            for name, found in written["values"].items()
            if name in _SERIES
        }
        runtime = [
            Family(name, documentation, kind, [(sample, labels, value) for sample, labels, value in samples])
            for name, documentation, kind, samples in written["runtime"]
        ]
        exemplars = {
            tuple(labels): {
                int(bucket): Exemplar(str(trace), float(value), float(moment)) for bucket, trace, value, moment in found
            }
            for labels, found in written.get("exemplars", ())
        }
        return cls(written["process"], written["number"], values, runtime, exemplars)

    def lasting(self) -> Snapshot:
        """What stays true after the process has ended: what it counted."""
        kept = {name: values for name, values in self.values.items() if _SERIES[name].kind != "gauge"}
        return Snapshot(self.process, self.number, kept)


def _written(value: float | Histogram) -> Any:
    return [value.sum, *value.counts] if isinstance(value, Histogram) else value


def _read(series: Series, written: Any) -> float | Histogram:
    if series.kind != "histogram":
        return float(written)
    made = Histogram(series.buckets)
    made.sum, counts = float(written[0]), [int(count) for count in written[1:]]
    if len(counts) != len(made.counts):
        raise ValueError(f"{series.name} has {len(made.counts)} buckets")
    made.counts = counts
    return made


def summed(snapshots: Iterable[Snapshot]) -> dict[str, Values]:
    """Series → label values → what all processes together stand at."""
    gathered: dict[str, dict[tuple[str, ...], list[float | Histogram]]] = {}
    for snapshot in snapshots:
        for name, values in snapshot.values.items():
            found = gathered.setdefault(name, {})
            for labels, value in values.items():
                found.setdefault(labels, []).append(value)
    return {
        name: {labels: _joined(_SERIES[name], values) for labels, values in found.items()}
        for name, found in gathered.items()
    }


def _joined(series: Series, values: Sequence[float | Histogram]) -> float | Histogram:
    if series.kind != "histogram":
        return float(_JOIN[series.join](values))  # type: ignore[operator]
    total = Histogram(series.buckets)
    for each in values:
        assert isinstance(each, Histogram)
        total.add(each)
    return total


def by_worker(snapshots: Iterable[Snapshot]) -> list[Metric]:
    """The processes' own metrics, each family once, its samples with the label ``worker``.

    Of several processes of one name, as during a reload, the latest has it; others have their number beside it.
    """
    families: dict[str, Metric] = {}
    taken: set[str] = set()
    for snapshot in sorted(snapshots, key=lambda each: -each.number):
        name = snapshot.process if snapshot.process not in taken else f"{snapshot.process}.{snapshot.number}"
        taken.add(name)
        for family in snapshot.runtime:
            metric = families.get(family.name)
            if metric is None:
                metric = families[family.name] = Metric(family.name, family.documentation, family.type)
            for sample, labels, value in family.samples:
                metric.add_sample(sample, {**labels, "worker": name}, value)
    return list(families.values())
