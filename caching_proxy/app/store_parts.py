"""The store and the bus, as the settings say."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from caching_proxy.app.instruments import on_phase
from caching_proxy.interfaces import IClaims, IInvalidationBus, IStore
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.unopened import STATE_DIR_ALLOWED
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.journal import Journal
from caching_proxy.store.redis.endpoint import Endpoints, endpoint_for
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.transport.endpoint import NativeEndpoint
from caching_proxy.transport.native import native_loop


def make_store(reactor: IReactorTime, settings: Settings, metrics: Metrics, origin: bytes) -> IStore:
    """The store that the settings name, where this process is ``origin``; its pool and breaker are measured."""
    config = attrs.evolve(
        _store_config(reactor, settings),
        origin=origin,
        on_phase=on_phase(metrics),
        on_acquired=metrics.histogram("redis_pool_acquisition_seconds").observe,
    )
    return build_store(reactor, settings.cache_url, config)


def make_bus(reactor: IReactorTime, settings: Settings, store: IStore) -> IInvalidationBus | None:
    """What brings invalidations of the other proxies on ``store``; None if nobody can share it."""
    return build_bus(reactor, settings.cache_url, store, _store_config(reactor, settings))


def make_claims(settings: Settings, store: IStore, origin: bytes) -> IClaims | None:
    """What lets one proxy fetch for all on ``store``; None where each fetches for itself."""
    pool = getattr(store.store, "pool", None) if isinstance(store, CircuitBreakerStore) else None
    if settings.collapse != "fleet" or pool is None:
        return None
    from caching_proxy.store.redis.claims import RedisClaims  # not above: txredisapi would choose the reactor

    return RedisClaims(pool, origin)


def make_journal(reactor: IReactorTime, settings: Settings) -> Journal | None:
    """What keeps the invalidations that the store has not carried out; None if that is not wanted, or never needed.

    Raises:
        SettingsError: it cannot be written.
    """
    if settings.state_dir is None or not settings.topology.shared:
        return None
    try:
        return Journal(reactor, Path(settings.state_dir).absolute())
    except (OSError, ValueError) as problem:
        raise not_writable(settings, problem) from problem


def not_writable(settings: Settings, problem: OSError | ValueError) -> SettingsError:
    """Why there can be no journal."""
    reason = getattr(problem, "strerror", None) or problem
    return SettingsError("STATE_DIR", settings.state_dir, STATE_DIR_ALLOWED.format(reason))


def _store_config(reactor: IReactorTime, settings: Settings) -> StoreConfig:
    return StoreConfig(
        memory_max_bytes=settings.memory_store_max_bytes,
        max_variants=settings.max_variants,
        max_variant_bytes=settings.max_variant_bytes,
        pool_min=settings.redis_pool_min,
        pool_max=settings.redis_pool_max,
        connect_timeout=settings.redis_connect_timeout,
        command_timeout=settings.redis_command_timeout,
        max_pending=settings.redis_max_pending,
        breaker_threshold=settings.breaker_failure_threshold,
        breaker_recovery=settings.breaker_recovery_seconds,
        endpoints=_endpoints(reactor, settings),
        tls=settings.cache_tls,
    )


def _endpoints(reactor: IReactorTime, settings: Settings) -> Endpoints | None:
    """The short way to servers without TLS, where the reactor has a native loop; None leaves it to Twisted."""
    if native_loop(reactor) is None:
        return None
    timeout, tls = settings.redis_connect_timeout, settings.cache_tls

    def reach(server: RedisTopology) -> IStreamClientEndpoint:
        if server.tls:
            return endpoint_for(reactor, server, timeout, tls)
        return NativeEndpoint(reactor, server.host, server.port, timeout, path=server.unix_path)

    return reach
