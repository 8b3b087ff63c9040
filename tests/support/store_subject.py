"""A store under test: what the contract of stores is tried on, and the keys that it is tried with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
from support.examples import DirectoryValues
from support.hearing import Hearing
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from caching_proxy.interfaces import IStore, Stored
from caching_proxy.store.breaker import Breaker
from caching_proxy.store.build import StoreConfig, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.indexed import IndexedStore
from caching_proxy.store.memory import MemoryStore
from caching_proxy.store.redis.slots import name_of, slot_of

KEY = b"cache:GET:anonymous:/items?page=1"
EDITOR = b"cache:GET:editor:/items?page=1"
ALICE = b"cache:GET:authenticated~00ff:/items?page=1"
TARGET = b"/items?page=1"
HOUR = 3_600_000
AWKWARD = b"cache:GET:a%2Fb:/\x00\xff\r\n$3\r\n* {x}"


@attrs.frozen
class Subject:
    """A store, and a way to let the life of a key end."""

    store: IStore
    expire: Callable[[bytes], object]


def sought(store: CircuitBreakerStore) -> Callable[..., Deferred[Stored | None]]:
    """``lookup`` by way of ``seek``."""

    def lookup(key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        hearing = Hearing()
        store.seek(key, fields, hearing)
        return hearing.heard

    return lookup


def subject_of(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """The store that the parameter of a fixture names; not started yet."""
    kind = request.param
    if kind in ("memory", "guarded"):
        clock = Clock()
        store: IStore = MemoryStore(clock)
        if kind == "guarded":
            store = CircuitBreakerStore(store, Breaker(5, 5), clock)
        return Subject(store, lambda key: clock.advance(HOUR))
    if kind == "directory":  # the example of a store that does the least
        clock = Clock()
        clock.advance(1_900_000_000)
        store = IndexedStore(DirectoryValues(tmp_path / "values", clock.seconds), clock)
        return Subject(store, lambda key: clock.advance(HOUR))
    if kind == "cluster":
        cluster = request.getfixturevalue("shared_cluster")
        cluster.everywhere("FLUSHALL")
        store = build_store(reactor, cluster.url, StoreConfig(pool_min=1))
        return Subject(store, lambda key: cluster.owner(slot_of(name_of(key))).cli("PEXPIRE", name_of(key), 0))
    server = request.getfixturevalue("redis_server")
    url = server.unix_url if kind == "redis-unix" else server.url
    store = build_store(reactor, url, StoreConfig(pool_min=1))
    if kind == "redis-sought":
        store.lookup = sought(store)  # type: ignore[method-assign]
    return Subject(store, lambda key: server.cli("PEXPIRE", key, 0))
