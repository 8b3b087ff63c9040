"""Metrics: every series declared once (``series``), counted in plain cells (``cells``), read at scrape time.

Belongs here: the table of series, cells, labels that stay few, what a scrape is answered with.
Does not belong here: what is counted; whoever counts holds a cell.
May import: what ``telemetry`` may.
"""

from caching_proxy.telemetry.metrics.cells import Counter, Gauge, Histogram, RequestMeter
from caching_proxy.telemetry.metrics.exposition import Metrics
from caching_proxy.telemetry.metrics.series import SERIES, Series

__all__ = ["SERIES", "Counter", "Gauge", "Histogram", "Metrics", "RequestMeter", "Series"]
