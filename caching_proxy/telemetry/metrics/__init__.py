"""Metrics: every series declared once (``series``), counted in plain cells (``cells``), read at scrape time."""

from caching_proxy.telemetry.metrics.cells import Counter, Gauge, Histogram, RequestMeter
from caching_proxy.telemetry.metrics.exposition import Metrics
from caching_proxy.telemetry.metrics.series import SERIES, Series

__all__ = ["SERIES", "Counter", "Gauge", "Histogram", "Metrics", "RequestMeter", "Series"]
