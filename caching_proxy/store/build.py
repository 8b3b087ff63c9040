"""The store that ``CACHE_URL`` names, ready to start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import attrs
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from caching_proxy.interfaces import IInvalidationBus, IStore
from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.rules.store_topology import (
    Address,
    ClusterTopology,
    MemoryTopology,
    RedisTopology,
    SentinelTopology,
)
from caching_proxy.store.breaker import Breaker, Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.memory import DEFAULT_MAX_BYTES, MemoryStore
from caching_proxy.store.redis.endpoint import Endpoints, endpoint_for
from caching_proxy.transport.tls import PLATFORM, TLSConfig

if TYPE_CHECKING:
    from caching_proxy.store.redis.ledger import Words
    from caching_proxy.store.redis.pool import RedisPool


@attrs.frozen(slots=True, kw_only=True)
class StoreConfig:
    """Sizes in bytes, durations in seconds; the defaults are those of the settings."""

    memory_max_bytes: int = DEFAULT_MAX_BYTES
    max_variants: int = MAX_VARIANTS
    max_variant_bytes: int = MAX_VARIANT_BYTES
    pool_min: int = 2
    pool_max: int = 10
    connect_timeout: float = 5.0
    command_timeout: float = 3.0
    max_pending: int = 1000
    breaker_threshold: int = 5
    breaker_recovery: float = 5.0
    on_phase: Callable[[Phase], None] = lambda phase: None
    on_acquired: Callable[[float], None] | None = None
    tls: TLSConfig = PLATFORM
    origin: bytes = b""
    """A name of this process that no other has; without one it tells nobody of its invalidations."""
    endpoints: Endpoints | None = None
    """How to reach each server, if not by Twisted's own endpoints."""

    def reach(self, reactor: IReactorTime) -> Endpoints:
        """How to reach each server.

        Args:
            reactor: What connects, and the clock.

        Returns:
            The function that was set, or one that makes Twisted's endpoint for a server.
        """
        return self.endpoints or (lambda server: endpoint_for(reactor, server, self.connect_timeout, self.tls))


def build_store(reactor: IReactorTime, cache_url: str, config: StoreConfig | None = None) -> IStore:
    """The store that a URL names. Nothing is connected before it is started.

    Args:
        reactor: What connects, and the clock.
        cache_url: As the setting ``CACHE_URL``: ``memory:``, ``redis://…`` and its kin.
        config: Sizes and durations; the settings' defaults without it.

    Returns:
        An embedded :class:`MemoryStore`, or a :class:`CircuitBreakerStore` around a ``RedisStore``, whose pool is at
        ``.store.pool``.

    Raises:
        ValueError: The URL cannot be used; the text is fit to be shown.
    """
    config = config or StoreConfig()
    topology = parse_cache_url(cache_url)
    if isinstance(topology, MemoryTopology):
        return MemoryStore(reactor, config.memory_max_bytes, config.max_variants, config.max_variant_bytes)
    if isinstance(topology, ClusterTopology):
        return _cluster(reactor, topology, config)
    if isinstance(topology, SentinelTopology):
        return _sentinel(reactor, topology, config)
    return _redis(reactor, topology, config)


def build_bus(
    reactor: IReactorTime, cache_url: str, store: IStore, config: StoreConfig | None = None
) -> IInvalidationBus | None:
    """The bus by which the proxies on one store tell each other of invalidations.

    Args:
        reactor: What connects, and the clock.
        cache_url: The URL that ``store`` was made of.
        store: What :func:`build_store` made.
        config: The one that ``store`` was made with.

    Returns:
        The bus, to be started; None for a store that nobody shares, or that was made without an ``origin``.
    """
    inner = store.store if isinstance(store, CircuitBreakerStore) else None
    return None if inner is None else _bus(reactor, parse_cache_url(cache_url), inner, config or StoreConfig())


def _bus(reactor: IReactorTime, topology: object, inner: IStore, config: StoreConfig) -> IInvalidationBus | None:
    from caching_proxy.store.redis.bus import RedisBus  # not above: see _pools
    from caching_proxy.store.redis.cluster import ClusterStore
    from caching_proxy.store.redis.cluster_pools import ClusterEndpoint
    from caching_proxy.store.redis.sentinel import SentinelStore
    from caching_proxy.store.redis.store import RedisStore

    if isinstance(inner, ClusterStore):
        assert isinstance(topology, ClusterTopology)
        node = ClusterEndpoint(inner.router, topology, config.reach(reactor))
        if inner.words is None:
            return None
        stand_in = cast("RedisStore", inner)  # in what the bus needs of it
        bus = RedisBus(reactor, topology.node(("", 0)), node, stand_in, inner.words, config.connect_timeout)
        node.left.append(bus.moved)
        return bus
    assert isinstance(inner, RedisStore)
    if inner.words is None:
        return None
    if isinstance(inner, SentinelStore):
        assert isinstance(topology, SentinelTopology)
        bus = RedisBus(reactor, topology.master(), inner.master, inner, inner.words, config.connect_timeout)
        inner.master.changed.append(bus.moved)
        return bus
    assert isinstance(topology, RedisTopology)
    endpoint = config.reach(reactor)(topology)
    return RedisBus(reactor, topology, endpoint, inner, inner.words, config.connect_timeout)


def _guarded(reactor: IReactorTime, store: IStore, config: StoreConfig) -> CircuitBreakerStore:
    breaker = Breaker(config.breaker_threshold, config.breaker_recovery)
    return CircuitBreakerStore(store, breaker, reactor, config.on_phase)


def _sentinel(reactor: IReactorTime, topology: SentinelTopology, config: StoreConfig) -> IStore:
    from caching_proxy.store.redis.sentinel import SentinelEndpoint, SentinelStore  # not above: see _pools

    master = SentinelEndpoint(reactor, topology, config.reach(reactor), config.connect_timeout)
    pool, bulk = _pools(reactor, topology.master(), master, config)
    words = _words(topology.master(), config)
    inner = SentinelStore(master, pool, bulk, config.max_variants, config.max_variant_bytes, words)
    store = _guarded(reactor, inner, config)
    pool.on_recovery = store.look_again
    return store


def _words(topology: RedisTopology, config: StoreConfig) -> Words | None:
    from caching_proxy.store.redis.ledger import Words  # not above: see _pools

    return Words(config.origin, topology.db) if config.origin else None


def _cluster(reactor: IReactorTime, topology: ClusterTopology, config: StoreConfig) -> IStore:
    from caching_proxy.store.redis.cluster import ClusterStore  # not above: see _pools
    from caching_proxy.store.redis.cluster_map import ClusterMap
    from caching_proxy.store.redis.cluster_node import ClusterNode
    from caching_proxy.store.redis.routing import Router

    reach = config.reach(reactor)
    inner = attrs.evolve(config, on_phase=lambda phase: None)

    def node(address: Address) -> ClusterNode:
        server = topology.node(address)
        pool, bulk = _pools(reactor, server, reach(server), config)
        guard = partial(_guarded, reactor, config=inner)
        return ClusterNode(address, pool, bulk, guard, (config.max_variants, config.max_variant_bytes))

    slot_map = ClusterMap(reactor, topology, reach, config.connect_timeout)
    router = Router(reactor, slot_map, node, config.command_timeout)
    store = _guarded(reactor, ClusterStore(reactor, router, _words(topology.node(("", 0)), config)), config)
    slot_map.changed.append(lambda slots: store.look_again())
    return store


def _redis(reactor: IReactorTime, topology: RedisTopology, config: StoreConfig) -> IStore:
    from caching_proxy.store.redis.store import RedisStore  # not above: see _pools

    pool, bulk = _pools(reactor, topology, config.reach(reactor)(topology), config)
    inner = RedisStore(pool, bulk, config.max_variants, config.max_variant_bytes, _words(topology, config))
    store = _guarded(reactor, inner, config)
    pool.on_recovery = store.look_again
    return store


def _pools(
    reactor: IReactorTime, topology: RedisTopology, endpoint: IStreamClientEndpoint, config: StoreConfig
) -> tuple[RedisPool, RedisPool]:
    """For lookups and writes, and for walks over keys."""
    # Here and not above: importing txredisapi installs the default reactor if none has been chosen yet.
    from caching_proxy.store.redis.pool import RedisPool

    def pool(minimum: int, maximum: int, on_acquired: Callable[[float], None] | None) -> RedisPool:
        return RedisPool(
            reactor,
            topology,
            minimum=minimum,
            maximum=maximum,
            connect_timeout=config.connect_timeout,
            command_timeout=config.command_timeout,
            max_pending=config.max_pending,
            endpoint=endpoint,
            on_acquired=on_acquired,
        )

    return pool(config.pool_min, config.pool_max, config.on_acquired), pool(0, 1, None)
