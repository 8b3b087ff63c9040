"""Fences on a real Cluster: what they refuse, what becomes of lost ones, and of a ledger that lost what they know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest
import pytest_twisted
from support.redis_cluster import Migration, RedisCluster
from support.redis_server import RedisServer
from twisted.internet import reactor

from caching_proxy.interfaces import SCAN_ENDS, Fate, IInvalidationBus, Overtaken, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.ledger import number_of
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.cluster import ClusterStore
from caching_proxy.store.redis.fences import fence_of
from caching_proxy.store.redis.ledger import LEDGER
from caching_proxy.store.redis.slots import SLOTS, name_of, slot_of

HOUR = 3_600_000
TARGET = b"/fenced"
KEY, EDITOR = b"cache:GET:anonymous:" + TARGET, b"cache:GET:editor:" + TARGET
SLOT = slot_of(name_of(KEY))
FENCE = fence_of(SLOT)


def test_each_slot_has_a_fence_of_its_own() -> None:
    assert [slot_of(fence_of(slot)) for slot in range(SLOTS)] == list(range(SLOTS))


@attrs.define
class Side:
    """One proxy's store and bus."""

    store: Any
    bus: IInvalidationBus
    flushes: int = 0

    @property
    def seen(self) -> bytes:
        return cast("bytes", self.bus.seen)

    async def put(self, key: bytes = KEY, since: bytes | None = None, tags: tuple[bytes, ...] = ()) -> bool:
        """Whether a write is taken that knows of ``since``, or of all that was heard."""
        try:
            await self.store.put(key, b"-", b"value", HOUR, since or self.seen, tags)
        except Overtaken:
            return False
        return True

    async def there(self, key: bytes = KEY) -> bool:
        return await self.store.lookup(key) is not None

    def flushed(self) -> None:
        self.flushes += 1


@pytest.fixture
def sides(shared_cluster: RedisCluster) -> Iterator[tuple[Side, Side]]:
    shared_cluster.everywhere("FLUSHALL")
    made = []
    for name in (b"a", b"b"):
        config = StoreConfig(pool_min=1, origin=name)
        store = build_store(reactor, shared_cluster.url, config)
        assert isinstance(store, CircuitBreakerStore)
        assert isinstance(store.store, ClusterStore)
        pytest_twisted.blockon(store.start())
        bus = build_bus(reactor, shared_cluster.url, store, config)
        assert bus is not None
        side = Side(store, bus)
        bus.start(lambda invalidation: None, side.flushed)
        pytest_twisted.blockon(bus.catch_up())
        made.append(side)
    yield made[0], made[1]
    for side in made:
        pytest_twisted.blockon(side.bus.stop())
        pytest_twisted.blockon(side.store.stop())


def owner(cluster: RedisCluster, name: bytes) -> RedisServer:
    return cluster.owner(slot_of(name))


def calls(server: RedisServer) -> int:
    """Commands from clients that the server has carried out."""
    stats = cast("bytes", server.cli("INFO", "stats"))
    return int(stats.split(b"total_commands_processed:")[1].split()[0])


@pytest_twisted.ensureDeferred
async def test_a_write_is_one_command_at_one_node(sides: tuple[Side, Side], shared_cluster: RedisCluster) -> None:
    first, _ = sides
    assert await first.put(), "which puts up the fence"
    server = owner(shared_cluster, name_of(KEY))
    # The cluster is shared: the statistics of every master also hold what other tests sent it.
    shared_cluster.everywhere("CONFIG", "RESETSTAT")
    writes = 20
    for _ in range(writes):
        assert await first.put()
    stats = cast("bytes", server.cli("INFO", "commandstats"))
    assert b"cmdstat_evalsha:calls=%d," % writes in stats
    assert b"cmdstat_hset:" in stats
    others = [each for each in shared_cluster.masters() if each is not server]
    assert not any(
        b"evalsha" in cast("bytes", each.cli("INFO", "commandstats"))
        for each in others
        if each is not owner(shared_cluster, LEDGER)
    )


@pytest.mark.parametrize(
    "invalidation",
    [
        Invalidation(targets=(TARGET,)),
        Invalidation(keys=(KEY,)),
        Invalidation(patterns=(b"cache:*:/fen*",)),
        Invalidation(tags=(b"tag",)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_from_before_is_refused(sides: tuple[Side, Side], invalidation: Invalidation) -> None:
    first, second = sides
    assert await first.put(tags=(b"tag",))
    before = first.seen
    await second.store.mark(invalidation)
    assert not await first.put(since=before, tags=(b"tag",))
    await first.bus.catch_up()
    assert first.seen != before
    assert await first.put(tags=(b"tag",))


@pytest_twisted.ensureDeferred
async def test_a_write_that_was_listed_before_is_refused_after(sides: tuple[Side, Side]) -> None:
    """The walk by tag raises the fence of whatever it looks at, be it there or not."""
    first, second = sides
    assert await first.put(tags=(b"tag",))
    before = first.seen
    await second.store.mark(Invalidation(tags=(b"tag",)))
    assert await first.put(since=before), "its fence is another than that of the index"
    assert await first.put(tags=(b"tag",), since=second.seen)
    found = await second.store.tagged(b"tag", SCAN_ENDS, Fate.DELETED)
    assert list(found.keys) == [KEY]
    assert not await first.put(since=before)


@pytest_twisted.ensureDeferred
async def test_what_is_not_concerned_is_not_refused(sides: tuple[Side, Side]) -> None:
    first, second = sides
    assert await first.put()
    before = first.seen
    await second.store.mark(Invalidation(targets=(b"/elsewhere",)))
    assert await first.put(since=before)


@pytest.mark.parametrize("how", ["gone", "foreign", "half put up"])
@pytest_twisted.ensureDeferred
async def test_without_a_fence_nothing_passes_that_is_not_up_to_date(
    sides: tuple[Side, Side], shared_cluster: RedisCluster, how: str
) -> None:
    first, second = sides
    assert await first.put()
    before = first.seen
    server = owner(shared_cluster, FENCE)
    server.cli("UNLINK", FENCE)
    await second.store.delete_target(TARGET)
    if how == "foreign":
        server.cli("SET", FENCE, "x")
    elif how == "half put up":
        server.cli("HSET", FENCE, "last", "")
    assert not await first.put(since=before)
    assert not await first.there()
    await first.bus.catch_up()
    assert await first.put()
    assert not await first.put(since=before)


@pytest_twisted.ensureDeferred
async def test_an_invalidation_between_the_two_steps_of_putting_up(
    sides: tuple[Side, Side], shared_cluster: RedisCluster
) -> None:
    first, second = sides
    before = first.seen
    owner(shared_cluster, FENCE).cli("HSET", FENCE, "last", "")
    await second.store.delete_target(TARGET)
    raised = cast("bytes", owner(shared_cluster, FENCE).cli("HGET", FENCE, "last"))
    assert number_of(raised) == number_of(before) + 2
    assert not await first.put(since=before)


@pytest.mark.parametrize("loss", ["emptied", "set back", "another of the same number"])
@pytest_twisted.ensureDeferred
async def test_a_ledger_that_lost_what_a_fence_knows(
    sides: tuple[Side, Side], shared_cluster: RedisCluster, loss: str
) -> None:
    first, second = sides
    for _ in range(3):
        await second.store.mark(Invalidation(targets=(TARGET,)))
    await first.bus.catch_up()
    assert await first.put()
    await second.store.mark(Invalidation(targets=(TARGET,)))
    await first.bus.catch_up()  # it may not have been told yet
    newest, server = second.seen, owner(shared_cluster, LEDGER)
    number = number_of(newest)
    server.cli("UNLINK", LEDGER)
    if loss == "set back":
        server.cli("HSET", LEDGER, "last", b"1:old.1", "1", b"1:old.1 {}")
    elif loss == "another of the same number":
        server.cli("HSET", LEDGER, "last", b"%d:new.1" % number, number, b"%d:new.1 {}" % number)
    await first.bus.catch_up()
    assert first.flushes == 1
    assert not await first.put(), "behind the fence"
    await first.bus.catch_up()
    assert await first.put()
    assert number_of(first.seen) == number + 1
    assert number_of(cast("bytes", server.cli("HGET", LEDGER, "last"))) == number + 1
    await second.bus.catch_up()
    assert second.seen == first.seen


@pytest_twisted.ensureDeferred
async def test_a_slot_that_moves_takes_its_fence_along(sides: tuple[Side, Side], shared_cluster: RedisCluster) -> None:
    first, second = sides
    assert await first.put(EDITOR)
    before = first.seen
    source = owner(shared_cluster, FENCE)
    target = next(server for server in shared_cluster.masters() if server is not source)
    migration = Migration(shared_cluster, SLOT, source, target)
    migration.begin()
    with pytest.raises(StoreError, match="another node"):
        await first.put(KEY)  # there is nothing of it here, and the fence is not there yet
    await second.store.delete_target(TARGET)
    migration.move(FENCE)
    assert not await first.put(KEY, since=before), "refused at the new one"
    await second.store.mark(Invalidation(patterns=(b"cache:*",)))
    await first.bus.catch_up()
    assert not await first.put(KEY, since=before)
    assert await first.put(KEY)
    migration.move(*migration.names())
    migration.end()
    assert not await first.put(KEY, since=before)
    assert await first.put(KEY)
