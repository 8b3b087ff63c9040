"""The proxy's own endpoints, by path, for the proxy port or for a port of their own.

They see the rest of the program only through :class:`AdminServices`. Answers are JSON whatever happens.
"""

from __future__ import annotations

from twisted.web.resource import Resource

from caching_proxy.web.admin.cache import KeyResource, KeysResource
from caching_proxy.web.admin.guard import Guard
from caching_proxy.web.admin.insight import EventsResource, MovedResource, OpenApiResource, StatsResource, WhyResource
from caching_proxy.web.admin.invalidate import InvalidateResource
from caching_proxy.web.admin.services import AdminResource, AdminServices, ReadyReport
from caching_proxy.web.admin.status import HealthResource, MetricsResource, ReadyResource
from caching_proxy.web.dashboard.resources import dashboard_children

__all__ = [
    "OWN_PATHS",
    "AdminServices",
    "HealthResource",
    "InvalidateResource",
    "KeyResource",
    "KeysResource",
    "MetricsResource",
    "ReadyReport",
    "ReadyResource",
    "admin_children",
]


_KINDS: dict[bytes, type[AdminResource]] = {
    b"health": HealthResource,
    b"ready": ReadyResource,
    b"metrics": MetricsResource,
    b"invalidate": InvalidateResource,
    b"keys": KeysResource,
    b"key": KeyResource,
    b"_cache": MovedResource,
    b"_cache/stats": StatsResource,
    b"_cache/events": EventsResource,
    b"_cache/why": WhyResource,
    b"_cache/openapi.json": OpenApiResource,
}

OWN_PATHS = frozenset(b"/" + name for name in _KINDS)
"""The paths of the endpoints."""


def admin_children(services: AdminServices) -> dict[bytes, Resource]:
    """Every endpoint, and every file of the dashboard, by its path without the first slash; they share one guard."""
    guard = Guard(services.token, services.open_, services.clock)
    page = {b"_cache/" + name: resource for name, resource in dashboard_children(services, guard).items()}
    return {**{name: kind(services, guard) for name, kind in _KINDS.items()}, **page}
