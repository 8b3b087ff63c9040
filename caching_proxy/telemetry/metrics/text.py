"""The project's own series as Prometheus text 0.0.4 or OpenMetrics 1.0.

Written here, since the client library takes 10 µs a line and renders on the reactor's thread: with thousands of
label combinations a scrape would hold up every request for a fifth of a second. The formats differ for us in one
thing only: OpenMetrics names a counter's family without ``_total``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from caching_proxy.telemetry.metrics.cells import Histogram
from caching_proxy.telemetry.metrics.exemplars import Exemplar, Kept
from caching_proxy.telemetry.metrics.series import Series

Values = Mapping[tuple[str, ...], float | Histogram]
"""Label values in declared order → a number or a histogram."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def family(
    series: Series,
    values: Values,
    prefix: str,
    constant: Mapping[str, str],
    openmetrics: bool,
    exemplars: Kept = MappingProxyType({}),
) -> Iterator[str]:
    """The lines of one series, without line ends; ``constant`` are labels that every sample carries.

    ``exemplars`` are those of a histogram's buckets; only OpenMetrics has room for them.
    """
    name = prefix + series.name
    described = name.removesuffix("_total") if openmetrics and series.kind == "counter" else name
    yield f"# HELP {described} {series.help}"
    yield f"# TYPE {described} {series.kind}"
    if not values and not series.labels:
        values = {(): Histogram(series.buckets) if series.kind == "histogram" else 0.0}
    fixed = "".join(f'{label}="{_escaped(value)}",' for label, value in constant.items())
    for label_values, value in values.items():
        pairs = zip(series.labels, label_values, strict=True)
        labels = fixed + "".join([f'{label}="{_escaped(text)}",' for label, text in pairs])
        if isinstance(value, Histogram):
            yield from _histogram(name, labels, value, exemplars.get(label_values, {}) if openmetrics else {})
        else:
            yield f"{name}{_braced(labels)} {number(value)}"


def _histogram(name: str, labels: str, histogram: Histogram, exemplars: Mapping[int, Exemplar]) -> Iterator[str]:
    total = 0
    for bucket, (bound, count) in enumerate(zip(_bounds(histogram.bounds), histogram.counts, strict=True)):
        total += count
        beside = _beside(exemplars[bucket]) if bucket in exemplars else ""
        yield f'{name}_bucket{{{labels}le="{bound}"}} {total}{beside}'
    braced = _braced(labels)
    yield f"{name}_count{braced} {total}"
    yield f"{name}_sum{braced} {number(histogram.sum)}"


def _beside(exemplar: Exemplar) -> str:
    return f' # {{trace_id="{exemplar.trace_id}"}} {number(exemplar.value)} {exemplar.moment:.3f}'


def _bounds(bounds: Sequence[float]) -> tuple[str, ...]:
    return (*map(str, bounds), "+Inf")


def _braced(labels: str) -> str:
    return f"{{{labels[:-1]}}}" if labels else ""


def printable(value: str) -> str:
    """``value`` with what cannot be UTF-8 (lone surrogates) spelled out."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _escaped(value: str) -> str:
    return printable(value).translate(_ESCAPES)


def number(value: float) -> str:
    """A sample's value, with Go's names for what is not finite."""
    if math.isfinite(value):
        return str(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
