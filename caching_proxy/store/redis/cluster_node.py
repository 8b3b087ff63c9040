"""One master of a Cluster: its pools, a breaker of its own, and the store that speaks to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from twisted.internet.defer import Deferred

from caching_proxy.interfaces import IStore
from caching_proxy.rules.store_topology import Address
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.asking import AskingPool
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.store import RedisStore

T = TypeVar("T")

Guard = Callable[[IStore], CircuitBreakerStore]
"""Puts a breaker around a store."""


class ClusterNode:
    """The node at ``address``; ``bounds`` are those of a ``RedisStore``."""

    def __init__(
        self, address: Address, pool: RedisPool, bulk: RedisPool, guard: Guard, bounds: tuple[int, int]
    ) -> None:
        self.address = address
        self.pool = pool
        self.store = RedisStore(pool, bulk, *bounds)
        self.guarded = guard(self.store)
        self.asked_at = 0.0
        self._asking = RedisStore(cast("RedisPool", AskingPool(pool)), cast("RedisPool", AskingPool(bulk)), *bounds)
        pool.on_recovery = self.guarded.look_again

    def do(self, what: Callable[[RedisStore], Deferred[T]]) -> Deferred[T]:
        """``what``, unless the node's breaker is open."""
        return self.guarded.through(cast("Callable[[IStore], Deferred[T]]", what))

    def do_asking(self, what: Callable[[RedisStore], Deferred[T]]) -> Deferred[T]:
        """``what``, for a slot that is on its way to this node."""
        return what(self._asking)

    @property
    def well(self) -> bool:
        """Its breaker is closed."""
        return self.guarded.breaker.phase(self.pool.clock.seconds()).value == 0

    def start(self) -> None:
        """Begin connecting."""
        self.guarded.start()

    def stop(self) -> Deferred[None]:
        """Let what is under way finish, and close everything."""
        return self.guarded.stop()
