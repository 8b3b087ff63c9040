"""The store on a real Cluster: slots on their way, the ledger in another slot, rights, and what a walk may not miss."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import attrs
import pytest
import pytest_twisted
from support.redis_cluster import Migration, RedisCluster
from support.walks import walked
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from caching_proxy.interfaces import SCAN_ENDS, Claim, Fate, Overtaken, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.store.breaker import Phase
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.claims import RedisClaims
from caching_proxy.store.redis.slots import name_of, slot_of

pytestmark = pytest.mark.live

HOUR = 3_600_000
TARGET = b"/moving/{x}}"
KEY, EDITOR, WRITER = (b"cache:GET:%b:%b" % (role, TARGET) for role in (b"anonymous", b"editor", b"writer"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@attrs.frozen
class Rig:
    store: CircuitBreakerStore
    phases: list[Phase]
    cluster: RedisCluster

    def migration(self, key: bytes = KEY) -> Migration:
        """Of the slot of ``key`` to another master."""
        slot = slot_of(name_of(key))
        source = self.cluster.owner(slot)
        target = next(server for server in self.cluster.masters() if server is not source)
        return Migration(self.cluster, slot, source, target)


@pytest.fixture
def rig(cluster: RedisCluster) -> Iterator[Rig]:
    cluster.everywhere("FLUSHALL")
    cluster.everywhere("CONFIG", "RESETSTAT")
    phases: list[Phase] = []
    config = StoreConfig(pool_min=1, on_phase=phases.append, origin=b"me", breaker_threshold=1)
    store = build_store(reactor, cluster.url, config)
    assert isinstance(store, CircuitBreakerStore)
    store.start()
    yield Rig(store, phases, cluster)
    pytest_twisted.blockon(store.stop())
    assert phases == [], "nothing was taken for a sick server"


async def found(store: Any, *keys: bytes) -> list[bytes]:
    return [key for key in keys if await store.lookup(key) is not None]


@pytest_twisted.ensureDeferred
async def test_every_step_of_a_slot_that_moves(rig: Rig) -> None:
    await every_step(rig)


async def every_step(rig: Rig) -> None:
    """Every method of the store while a slot moves."""
    store, migration = rig.store, rig.migration()
    for key in (KEY, EDITOR):
        for field in (b"-", b"v"):
            await store.put(key, field, b"1", HOUR, None, [b"tag"])
    migration.begin()
    assert await found(store, KEY, EDITOR, WRITER) == [KEY, EDITOR]
    migration.move(name_of(KEY))
    assert await found(store, KEY, EDITOR, WRITER) == [KEY, EDITOR], "one is here, one there"
    await store.put(KEY, b"-", b"2", HOUR)
    assert (await store.lookup(KEY)).variants[b"-"] == b"2"
    assert await store.held([KEY, EDITOR, WRITER]) == {KEY, EDITOR}
    assert await store.soften([KEY, WRITER], 5.0) == {KEY}
    assert await store.soften_target(TARGET, 6.0) == {KEY, EDITOR}
    assert set((await store.tagged(b"tag", SCAN_ENDS, Fate.KEPT)).keys) == {KEY, EDITOR}
    assert await store.discard(KEY, b"v") is True
    assert await store.delete([KEY]) == {KEY}
    assert await store.delete_target(TARGET) == {EDITOR}
    await store.put(KEY, b"-", b"3", HOUR)
    migration.move(*migration.names())
    migration.end()
    assert await found(store, KEY, EDITOR) == [KEY]
    await store.put(EDITOR, b"-", b"4", HOUR)
    assert await found(store, KEY, EDITOR) == [KEY, EDITOR]
    assert await store.delete_target(TARGET) == {KEY, EDITOR}


@pytest_twisted.ensureDeferred
async def test_a_write_of_keys_that_are_on_two_nodes_waits_or_fails(rig: Rig) -> None:
    store, migration = rig.store, rig.migration()
    await store.put(EDITOR, b"-", b"1", HOUR)
    migration.begin()
    migration.move(name_of(EDITOR))  # its index stays
    with pytest.raises(StoreError, match="TRYAGAIN"):
        await store.put(EDITOR, b"-", b"2", HOUR)
    write = store.put(EDITOR, b"-", b"3", HOUR)
    migration.move(*migration.names())
    await write
    migration.end()
    assert (await store.lookup(EDITOR)).variants == {b"-": b"3"}


@pytest_twisted.ensureDeferred
async def test_a_walk_over_slots_that_change_hands(rig: Rig) -> None:
    store = rig.store
    keys = [b"cache:GET:anonymous:/walk/%d" % nth for nth in range(600)]
    await gatherResults([store.put(key, b"-", b"1", HOUR) for key in keys])
    assert sorted(await walked(store, b"cache:GET:anonymous:/walk/")) == sorted(keys)
    seen: set[bytes] = set()
    cursor, steps = SCAN_ENDS, 0
    while True:
        step = await store.scan(cursor, b"cache:GET:anonymous:/walk/")
        seen.update(step.keys)
        cursor, steps = step.cursor, steps + 1
        if steps == 1:  # from a master that is visited last to the first
            first = rig.cluster.owner(slot_of(name_of(step.keys[0])))
            late = next(
                key for key in keys if key not in seen and rig.cluster.owner(slot_of(name_of(key))) is not first
            )
            moved = slot_of(name_of(late))
            Migration(rig.cluster, moved, rig.cluster.owner(moved), first)()
        if cursor == SCAN_ENDS:
            break
    assert seen == set(keys)


@pytest_twisted.ensureDeferred
async def test_a_write_from_before_an_invalidation_is_taken_back(rig: Rig, cluster: RedisCluster) -> None:
    store = rig.store
    bus = build_bus(reactor, cluster.url, store, StoreConfig())
    assert bus is not None
    bus.start(lambda invalidation: None, lambda: None)
    await bus.catch_up()
    seen = bus.seen
    assert seen
    await store.put(KEY, b"-", b"fresh", HOUR, seen)
    other = build_store(reactor, cluster.url, StoreConfig(pool_min=1, origin=b"other"))
    other.start()
    assert await other.delete_target(TARGET) == {KEY}
    with pytest.raises(Overtaken):
        await store.put(KEY, b"-", b"from before", HOUR, seen)
    assert await store.lookup(KEY) is None
    await bus.catch_up()
    assert bus.seen != seen
    await store.put(KEY, b"-", b"from after", HOUR, bus.seen)
    assert await found(store, KEY) == [KEY]
    await bus.stop()
    await other.stop()


@pytest_twisted.ensureDeferred
async def test_claims_go_to_the_nodes_of_their_keys(rig: Rig) -> None:
    pool = rig.store.store.pool  # type: ignore[attr-defined]
    one, two = RedisClaims(pool, b"one"), RedisClaims(pool, b"two")
    names = [b"cache:GET:anonymous:/{claimed}/%d" % nth for nth in range(15)] + [b"/%d" % nth for nth in range(15)]
    assert [await one.claim(name) for name in names] == [Claim.OURS] * 30
    assert [await two.claim(name) for name in names] == [Claim.THEIRS] * 30
    stats = [cast("bytes", server.cli("INFO", "errorstats")) for server in rig.cluster.masters()]
    assert [text for text in stats if b"errorstat_MOVED" in text] == []
    for name in names:
        one.give_up(name)
        while await two.claim(name) is not Claim.OURS:
            pass
    await two.stop()
    assert [await one.claim(name) for name in names] == [Claim.OURS] * 30
    assert [await two.claim(name) for name in names] == [Claim.NOBODYS] * 30, "it claims nothing more"


RACES = 500


@pytest.mark.parametrize("tags", [(), (b"one", b"two")], ids=["plain", "tagged"])
@pytest_twisted.ensureDeferred
async def test_races_of_a_write_with_an_invalidation_elsewhere(
    rig: Rig, cluster: RedisCluster, tags: tuple[bytes, ...]
) -> None:
    random = Random(7)
    bus = build_bus(reactor, cluster.url, rig.store, StoreConfig())
    other = build_store(reactor, cluster.url, StoreConfig(pool_min=1, origin=b"other"))
    other.start()
    assert bus is not None
    bus.start(lambda invalidation: None, lambda: None)
    await bus.catch_up()
    ends = {"taken back": 0, "stored, then removed": 0}
    for nth in range(RACES):
        target = b"/race/%d" % (nth % 50)
        key = b"cache:GET:%b:%b" % (random.choice([b"anonymous", b"editor"]), target)
        write = deferLater(reactor, random.random() / 500, rig.store.put, key, b"-", b"old", HOUR, bus.seen, tags)
        written = _told(write, ends)
        if nth % 10 == 0:  # however busy the machine is, some writes are there in time
            await written
        await gatherResults([written, deferLater(reactor, random.random() / 500, other.delete_target, target)])
        assert await rig.store.lookup(key) is None, f"race {nth}"
        await bus.catch_up()
    assert min(ends.values()) >= RACES / 20, "both ways were taken"
    await bus.stop()
    await other.stop()


def _told(write: Deferred[None], ends: dict[str, int]) -> Deferred[None]:
    """Counts how a write ended."""

    def overtaken(failure: Failure) -> None:
        failure.trap(Overtaken)
        ends["taken back"] += 1

    def stored(_: None) -> None:
        ends["stored, then removed"] += 1

    return write.addCallbacks(stored, overtaken)


@pytest_twisted.ensureDeferred
async def test_the_documented_rights_are_enough(cluster: RedisCluster) -> None:
    text = DOCUMENT.read_text()
    rule = re.search(r"ACL SETUSER cachingproxy on >\S+ (.+)", text)
    keys = re.search(r"rights of the user are\s+`([^`]+)` in place", text)
    more = re.search(r"in place of those above, and also `([^`]+)`", text)
    assert rule is not None
    assert keys is not None
    assert more is not None
    words = [word for word in rule[1].split() if not word.startswith("~")] + keys[1].split() + more[1].split()
    cluster.everywhere("FLUSHALL")
    cluster.everywhere("ACL", "SETUSER", "cachingproxy", "reset", "on", ">secret", *words)
    url = cluster.url.replace("redis+cluster://", "redis+cluster://cachingproxy:secret@")
    store = build_store(reactor, url, StoreConfig(pool_min=1, origin=b"me"))
    store.start()
    rig = Rig(store, [], cluster)  # type: ignore[arg-type]
    await every_step(rig)
    assert await store.mark(Invalidation(targets=(b"/x",))) is None
    assert await walked(store) == []
    await store.ping()
    await store.stop()
    cluster.everywhere("ACL", "DELUSER", "cachingproxy")
