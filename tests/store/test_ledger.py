"""The ledger of invalidations on real servers: its scripts, what they do to writes, and servers in trouble."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import pytest_twisted
from support.redis_server import RedisServer
from twisted.internet import reactor

from caching_proxy.interfaces import IInvalidationBus, Overtaken, StoreError
from caching_proxy.rules.bus_message import EVERYTHING, Invalidation
from caching_proxy.rules.ledger import LEDGER_LENGTH, MAX_ENTRY_BYTES, UNKNOWN, missed, number_of
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger import LEDGER
from caching_proxy.store.redis.ledger_calls import Marked, Since
from caching_proxy.store.redis.put import NEAR
from caching_proxy.store.redis.store import RedisStore

PLAIN, EDITOR = b"cache:GET:anonymous:/x", b"cache:GET:editor:/x"
HOUR = 3_600_000
X = Invalidation(targets=(b"/x",))


def built(url: str, origin: bytes = b"me") -> RedisStore:
    guarded = build_store(reactor, url, StoreConfig(pool_min=1, pool_max=4, origin=origin))
    assert isinstance(guarded, CircuitBreakerStore)
    assert isinstance(guarded.store, RedisStore)
    return guarded.store


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    made = built(redis_server.url)
    pytest_twisted.blockon(made.start())
    yield made
    pytest_twisted.blockon(made.stop())


async def since(store: RedisStore, known: bytes = UNKNOWN) -> tuple[bytes, list[bytes | None]]:
    assert store.words is not None
    answer: tuple[bytes, list[bytes | None]] = await store.pool.execute(Since(known, store.words.word()))
    return answer


async def written(store: RedisStore, mark: bytes | None, key: bytes = PLAIN) -> bool:
    try:
        await store.put(key, b"f", b"v", HOUR, mark)
    except Overtaken:
        return False
    return True


@pytest_twisted.ensureDeferred
async def test_marks_count_and_are_read_back(store: RedisStore) -> None:
    marks: list[Marked] = []
    store.on_marked = marks.append
    start, log = await since(store)
    assert (number_of(start), log) == (0, [])
    others = Invalidation(keys=(PLAIN,), patterns=(b"cache:*:/\xff",))
    await store.mark(X)
    await store.delete_target(b"/x")
    await store.mark(others)
    newest, log = await since(store, start)
    entries = missed(start, newest, log)
    assert entries is not None
    assert [entry.invalidation for entry in entries] == [X, X, others]
    assert [entry.mark for entry in entries] == [marked.mark for marked in marks]
    assert [marked.previous for marked in marks] == [start, *(marked.mark for marked in marks[:-1])]
    assert len({entry.mark for entry in entries}) == 3
    assert {entry.origin for entry in entries} == {b"me"}


@pytest_twisted.ensureDeferred
async def test_a_ledger_whose_newest_mark_was_emptied_begins_anew(store: RedisStore, redis_server: RedisServer) -> None:
    before, _ = await since(store)
    redis_server.cli("HSET", LEDGER, "last", "")
    assert not await written(store, before)
    mark, log = await since(store, before)
    assert (number_of(mark), log) == (0, [])
    assert mark != before
    assert await written(store, mark)


@pytest.mark.parametrize("key", [PLAIN, EDITOR])
@pytest_twisted.ensureDeferred
async def test_a_write_that_does_not_know_of_the_last_invalidation_is_refused(store: RedisStore, key: bytes) -> None:
    assert not await written(store, UNKNOWN, key), "nothing was looked at yet"
    mark, _ = await since(store)
    assert await written(store, mark, key)
    await store.mark(Invalidation(keys=(b"cache:GET:anonymous:/another",)))
    assert not await written(store, mark, key)
    assert await written(store, None, key), "no order is wanted"
    mark, _ = await since(store)
    assert await written(store, mark, key)
    assert await store.delete_target(b"/x") == {key}
    assert not await written(store, mark, key)
    assert await store.lookup(key) is None


ANOTHER = Invalidation(targets=(b"/another", b"/x/y", b"/X", b"/", b"//h/x"))


@pytest.mark.parametrize(
    ("key", "entered", "taken"),
    [
        (PLAIN, [ANOTHER], True),
        (EDITOR, [ANOTHER], True),
        (PLAIN, [ANOTHER] * NEAR, True),
        (PLAIN, [ANOTHER] * (NEAR + 1), False),
        (PLAIN, [X], False),
        (EDITOR, [X], False),
        (PLAIN, [X, ANOTHER], False),
        (PLAIN, [ANOTHER, X, ANOTHER], False),
        (PLAIN, [Invalidation(targets=(b"/a", b"/x", b"/b"))], False),
        (PLAIN, [ANOTHER, Invalidation(keys=(b"cache:GET:anonymous:/y",))], False),
        (PLAIN, [Invalidation(patterns=(b"cache:*",)), ANOTHER], False),
        (PLAIN, [Invalidation(tags=(b"t",)), ANOTHER], False),
        (PLAIN, [attrs.evolve(ANOTHER, tags=(b"t",))], False),
        (PLAIN, [EVERYTHING], False),
        (PLAIN, [Invalidation(targets=(b"/" + b"y" * MAX_ENTRY_BYTES,))], False),
        (PLAIN, [Invalidation(targets=(b'/x"], "keys": [], "patterns": []}',), patterns=(b"cache:*",))], False),
        (b'cache:GET:anonymous:/"', [Invalidation(targets=(b'/"',))], False),
        (b"cache:GET:anonymous:/\\", [Invalidation(targets=(b"/\\",))], False),
        (b"cache:GET:anonymous:/\xff", [Invalidation(targets=(b"/\xff",))], False),
        (b"cache:GET:anonymous:/a?b=[c]^`{|}~:%2F", [ANOTHER], True),
        (b"cache:GET:a_1%2D~0f:/a?b", [Invalidation(targets=(b"/a",))], True),
        (b"cache:GET:a_1%2D~0f:/a?b", [Invalidation(targets=(b"/a?b",))], False),
        (b"cache:GET:editor://h/x", [Invalidation(targets=(b"/x", b"//H/x"))], True),
        (b"cache:GET:editor://h/x", [Invalidation(targets=(b"//h/x",))], False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_write_is_refused_only_for_what_may_concern_it(
    store: RedisStore, key: bytes, entered: list[Invalidation], taken: bool
) -> None:
    await store.mark(Invalidation(patterns=(b"cache:*",)))
    mark, _ = await since(store)
    for invalidation in entered:
        await store.mark(invalidation)
    assert await written(store, mark, key) is taken
    assert (await store.lookup(key) is not None) is taken


@pytest.mark.parametrize("lost", ["last", "own", "between", "another word", "all"])
@pytest_twisted.ensureDeferred
async def test_what_the_ledger_does_not_tell_may_concern_a_write(
    store: RedisStore, redis_server: RedisServer, lost: str
) -> None:
    await store.mark(X)
    mark, _ = await since(store)
    for _ in range(2):
        await store.mark(ANOTHER)
    number = number_of(mark)
    assert await written(store, mark)
    if lost == "another word":
        redis_server.cli("HSET", LEDGER, str(number), f"{number}:other {{}}")
    elif lost == "all":
        redis_server.cli("DEL", LEDGER)
    else:
        redis_server.cli("HDEL", LEDGER, {"last": "last", "own": str(number), "between": str(number + 1)}[lost])
    assert not await written(store, mark)


@pytest_twisted.ensureDeferred
async def test_an_emptied_server_takes_no_write_from_before(store: RedisStore, redis_server: RedisServer) -> None:
    mark, _ = await since(store)
    redis_server.cli("FLUSHALL")
    assert not await written(store, mark)
    assert not await written(store, UNKNOWN)
    await store.mark(X)
    assert not await written(store, mark)
    newest, log = await since(store, mark)
    assert missed(mark, newest, log) is None


@pytest_twisted.ensureDeferred
async def test_the_log_is_bounded_and_says_how_far_it_reaches(store: RedisStore, redis_server: RedisServer) -> None:
    start, _ = await since(store)
    await store.mark(X)
    first, _ = await since(store, start)
    for _ in range(LEDGER_LENGTH + 9):
        await store.mark(X)
    assert redis_server.cli("HLEN", LEDGER) <= LEDGER_LENGTH + 2
    newest, log = await since(store, first)
    assert (log, missed(first, newest, log)) == ([], None)
    near = number_of(newest) - LEDGER_LENGTH + 1
    known = bytes(redis_server.cli("HGET", LEDGER, near)).partition(b" ")[0]
    newest, log = await since(store, known)
    assert len(missed(known, newest, log) or ()) == LEDGER_LENGTH - 1


@pytest_twisted.ensureDeferred
async def test_a_long_message_is_remembered_as_everything(store: RedisStore) -> None:
    start, _ = await since(store)
    await store.mark(Invalidation(targets=tuple(b"/%d" % n + b"x" * 100 for n in range(100))))
    newest, log = await since(store, start)
    assert max(len(entry or b"") for entry in log) < MAX_ENTRY_BYTES
    (entry,) = missed(start, newest, log) or ()
    assert entry.invalidation == EVERYTHING


@pytest.mark.parametrize("make", [("SET", "v"), ("RPUSH", "v")], ids=lambda make: make[0])
@pytest_twisted.ensureDeferred
async def test_a_foreign_value_in_its_place(
    store: RedisStore, redis_server: RedisServer, make: tuple[str, str]
) -> None:
    for again in (lambda: since(store), lambda: store.mark(X), lambda: store.delete_target(b"/x")):
        mark, _ = await since(store)
        redis_server.cli("DEL", LEDGER)
        redis_server.cli(make[0], LEDGER, make[1])
        with pytest.raises(StoreError):
            await store.put(PLAIN, b"f", b"v", HOUR, mark)
        await again()
        assert redis_server.cli("TYPE", LEDGER) == b"hash"
        assert not await written(store, mark)


@pytest_twisted.ensureDeferred
async def test_a_large_target_enters_each_of_its_steps(store: RedisStore) -> None:
    for n in range(2500):
        await store.put(b"cache:GET:role%d:/x" % n, b"f", b"v", HOUR)
    marks: list[Marked] = []
    store.on_marked = marks.append
    assert len(await store.delete_target(b"/x")) == 2500
    assert len(marks) == 3


@pytest_twisted.ensureDeferred
async def test_a_server_without_memory_still_takes_invalidations() -> None:
    with RedisServer(maxmemory="3mb", maxmemory_policy="noeviction") as server:
        store = built(server.url)
        await store.start()
        try:
            mark, _ = await since(store)
            await store.put(PLAIN, b"f", b"v", HOUR, mark)
            server.cli("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreError, match="OOM"):
                await store.put(PLAIN, b"f", b"v", HOUR, mark)
            await store.mark(X)
            assert await store.delete_target(b"/x") == {PLAIN}
            server.cli("CONFIG", "SET", "maxmemory", "0")
            assert not await written(store, mark)
        finally:
            await store.stop()


@pytest_twisted.ensureDeferred
async def test_two_buses_on_one_server(redis_server: RedisServer) -> None:
    stores = [build_store(reactor, redis_server.url, StoreConfig(pool_min=1, origin=origin)) for origin in (b"a", b"b")]
    buses: list[IInvalidationBus] = []
    heard: list[object] = []
    for store in stores:
        await store.start()
        bus = build_bus(reactor, redis_server.url, store)
        assert bus is not None
        bus.start(heard.append, lambda: None)
        await bus.catch_up()
        buses.append(bus)
    try:
        assert buses[0].seen == buses[1].seen
        await stores[0].mark(X)
        await buses[1].catch_up()
        assert (heard, buses[0].seen) == ([X], buses[1].seen)
    finally:
        for bus, store in zip(buses, stores, strict=True):
            await bus.stop()
            await store.stop()


@pytest.mark.parametrize("ledger", ["none", "begun", "of others", "foreign"])
@pytest_twisted.ensureDeferred
async def test_what_is_kept_before_the_first_look_is_trusted_only_where_nobody_has_invalidated(
    store: RedisStore, redis_server: RedisServer, ledger: str
) -> None:
    if ledger == "of others":
        await store.mark(X)
    elif ledger == "begun":
        await since(store)
    elif ledger == "foreign":
        redis_server.cli("SET", LEDGER, "x")
    assert store.words is not None
    follower = Follower(store.pool, store.words)
    flushed: list[None] = []
    follower.start(lambda invalidation: None, lambda: flushed.append(None))
    await follower.catch_up()
    assert (len(flushed), follower.flushes) == (1 if ledger == "of others" else 0, 0)
    assert follower.seen
    assert await written(store, follower.seen)
