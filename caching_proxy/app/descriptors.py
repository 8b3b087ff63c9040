"""The limit on open files: raised as far as it may be, and compared with what the settings would need."""

from __future__ import annotations

import resource

import attrs

from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.descriptor_shares import OWN, share_out
from caching_proxy.rules.store_topology import ClusterTopology, MemoryTopology
from caching_proxy.settings.model import Settings

ADMIN_CONNECTIONS = 32
"""Connections at most to a port of its own for the admin endpoints."""

_SMALLEST_CLUSTER = 3
_STORE_EXTRAS = 4  # pub/sub, scans, a connection that is being replaced


def raised_limit() -> int | None:
    """The limit on open files after the soft one was raised to the hard one; None where there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # not allowed here: the soft limit it is
            return None if soft == resource.RLIM_INFINITY else soft
    return None if hard == resource.RLIM_INFINITY else hard


def _masters(cache_url: str) -> int:
    """Servers that have a pool each; of a Cluster only its nodes can tell, so at least as many as the smallest has."""
    topology = parse_cache_url(cache_url)
    if isinstance(topology, ClusterTopology):
        return max(_SMALLEST_CLUSTER, len(topology.seeds))
    return 0 if isinstance(topology, MemoryTopology) else 1


def fitted(settings: Settings, limit: int | None) -> tuple[Settings, tuple[str, ...]]:
    """The settings with as many connections as ``limit`` descriptors allow, and warnings where those are fewer."""
    others = _masters(settings.cache_url) * (settings.redis_pool_max + _STORE_EXTRAS)
    if settings.admin_port is not None:
        others += ADMIN_CONNECTIONS
    shares = share_out(limit, settings.max_connections, settings.backend_max_connections, others)
    warnings = tuple(
        f"{name} is {wanted}, but only {fits} fit: this process may open {limit} files, of which"
        f" {OWN} are for itself and {others} for the store and the admin port (raise the limit, ulimit -n)"
        for name, wanted, fits in (
            ("MAX_CONNECTIONS", settings.max_connections, shares.clients),
            ("BACKEND_MAX_CONNECTIONS", settings.backend_max_connections, shares.backend),
        )
        if fits < wanted
    )
    evolved = attrs.evolve(settings, max_connections=shares.clients, backend_max_connections=shares.backend)
    return (evolved if warnings else settings), warnings
