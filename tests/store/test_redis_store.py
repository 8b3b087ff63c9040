"""What only the store on Redis does, against real servers: foreign data, the index, late writes."""

from __future__ import annotations

import pytest
import pytest_twisted
from support.redis_server import RedisServer
from support.redis_stores import EDITOR, HOUR, PLAIN, built
from twisted.internet.defer import gatherResults

from caching_proxy.interfaces import Unreadable
from caching_proxy.rules.codec import MAGIC, PREAMBLE, encode, outline_in
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.variance import variant_of
from caching_proxy.store.build import StoreConfig
from caching_proxy.store.redis import scripts
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisConnection, pack
from caching_proxy.store.redis.store import RedisStore

INDEX = b"cacheindex:/x"


@pytest_twisted.ensureDeferred
async def test_keys_are_hashes_under_their_own_name(store: RedisStore, redis_server: RedisServer) -> None:
    await store.put(PLAIN, b"-", b"v", 60_000)
    await store.put(EDITOR, b"f", b"v", 60_000)
    assert sorted(redis_server.cli("KEYS", "*")) == sorted([PLAIN, EDITOR, INDEX])
    assert redis_server.cli("HGETALL", PLAIN) == [b"-", b"v"]
    assert sorted(redis_server.cli("HKEYS", EDITOR)) == [b"#", b"f"]
    assert redis_server.cli("ZRANGE", INDEX, 0, -1) == [b"editor"]
    for key in (PLAIN, EDITOR, INDEX):
        assert 0 < redis_server.cli("PTTL", key) <= 60_000


@pytest.mark.parametrize("key", [PLAIN, EDITOR])
@pytest.mark.parametrize("make", [("SET", "v"), ("RPUSH", "v"), ("SADD", "v")], ids=lambda make: make[0])
@pytest_twisted.ensureDeferred
async def test_a_foreign_value_is_unreadable_and_can_be_replaced_or_deleted(
    store: RedisStore, redis_server: RedisServer, key: bytes, make: tuple[str, str]
) -> None:
    redis_server.cli(make[0], key, make[1])
    with pytest.raises(Unreadable, match="WRONGTYPE"):
        await store.lookup(key)
    with pytest.raises(Unreadable):
        await store.discard(key, b"f")
    assert await store.delete([key]) == {key}
    redis_server.cli(make[0], key, make[1])
    await store.put(key, b"f", b"v", HOUR)
    assert dict((await store.lookup(key)).variants) == {b"f": b"v"}


@pytest.mark.parametrize("key", [PLAIN, EDITOR])
@pytest_twisted.ensureDeferred
async def test_what_replaces_a_foreign_value_has_its_own_time(
    store: RedisStore, redis_server: RedisServer, key: bytes
) -> None:
    for foreign in (key, INDEX):
        redis_server.cli("SET", foreign, "x", "PX", HOUR)
    await store.put(key, b"f", b"v", 5000)
    assert 0 < redis_server.cli("PTTL", key) <= 5000
    if key == EDITOR:
        assert 0 < redis_server.cli("PTTL", INDEX) <= 5000


@pytest_twisted.ensureDeferred
async def test_a_foreign_hash_without_expiry_may_not_be_kept(store: RedisStore, redis_server: RedisServer) -> None:
    redis_server.cli("HSET", PLAIN, "f", "v")
    assert (await store.lookup(PLAIN)).ttl_ms == 0


@pytest.mark.parametrize("foreign", [False, True], ids=["evicted", "foreign"])
@pytest_twisted.ensureDeferred
async def test_an_entry_that_lost_its_index_is_absent_and_never_comes_back(
    store: RedisStore, redis_server: RedisServer, foreign: bool
) -> None:
    await store.put(EDITOR, b"f", b"old", HOUR)
    await store.put(EDITOR, b"g", b"old", HOUR)
    redis_server.cli("DEL", INDEX)
    if foreign:
        redis_server.cli("SET", INDEX, "x")
    assert await store.lookup(EDITOR) is None
    assert await store.lookup(EDITOR, [b"f"]) is None
    await store.put(EDITOR, b"f", b"v", HOUR)
    stored = await store.lookup(EDITOR)
    assert (dict(stored.variants), list(stored.outlines)) == ({b"f": b"v"}, [b"f"])
    if foreign:
        redis_server.cli("SET", INDEX, "x")
        assert await store.delete_target(b"/x") == set()
    else:
        assert await store.delete_target(b"/x") == {EDITOR}
    assert redis_server.cli("EXISTS", INDEX) == 0


def value_of(foo: bytes | None, size: int = 10, key: bytes = PLAIN) -> tuple[bytes, bytes]:
    """Field and value of a variant."""
    selecting = () if foo is None else ((b"foo", foo),)
    entry = CacheEntry(key, 200, b"OK", b"", b"x" * size, 1.9e9, lifetime=9, keep=9, selecting=selecting)
    return variant_of(entry), encode(entry)


@pytest_twisted.ensureDeferred
async def test_a_plain_variant_alone_needs_no_index(store: RedisStore, redis_server: RedisServer) -> None:
    field, value = value_of(None)
    for _ in range(2):
        await store.put(PLAIN, field, value, HOUR)
    assert redis_server.cli("HKEYS", PLAIN) == [b"-"]
    stored = await store.lookup(PLAIN, [b"-"])
    assert (dict(stored.variants), dict(stored.outlines)) == ({b"-": value}, {})


@pytest.mark.parametrize("order", [(None, b"1", b"2"), (b"1", None, b"2"), (b"2", b"1", None)])
@pytest_twisted.ensureDeferred
async def test_the_index_keeps_in_step(store: RedisStore, order: tuple[bytes | None, ...]) -> None:
    puts = dict(map(value_of, order))
    for field, value in puts.items():
        await store.put(PLAIN, field, value, HOUR)
    stored = await store.lookup(PLAIN, [next(iter(puts))])
    assert list(stored.outlines.items()) == [(field, outline_in(value)) for field, value in puts.items()]
    field, value = value_of(order[0], 99)
    await store.put(PLAIN, field, value, HOUR)
    stored = await store.lookup(PLAIN, [field])
    assert dict(stored.variants) == {field: value}
    assert list(stored.outlines) == [*list(puts)[1:], field]
    assert stored.outlines[field] == outline_in(value)
    for field in puts:
        assert await store.discard(PLAIN, field)
    assert await store.lookup(PLAIN, [b"-"]) is None


@pytest_twisted.ensureDeferred
async def test_the_oldest_variants_go_first(redis_server: RedisServer) -> None:
    pool = built(redis_server.url, StoreConfig(max_variants=3, max_variant_bytes=3000))
    await pool.start()
    try:
        names = []
        for number in range(5):
            field, value = value_of(b"%d" % number)
            names.append(field)
            await pool.put(PLAIN, field, value, HOUR)
        assert list((await pool.lookup(PLAIN, [])).outlines) == names[2:]
        field, value = value_of(b"large", 2400)
        await pool.put(PLAIN, field, value, HOUR)
        stored = await pool.lookup(PLAIN)
        assert list(stored.outlines)[-1] == field
        assert set(stored.variants) == set(stored.outlines)
        assert sum(map(len, stored.variants.values())) <= 3000
        field, value = value_of(b"larger", 5000)
        await pool.put(PLAIN, field, value, HOUR)
        assert list((await pool.lookup(PLAIN)).variants) == [field]
    finally:
        await pool.stop()


@pytest_twisted.ensureDeferred
async def test_a_lookup_reads_one_variant(store: RedisStore, redis_server: RedisServer) -> None:
    puts = dict(value_of(b"%d" % number, 200_000) for number in range(20))
    for field, value in puts.items():
        await store.put(PLAIN, field, value, HOUR)
    before = sent_by(redis_server)
    field = list(puts)[7]
    stored = await store.lookup(PLAIN, [field])
    assert dict(stored.variants) == {field: puts[field]}
    assert len(stored.outlines) == 20
    assert sent_by(redis_server) - before < 220_000


@pytest_twisted.ensureDeferred
async def test_a_hash_of_another_version_is_read_as_such(store: RedisStore, redis_server: RedisServer) -> None:
    old = MAGIC + b"\x01" + b"x" * 40
    redis_server.cli("HSET", PLAIN, "-", old, "00ff", old)
    redis_server.cli("PEXPIRE", PLAIN, HOUR)
    stored = await store.lookup(PLAIN, [b"-"])
    assert (dict(stored.variants), dict(stored.outlines)) == ({b"-": old}, {})
    field, value = value_of(b"1")
    await store.put(PLAIN, field, value, HOUR)
    stored = await store.lookup(PLAIN, [b"-", field])
    assert dict(stored.variants) == {b"-": old, field: value}
    assert stored.outlines[b"-"] == old[:4]
    redis_server.cli("HSET", PLAIN, "#", old)
    assert not (await store.lookup(PLAIN, [field])).outlines


@pytest_twisted.ensureDeferred
async def test_a_damaged_index_is_unreadable(store: RedisStore, redis_server: RedisServer) -> None:
    field, value = value_of(b"1")
    await store.put(PLAIN, field, value, HOUR)
    redis_server.cli("HSET", PLAIN, "#", PREAMBLE + b"\0\0\0\x05junk-junk-junk")
    with pytest.raises(Unreadable, match="add up"):
        await store.lookup(PLAIN, [field])


def sent_by(server: RedisServer) -> int:
    """Bytes that the server has sent so far."""
    lines = server.cli("INFO", "stats").splitlines()
    return int(next(line for line in lines if line.startswith(b"total_net_output_bytes")).partition(b":")[2])


@pytest.mark.parametrize(("first", "second"), [(HOUR, 5000), (5000, HOUR)], ids=["shorter", "longer"])
@pytest.mark.parametrize("later", [EDITOR, b"cache:GET:author:/x"], ids=["variant", "role"])
@pytest_twisted.ensureDeferred
async def test_the_index_lives_and_lists_as_long_as_the_entries(
    store: RedisStore, redis_server: RedisServer, later: bytes, first: int, second: int
) -> None:
    await store.put(EDITOR, b"f", b"v", first)
    await store.put(later, b"g", b"v", second)
    assert redis_server.cli("PTTL", INDEX) > HOUR - 5000
    now = int(redis_server.cli("TIME")[0]) * 1000
    for role in redis_server.cli("ZRANGE", INDEX, 0, -1):
        listed = int(redis_server.cli("ZSCORE", INDEX, role)) - now
        assert abs(listed - redis_server.cli("PTTL", b"cache:GET:%b:/x" % role)) < 3000


@pytest_twisted.ensureDeferred
async def test_the_index_forgets_roles_whose_entries_have_expired(store: RedisStore, redis_server: RedisServer) -> None:
    for number in range(10):
        await store.put(b"cache:GET:r%d:/x" % number, b"f", b"v", HOUR)
    redis_server.cli("ZADD", INDEX, 1, "r1", 1, "r2")
    await store.put(EDITOR, b"f", b"v", HOUR)
    assert len(redis_server.cli("ZRANGE", INDEX, 0, -1)) == 9


@pytest_twisted.ensureDeferred
async def test_a_target_with_many_roles_is_dropped_in_steps(
    store: RedisStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "ROLES_STEP", 4)
    keys = [b"cache:GET:r%d:/x" % number for number in range(8)]
    await gatherResults([store.put(key, b"f", b"v", HOUR) for key in keys])
    assert await store.delete_target(b"/x") == set(keys)
    assert redis_server.cli("DBSIZE") == 0


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("step", [1, 3, 4, 8, 9, 1000])
async def test_targets_that_are_dropped_together_lose_all_they_have_and_nothing_else(
    store: RedisStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(scripts, "ROLES_STEP", step)
    kept = b"cache:GET:r1:/kept"
    held = {
        target: [b"cache:GET:anonymous:" + target, *(b"cache:GET:r%d:%b" % (role, target) for role in range(roles))]
        for target, roles in ((b"/a", 2), (b"/b", 8), (b"/c", 0), (b"/d", 4), (b"/e", 4))
    }
    await gatherResults([store.put(key, b"f", b"v", HOUR) for keys in held.values() for key in (*keys, kept)])
    redis_server.cli("SET", "cacheindex:/none", "foreign")
    redis_server.cli("SCRIPT", "FLUSH")
    dropped = await gatherResults([store.delete_target(target) for target in (*held, b"/none", b"/b")])
    assert dropped[:5] == [set(keys) for keys in held.values()]
    assert dropped[5:] == [set(), set(held[b"/b"])]
    assert redis_server.cli("KEYS", "cache:*") == [kept]
    assert redis_server.cli("KEYS", "cacheindex:*") == [b"cacheindex:/kept"]


@pytest_twisted.ensureDeferred
async def test_scripts_are_sent_again_to_a_server_that_forgot_them(
    store: RedisStore, redis_server: RedisServer
) -> None:
    for _ in range(2):
        redis_server.cli("SCRIPT", "FLUSH")
        await store.put(EDITOR, b"f", b"v", HOUR)
        redis_server.cli("SCRIPT", "FLUSH")
        assert await store.delete_target(b"/x") == {EDITOR}


class Shift(Ask[list[object]]):
    """Makes its connection believe that the server's clock has been set."""

    def __init__(self, seconds: float) -> None:
        super().__init__(pack(b"PING"), 1, list)
        self.seconds = seconds

    def payload(self, connection: RedisConnection) -> bytes:
        connection.server_ahead += self.seconds
        return super().payload(connection)


@pytest_twisted.ensureDeferred
async def test_a_discard_takes_nothing_that_is_written_after_it(store: RedisStore, redis_server: RedisServer) -> None:
    """Not even where its script has to be sent whole first."""
    field, value = value_of(b"1")
    await store.put(PLAIN, field, value, HOUR)
    redis_server.cli("SCRIPT", "FLUSH")
    await store.put(EDITOR, field, value, HOUR)
    await store.put(PLAIN, field, value, HOUR)
    discarded = store.discard(PLAIN, field)
    put = store.put(PLAIN, field, value, HOUR)
    assert await discarded
    await put
    stored = await store.lookup(PLAIN, [field])
    assert (dict(stored.variants), dict(stored.outlines)) == ({field: value}, {field: outline_in(value)})


@pytest.mark.parametrize("seconds", [-3600, 3600, -(10**9)])
@pytest_twisted.ensureDeferred
async def test_a_clock_that_was_set_costs_no_write(store: RedisStore, seconds: int) -> None:
    await store.ping()
    await store.pool.execute(Shift(seconds))
    await store.put(PLAIN, b"f", b"v", HOUR)
    assert await store.lookup(PLAIN) is not None
