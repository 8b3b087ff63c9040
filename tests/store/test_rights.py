"""Users with rights of their own, on real servers: the documented rule is enough, and what is missing shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_twisted
from support.redis_server import RedisServer
from support.walks import walked
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from zope.interface import implementer

from caching_proxy.interfaces import SCAN_ENDS, Fate, IStore, Overtaken, StoreForbidden
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.endpoint import endpoint_for
from caching_proxy.web.admin.readiness import Readiness

DOCUMENT = Path(__file__).parents[2] / "docs" / "operating.md"
KEY, EDITOR = b"cache:GET:anonymous:/x", b"cache:GET:editor:/x"
HOUR = 3_600_000
PASSWORD = "p@ss/w:rd%"


def documented() -> list[str]:
    """The words of the rule in docs/operating.md, without the password."""
    match = re.search(r"ACL SETUSER cachingproxy on >\S+ (.+)", DOCUMENT.read_text())
    assert match is not None
    return match[1].split()


class Users:
    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.stores: list[IStore] = []
        self.url = server.url.replace("redis://", f"redis://cachingproxy:{quote(PASSWORD, safe='')}@")

    def store(self, *rules: str, origin: bytes = b"one") -> CircuitBreakerStore:
        """A store that logs in as a user with these rights."""
        self._server.cli("ACL", "SETUSER", "cachingproxy", "reset", "on", f">{PASSWORD}", *rules)
        store = build_store(reactor, self.url, StoreConfig(pool_min=1, origin=origin))
        assert isinstance(store, CircuitBreakerStore)
        store.start()
        self.stores.append(store)
        return store


@pytest.fixture
def users(redis_server: RedisServer) -> Iterator[Users]:
    made = Users(redis_server)
    yield made
    for store in made.stores:
        pytest_twisted.blockon(store.stop())
    redis_server.cli("ACL", "DELUSER", "cachingproxy")


async def everything(store: IStore) -> None:
    """Every method, and with it every command of every script."""
    for key in (KEY, EDITOR):
        for field in (b"-", b"v1", b"v2", b"v1"):
            await store.put(key, field, b"value", HOUR)
        assert (await store.lookup(key)) is not None
        assert (await store.lookup(key, [b"v1"])) is not None
        assert await store.discard(key, b"v1")
        await store.put(key, b"v3", b"value", HOUR, tags=[b"one", b"two"])
        assert await store.soften([key], 1.0) == {key}
    assert await store.soften_target(b"/x", 1.0) == {KEY, EDITOR}
    for fate in (Fate.KEPT, Fate.STALE, Fate.DELETED):
        assert sorted((await store.tagged(b"one", SCAN_ENDS, fate, 1.0)).keys) == [KEY, EDITOR]
    assert await store.held([KEY]) == {KEY}
    assert sorted(await walked(store, b"cache:")) == sorted([KEY, EDITOR])
    assert await store.delete([KEY]) == {KEY}
    assert await store.delete_target(b"/x") == {EDITOR}
    assert await store.mark(Invalidation(targets=(b"/x",))) is None
    with pytest.raises(Overtaken):
        await store.put(KEY, b"-", b"value", HOUR, b"0:other")
    await store.ping()


@pytest_twisted.ensureDeferred
async def test_the_documented_rule_is_enough(users: Users) -> None:
    await everything(users.store(*documented()))


@pytest_twisted.ensureDeferred
async def test_the_documented_rule_is_enough_for_the_bus(users: Users) -> None:
    stores = [users.store(*documented(), origin=name) for name in (b"a", b"b")]
    buses = [build_bus(reactor, users.url, store) for store in stores]
    heard: Deferred[Invalidation] = Deferred()
    for bus, hear in zip(buses, (lambda _: None, heard.callback), strict=True):
        assert bus is not None
        bus.start(hear, lambda: None)
    while not all(bus.subscribed for bus in buses):
        await deferLater(reactor, 0.01)
    told = Invalidation(targets=(b"/x",))
    await stores[0].mark(told)
    assert await heard == told
    for bus, store in zip(buses, stores, strict=True):
        await bus.catch_up()
        await store.put(KEY, b"-", b"value", HOUR, bus.seen)
    for bus in buses:
        await bus.stop()


@pytest_twisted.ensureDeferred
async def test_the_documented_rule_is_no_more_than_needed(users: Users) -> None:
    rule = documented()
    assert "-@all" in rule
    assert not [word for word in rule if word.startswith(("+@", "allkeys", "~*"))]


@pytest.mark.parametrize("command", ["time", "ping"])
@pytest_twisted.ensureDeferred
async def test_a_command_that_we_can_do_without(users: Users, command: str) -> None:
    await everything(users.store(*documented(), f"-{command}"))


@pytest_twisted.ensureDeferred
async def test_scripts_forbidden_show_in_the_readiness(users: Users) -> None:
    store = users.store(*documented(), "-eval", "-evalsha")
    with pytest.raises(StoreForbidden):
        await store.put(KEY, b"-", b"value", HOUR)
    assert await store.lookup(KEY) is None
    readiness = Readiness(lambda: succeed(None), store, lambda: "closed", reactor)
    report = await readiness.report()
    assert (report.store, report.status, report.ready) == ("not permitted: EVAL", "degraded", True)
    assert store.breaker.calm, "the server is well"


@implementer(IStreamClientEndpoint)
class Name:
    """A name that stands for one server, then for another."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def connect(self, factory):  # type: ignore[no-untyped-def]
        topology = parse_cache_url(self.server.url)
        assert isinstance(topology, RedisTopology)
        return endpoint_for(reactor, topology, 5).connect(factory)


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_failover_behind_a_name(redis_server: RedisServer) -> None:
    with RedisServer() as other:
        name = Name(other)
        store = build_store(reactor, redis_server.url, StoreConfig(pool_min=1, endpoints=lambda server: name))
        await store.start()
        try:
            await store.put(KEY, b"-", b"old", HOUR)
            other.cli("REPLICAOF", "127.0.0.1", redis_server.url.rpartition(":")[2])
            name.server = redis_server
            refused: Deferred[None] = store.put(KEY, b"-", b"new", HOUR)
            failed = await refused.addErrback(lambda failure: str(failure.value))
            assert "READONLY" in str(failed)
            await store.put(KEY, b"-", b"new", HOUR)
            assert redis_server.cli("EXISTS", KEY) == 1
        finally:
            await store.stop()
