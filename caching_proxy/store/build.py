"""The store that ``CACHE_URL`` names, ready to start."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from caching_proxy.interfaces import IInvalidationBus, IStore
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.store.breaker import Breaker, Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.memory import DEFAULT_MAX_BYTES, MemoryStore
from caching_proxy.store.redis.endpoint import endpoint_for
from caching_proxy.store.url import MemoryTopology, RedisTopology, parse_cache_url
from caching_proxy.transport.tls import PLATFORM, TLSConfig


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
    endpoint: IStreamClientEndpoint | None = None
    """How to reach the server, if not as the URL says."""


def build_store(reactor: IReactorTime, cache_url: str, config: StoreConfig | None = None) -> IStore:
    """An embedded :class:`MemoryStore`, or a :class:`CircuitBreakerStore` around a ``RedisStore``.

    ValueError, fit to be shown, for a URL that cannot be used. A Redis's pool is at ``.store.pool``.
    """
    config = config or StoreConfig()
    topology = parse_cache_url(cache_url)
    if isinstance(topology, MemoryTopology):
        return MemoryStore(reactor, config.memory_max_bytes, config.max_variants, config.max_variant_bytes)
    return _redis(reactor, topology, config)


def build_bus(
    reactor: IReactorTime, cache_url: str, store: IStore, origin: bytes, config: StoreConfig | None = None
) -> IInvalidationBus | None:
    """The bus of the proxies on ``store``, made by :func:`build_store`; None for one that nobody shares.

    ``origin`` is a name of this process that no other has.
    """
    config = config or StoreConfig()
    topology = parse_cache_url(cache_url)
    if isinstance(topology, MemoryTopology) or not isinstance(store, CircuitBreakerStore):
        return None
    from caching_proxy.store.redis.bus import RedisBus  # not above: see _redis
    from caching_proxy.store.redis.store import RedisStore

    assert isinstance(store.store, RedisStore)
    endpoint = config.endpoint or endpoint_for(reactor, topology, config.connect_timeout, config.tls)
    return RedisBus(reactor, topology, endpoint, store.store.pool, config.connect_timeout, origin)


def _redis(reactor: IReactorTime, topology: RedisTopology, config: StoreConfig) -> IStore:
    # Here and not above: importing txredisapi installs the default reactor if none has been chosen yet.
    from caching_proxy.store.redis.pool import RedisPool
    from caching_proxy.store.redis.store import RedisStore

    def pool(minimum: int, maximum: int, on_acquired: Callable[[float], None] | None) -> RedisPool:
        return RedisPool(
            reactor,
            topology,
            minimum=minimum,
            maximum=maximum,
            connect_timeout=config.connect_timeout,
            command_timeout=config.command_timeout,
            max_pending=config.max_pending,
            endpoint=config.endpoint or endpoint_for(reactor, topology, config.connect_timeout, config.tls),
            on_acquired=on_acquired,
        )

    store = RedisStore(
        pool(config.pool_min, config.pool_max, config.on_acquired),
        pool(0, 1, None),
        config.max_variants,
        config.max_variant_bytes,
    )
    breaker = Breaker(config.breaker_threshold, config.breaker_recovery)
    return CircuitBreakerStore(store, breaker, reactor, config.on_phase)
