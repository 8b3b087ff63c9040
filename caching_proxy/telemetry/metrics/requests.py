"""The three request series, kept as one meter for each combination of labels.

The number of combinations is bounded: past the bound, paths and roles fold into ``:other``. Meters are never
dropped, as a counter that falls back to zero would show as a burst of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from caching_proxy.telemetry.metrics.cells import Histogram, RequestMeter
from caching_proxy.telemetry.metrics.series import FINE_BUCKETS, LATENCY_BUCKETS

OTHER = ":other"
MAX_ROLES = 100
MAX_METERS = 5000

_BUILT_IN_ROLES = ("anonymous", "authenticated", "admin", "opaque", "invalid")

Labels = tuple[str, str, int, str, str]
"""method, path, status code, X-Cache-Status, role"""


class RequestSeries:
    """Meters by labels. ``method`` and ``path`` are of bounded sets (``telemetry.metrics.path_labels``)."""

    def __init__(self, max_roles: int = MAX_ROLES, max_meters: int = MAX_METERS) -> None:
        self._meters: dict[Labels, RequestMeter] = {}
        self._known: dict[Labels, RequestMeter] = {}  # what callers ask for → the meter that counts it
        self._roles = set(_BUILT_IN_ROLES)
        self._max_roles = max_roles
        self._max_meters = max_meters

    def meter(self, method: str, path: str, status: int, cache_status: str, role: str) -> RequestMeter:
        labels = (method, path, status, cache_status, role)
        found = self._known.get(labels)
        return found if found is not None else self._make(labels)

    def _make(self, labels: Labels) -> RequestMeter:
        method, path, status, cache_status, role = labels
        if role not in self._roles:
            if len(self._roles) >= self._max_roles:
                role = OTHER
            else:
                self._roles.add(role)
        status = status if 100 <= status <= 599 else 0
        counted = (method, path, status, cache_status, role)
        if counted not in self._meters and len(self._meters) >= self._max_meters:
            counted = (method, OTHER, status, cache_status, OTHER)
        meter = self._meters.get(counted)
        if meter is None:
            meter = self._meters[counted] = RequestMeter()
        if len(self._known) < 2 * self._max_meters:
            self._known[labels] = meter
        return meter

    def totals(self) -> Mapping[tuple[str, ...], int]:
        """Of ``http_requests_total``: method, path, status code, cache status → count."""
        sums: dict[tuple[str, ...], int] = {}
        for (method, path, status, cache_status, _), count in self._counts():
            labels = (method, path, _code(status), cache_status)
            sums[labels] = sums.get(labels, 0) + count
        return sums

    def usage(self) -> Mapping[tuple[str, ...], int]:
        """Of ``endpoint_usage_total``: method, path, cache status, role → count."""
        sums: dict[tuple[str, ...], int] = {}
        for (method, path, _, cache_status, role), count in self._counts():
            labels = (method, path, cache_status, role)
            sums[labels] = sums.get(labels, 0) + count
        return sums

    def durations(self) -> Mapping[tuple[str, ...], Histogram]:
        """Of ``http_request_duration_seconds``: method, path, status code → histogram."""
        sums: dict[tuple[str, ...], Histogram] = {}
        for (method, path, status, _, _), meter in self._meters.items():
            labels = (method, path, _code(status))
            if labels not in sums:
                sums[labels] = Histogram(FINE_BUCKETS)
            sums[labels].add(meter)
        return {labels: fine.folded(LATENCY_BUCKETS) for labels, fine in sums.items()}

    def meters(self) -> Mapping[Labels, RequestMeter]:
        """Every meter by what it counts."""
        return self._meters

    def _counts(self) -> Iterator[tuple[Labels, int]]:
        return ((labels, sum(meter.counts)) for labels, meter in self._meters.items())


def _code(status: int) -> str:
    return str(status) if status else "other"
