"""Stores on a real Redis, without the circuit breaker before them."""

from __future__ import annotations

from twisted.internet import reactor

from caching_proxy.store.build import StoreConfig, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.store import RedisStore

PLAIN = b"cache:GET:anonymous:/x"
EDITOR = b"cache:GET:editor:/x"
HOUR = 3_600_000
SMALL_POOL = StoreConfig(pool_min=1, pool_max=4)


def built(url: str, config: StoreConfig | None = None) -> RedisStore:
    guarded = build_store(reactor, url, config)
    assert isinstance(guarded, CircuitBreakerStore)
    assert isinstance(guarded.store, RedisStore)
    return guarded.store
