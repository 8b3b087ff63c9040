"""What every IStore does, on memory and on a real Redis alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import ANY

import attrs
import pytest
import pytest_twisted
from support.examples import DirectoryValues
from support.hearing import Hearing
from support.walks import walked
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from caching_proxy.interfaces import SCAN_ENDS, Fate, IStore, Stored, StoreError
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


@pytest.fixture(
    params=[
        "memory",
        "guarded",
        pytest.param("directory", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=pytest.mark.live) for kind in ("redis", "redis-unix", "redis-sought", "cluster")),
    ]
)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    kind = request.param
    if kind in ("memory", "guarded"):
        clock = Clock()
        store: IStore = MemoryStore(clock)
        if kind == "guarded":
            store = CircuitBreakerStore(store, Breaker(5, 5), clock)
        made = Subject(store, lambda key: clock.advance(HOUR))
    elif kind == "directory":  # the example of a store that does the least
        clock = Clock()
        clock.advance(1_900_000_000)
        store = IndexedStore(DirectoryValues(tmp_path / "values", clock.seconds), clock)
        made = Subject(store, lambda key: clock.advance(HOUR))
    elif kind == "cluster":
        cluster = request.getfixturevalue("shared_cluster")
        cluster.everywhere("FLUSHALL")
        store = build_store(reactor, cluster.url, StoreConfig(pool_min=1))
        made = Subject(store, lambda key: cluster.owner(slot_of(name_of(key))).cli("PEXPIRE", name_of(key), 0))
    else:
        server = request.getfixturevalue("redis_server")
        url = server.unix_url if kind == "redis-unix" else server.url
        store = build_store(reactor, url, StoreConfig(pool_min=1))
        if kind == "redis-sought":
            store.lookup = sought(store)  # type: ignore[method-assign]
        made = Subject(store, lambda key: server.cli("PEXPIRE", key, 0))
    pytest_twisted.blockon(store.start())
    yield made
    pytest_twisted.blockon(store.stop())


def test_provides_the_interface(subject: Subject) -> None:
    assert verifyObject(IStore, subject.store)


@pytest_twisted.ensureDeferred
async def test_nothing_stored(subject: Subject) -> None:
    store = subject.store
    assert await store.lookup(KEY) is None
    assert await store.discard(KEY, b"v") is False
    assert await store.delete([KEY]) == set()
    assert await store.delete([]) == set()
    assert await store.delete_target(TARGET) == set()
    assert await walked(store) == []
    assert await store.ping() is None


@pytest.mark.parametrize("key", [KEY, EDITOR, AWKWARD, b"cache:GET:/old", b"no key of ours", b"\x00"])
@pytest.mark.parametrize(
    ("field", "value"),
    [(b"", b"v"), (b"f\r\n\x00", b"12"), (b"f", b""), (b"7", b"1.50"), (b"f", bytes(range(256)) * 4096)],
    ids=["no-field", "number", "empty", "decimal", "1MiB"],
)
@pytest_twisted.ensureDeferred
async def test_bytes_come_back_as_they_were(subject: Subject, key: bytes, field: bytes, value: bytes) -> None:
    await subject.store.put(key, field, value, 5000)
    stored = await subject.store.lookup(key)
    assert dict(stored.variants) == {field: value}
    assert 0 < stored.ttl_ms <= 5000
    assert await walked(subject.store) == [key]
    assert await subject.store.delete([key]) == {key}


@pytest_twisted.ensureDeferred
async def test_variants_stand_side_by_side(subject: Subject) -> None:
    store = subject.store
    await store.put(KEY, b"a", b"1", 9000)
    await store.put(KEY, b"b", b"2", 9000)
    await store.put(KEY, b"a", b"3", 9000)
    assert dict((await store.lookup(KEY)).variants) == {b"a": b"3", b"b": b"2"}
    assert await store.discard(KEY, b"a") is True
    assert await store.discard(KEY, b"a") is False
    assert dict((await store.lookup(KEY)).variants) == {b"b": b"2"}


@pytest_twisted.ensureDeferred
async def test_a_key_without_variants_does_not_exist(subject: Subject) -> None:
    store = subject.store
    for key in (KEY, EDITOR):
        await store.put(key, b"a", b"1", 9000)
        await store.discard(key, b"a")
        assert await store.lookup(key) is None
        assert await store.delete([key]) == set()
    assert await walked(store) == []
    assert await store.delete_target(TARGET) == set()


@pytest.mark.parametrize(("first", "second"), [(60_000, 5_000), (5_000, 60_000)], ids=["shorter", "longer"])
@pytest_twisted.ensureDeferred
async def test_a_key_lives_as_long_as_its_longest_variant(subject: Subject, first: int, second: int) -> None:
    await subject.store.put(KEY, b"a", b"1", first)
    await subject.store.put(KEY, b"b", b"2", second)
    assert 55_000 < (await subject.store.lookup(KEY)).ttl_ms <= 60_000


@pytest.mark.parametrize("ttl_ms", [0, -5])
@pytest_twisted.ensureDeferred
async def test_what_may_not_live_replaces_what_was_there(subject: Subject, ttl_ms: int) -> None:
    await subject.store.put(KEY, b"a", b"old", 9000)
    await subject.store.put(KEY, b"b", b"stays", 9000)
    await subject.store.put(KEY, b"a", b"new", ttl_ms)
    assert dict((await subject.store.lookup(KEY)).variants) == {b"b": b"stays"}


@pytest.mark.parametrize("key", [KEY, EDITOR])
@pytest_twisted.ensureDeferred
async def test_what_has_expired_is_gone_for_every_method(subject: Subject, key: bytes) -> None:
    store = subject.store
    for check in (
        lambda: store.lookup(key),
        lambda: store.discard(key, b"a"),
        lambda: store.delete([key]),
        lambda: store.delete_target(TARGET),
        lambda: walked(store),
    ):
        await store.put(key, b"a", b"1", 9000)
        subject.expire(key)
        assert not await check()
    await store.put(key, b"b", b"2", 9000)
    assert dict((await store.lookup(key)).variants) == {b"b": b"2"}


@pytest_twisted.ensureDeferred
async def test_delete_says_which_keys_existed(subject: Subject) -> None:
    store = subject.store
    await store.put(KEY, b"a", b"1", 9000)
    await store.put(EDITOR, b"a", b"1", 9000)
    assert await store.delete([KEY, b"cache:GET:anonymous:/other", KEY, EDITOR]) == {KEY, EDITOR}
    assert await store.lookup(KEY) is None


@pytest_twisted.ensureDeferred
async def test_delete_takes_any_number_of_keys(subject: Subject) -> None:
    keys = [b"cache:GET:anonymous:/%d" % n for n in range(1200)]
    await gatherResults([subject.store.put(key, b"", b"x", HOUR) for key in keys[:700]])
    assert await subject.store.delete(keys) == set(keys[:700])


@pytest_twisted.ensureDeferred
async def test_delete_target_takes_every_role_and_nothing_else(subject: Subject) -> None:
    store = subject.store
    mine = [b"cache:GET:%b:/items?page=1" % role for role in (b"anonymous", b"admin", b"editor", b"opaque~", b"a~1")]
    others = [
        b"cache:GET:anonymous:/items?page=10",
        b"cache:GET:editor:/items?page=10",
        b"cache:GET:editor:/x:/items?page=1",
        b"cache:GET:editor:/items",
        b"cache:GET:admin:/items?page=1/",
    ]
    for key in mine + others:
        await store.put(key, b"a", b"1", HOUR)
        await store.put(key, b"b", b"2", HOUR)
    await store.delete([b"cache:GET:a~1:/items?page=1"])
    assert await store.delete_target(TARGET) == set(mine[:-1])
    assert await store.delete_target(TARGET) == set()
    assert sorted(await walked(store)) == sorted(others)
    await store.put(EDITOR, b"a", b"3", HOUR)
    assert dict((await store.lookup(EDITOR)).variants) == {b"a": b"3"}
    assert await store.delete_target(TARGET) == {EDITOR}


@pytest_twisted.ensureDeferred
async def test_delete_target_outlives_a_short_lived_role(subject: Subject) -> None:
    await subject.store.put(EDITOR, b"a", b"1", HOUR - 1)
    await subject.store.put(ALICE, b"a", b"1", 1000)
    assert await subject.store.delete_target(TARGET) >= {EDITOR}


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        (b"", {KEY, EDITOR, ALICE}),
        (b"cache:GET:", {KEY, EDITOR, ALICE}),
        (b"cache:GET:a", {KEY, ALICE}),
        (b"cache:GET:*", set()),
        (b"items", set()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_walk_gives_what_begins_with_a_prefix(subject: Subject, prefix: bytes, found: set[bytes]) -> None:
    for key in (KEY, EDITOR, ALICE):
        await subject.store.put(key, b"a", b"1", HOUR)
    assert sorted(await walked(subject.store, prefix)) == sorted(found)


@pytest_twisted.ensureDeferred
async def test_a_prefix_is_no_pattern(subject: Subject) -> None:
    for key in (b"a*c", b"abc", b"a[c", b"a?"):
        await subject.store.put(key, b"a", b"1", HOUR)
    for prefix in (b"a*", b"a[", b"a?"):
        assert [key for key in await walked(subject.store, prefix) if not key.startswith(prefix)] == []
        assert len(await walked(subject.store, prefix)) == 1


@pytest_twisted.ensureDeferred
async def test_a_walk_comes_in_steps_and_gives_every_key_that_stays(subject: Subject) -> None:
    store = subject.store
    keys = [b"cache:GET:anonymous:/%d" % n for n in range(3000)]
    for start in range(0, len(keys), 500):
        await gatherResults([store.put(key, b"", b"x", HOUR) for key in keys[start : start + 500]])
    found, cursor, steps = [], SCAN_ENDS, 0
    while not steps or cursor != SCAN_ENDS:
        step = await store.scan(cursor, b"cache:")
        found += step.keys
        cursor, steps = step.cursor, steps + 1
        assert len(step.keys) < 2000
        await store.delete(list(step.keys)[::2])
        await store.put(b"cache:GET:anonymous:/new/%d" % steps, b"", b"x", HOUR)
    assert steps > 1
    assert set(found) >= set(keys)


@pytest.mark.parametrize("cursor", [b"x", b"1" * 30])
@pytest_twisted.ensureDeferred
async def test_a_cursor_that_no_step_gave(subject: Subject, cursor: bytes) -> None:
    with pytest.raises(StoreError):
        await subject.store.scan(cursor)


@pytest_twisted.ensureDeferred
async def test_held_says_which_keys_are_there(subject: Subject) -> None:
    await subject.store.put(KEY, b"a", b"1", HOUR)
    assert await subject.store.held([KEY, EDITOR]) == {KEY}
    assert await subject.store.held([]) == set()


@pytest_twisted.ensureDeferred
async def test_variants_of_a_key_are_bounded(subject: Subject) -> None:
    for number in range(80):
        await subject.store.put(KEY, b"%d" % number, b"x", HOUR)
        assert b"%d" % number in (await subject.store.lookup(KEY)).variants
    assert len((await subject.store.lookup(KEY)).variants) == 64


@pytest_twisted.ensureDeferred
async def test_an_answer_does_not_change_later(subject: Subject) -> None:
    await subject.store.put(KEY, b"a", b"1", HOUR)
    stored = await subject.store.lookup(KEY)
    await subject.store.put(KEY, b"a", b"2", HOUR)
    await subject.store.delete([KEY])
    assert isinstance(stored, Stored)
    assert dict(stored.variants) == {b"a": b"1"}


@pytest_twisted.ensureDeferred
async def test_answers_are_not_mixed_up_when_many_ask_at_once(subject: Subject) -> None:
    keys = [b"cache:GET:%b:/%d" % (role, n) for n in range(300) for role in (b"anonymous", b"editor")]
    await gatherResults([subject.store.put(key, b"f", key * 3, HOUR) for key in keys])
    found = await gatherResults([subject.store.lookup(key) for key in keys])
    assert [stored.variants[b"f"] for stored in found] == [key * 3 for key in keys]


# -- tags, and what is stale


async def tagged(store: IStore, tag: bytes, fate: Fate = Fate.KEPT, moment: float = 0.0) -> list[bytes]:
    """The keys that carry ``tag``, by a whole walk."""
    keys, cursor = set[bytes](), SCAN_ENDS
    while True:
        step = await store.tagged(tag, cursor, fate, moment)
        keys.update(step.keys)
        cursor = step.cursor
        if cursor == SCAN_ENDS:
            return sorted(keys)


@pytest.mark.parametrize("key", [KEY, EDITOR, AWKWARD, b"no key of ours"])
@pytest_twisted.ensureDeferred
async def test_variants_go_by_exactly_their_tags(subject: Subject, key: bytes) -> None:
    store = subject.store
    await store.put(key, b"a", b"1", 5000, tags=[b"one", b"both"])
    await store.put(key, b"b", b"2", 5000, tags=[b"two", b"both"])
    await store.put(key, b"c", b"3", 5000)
    await store.put(ALICE, b"-", b"4", 5000, tags=[b"one"])
    assert await tagged(store, b"one") == sorted({key, ALICE})
    for other in (b"on", b"one ", b"ONE", b"o*", b"*", b"", b"two\none"):
        assert await tagged(store, other, Fate.DELETED) == []
    assert await tagged(store, b"one", Fate.DELETED) == sorted({key, ALICE})
    found = await store.lookup(key)
    assert found is not None
    assert sorted(found.variants) == [b"b", b"c"]
    assert await store.lookup(ALICE) is None
    assert await tagged(store, b"one") == []
    assert await tagged(store, b"both", Fate.DELETED) == [key]
    found = await store.lookup(key)
    assert found is not None
    assert sorted(found.variants) == [b"c"]


@pytest_twisted.ensureDeferred
async def test_a_variant_carries_the_tags_that_it_was_written_with_last(subject: Subject) -> None:
    store = subject.store
    await store.put(KEY, b"-", b"1", 5000, tags=[b"old", b"kept"])
    await store.put(KEY, b"-", b"2", 5000, tags=[b"new", b"kept"])
    assert await tagged(store, b"old", Fate.DELETED) == []
    assert await tagged(store, b"kept") == await tagged(store, b"new") == [KEY]
    await store.put(KEY, b"-", b"3", 5000)
    assert await tagged(store, b"new", Fate.DELETED) == await tagged(store, b"kept", Fate.DELETED) == []
    assert await store.lookup(KEY) == Stored({b"-": b"3"}, ANY)
    await store.put(KEY, b"-", b"4", 5000, tags=[b"new"])
    assert await store.discard(KEY, b"-") is True
    assert await store.lookup(KEY) is None
    await store.put(KEY, b"-", b"5", 5000)
    assert await tagged(store, b"new", Fate.DELETED) == []
    await store.put(KEY, b"-", b"6", 5000, tags=[b"new"])
    assert await store.delete([KEY]) == {KEY}
    assert await tagged(store, b"new") == []


AWKWARD_TAGS = [b"*", b"[a]", b"\\", b"%b%s%d", b"a b", b"\xff\xfe", "é".encode(), b"#", b"/items", b"'", b"x" * 1024]


@pytest_twisted.ensureDeferred
async def test_tags_are_bytes_and_no_patterns(subject: Subject) -> None:
    store = subject.store
    await store.put(KEY, b"-", b"1", 5000, tags=AWKWARD_TAGS)
    await store.put(EDITOR, b"-", b"2", 5000, tags=[b"plain"])
    for tag in AWKWARD_TAGS:
        assert await tagged(store, tag) == [KEY], tag
    assert await store.delete_target(TARGET) == {KEY, EDITOR}
    assert await tagged(store, AWKWARD_TAGS[0]) == []
    assert await walked(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("fate", [Fate.DELETED, Fate.STALE])
@pytest_twisted.ensureDeferred
async def test_a_tag_of_many_keys_goes_in_steps(subject: Subject, fate: Fate) -> None:
    store = subject.store
    keys = [b"cache:GET:anonymous:/%d" % number for number in range(3500)]
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        await gatherResults([store.put(key, b"-", b"v", 60_000, tags=[b"many", b"of " + key]) for key in some])
    first = await store.tagged(b"many", SCAN_ENDS, Fate.KEPT)
    assert first.cursor != SCAN_ENDS
    assert len(first.keys) < 3000
    assert await tagged(store, b"many", fate, 7.0) == sorted(keys)
    assert await tagged(store, b"many") == ([] if fate is Fate.DELETED else sorted(keys))
    found = await store.lookup(keys[17], [b"-"])
    assert (found is None) if fate is Fate.DELETED else (found is not None and found.stale == {b"-": 7.0})


@pytest_twisted.ensureDeferred
async def test_a_cursor_of_a_tag_that_no_step_gave(subject: Subject) -> None:
    await subject.store.put(KEY, b"-", b"v", 60_000, tags=[b"a"])
    for cursor in (b"x", b"99:99", b""):
        with contextlib.suppress(StoreError):
            assert (await subject.store.tagged(b"a", cursor, Fate.KEPT)).cursor == SCAN_ENDS


@pytest_twisted.ensureDeferred
async def test_what_is_softened_is_stale_until_it_is_written_again(subject: Subject) -> None:
    store = subject.store
    for key in (KEY, EDITOR, ALICE):
        await store.put(key, b"a", b"1", 5000)
        await store.put(key, b"b", b"2", 5000)
    assert await store.soften([KEY, b"cache:GET:anonymous:/none"], 5.5) == {KEY}
    found = await store.lookup(KEY, [b"a", b"b"])
    assert found is not None
    assert (dict(found.variants), dict(found.stale)) == ({b"a": b"1", b"b": b"2"}, {b"a": 5.5, b"b": 5.5})
    whole = await store.lookup(KEY)
    assert whole is not None
    assert (dict(whole.variants), dict(whole.stale)) == (dict(found.variants), dict(found.stale))
    await store.put(KEY, b"a", b"3", 5000)
    found = await store.lookup(KEY, [b"a", b"b"])
    assert found is not None
    assert (dict(found.variants), dict(found.stale)) == ({b"a": b"3", b"b": b"2"}, {b"b": 5.5})
    assert await store.soften_target(TARGET, 6.0) == {KEY, EDITOR, ALICE}
    found = await store.lookup(ALICE, [b"b"])
    assert found is not None
    assert found.stale == {b"b": 6.0} or found.stale == {b"a": 6.0, b"b": 6.0}
    assert await store.soften_target(b"/nothing", 6.0) == set()
    assert await store.soften([], 6.0) == set()


@pytest_twisted.ensureDeferred
async def test_tags_softly(subject: Subject) -> None:
    store = subject.store
    await store.put(KEY, b"a", b"1", 5000, tags=[b"one"])
    await store.put(KEY, b"b", b"2", 5000, tags=[b"two"])
    assert await tagged(store, b"one", Fate.STALE, 8.25) == [KEY]
    found = await store.lookup(KEY)
    assert found is not None
    assert (sorted(found.variants), dict(found.stale)) == ([b"a", b"b"], {b"a": 8.25})
    assert await tagged(store, b"one", Fate.DELETED) == [KEY], "it still carries the tag"


@pytest_twisted.ensureDeferred
async def test_what_has_ended_carries_no_tag(subject: Subject) -> None:
    await subject.store.put(KEY, b"-", b"1", HOUR, tags=[b"one"])
    subject.expire(KEY)
    assert await tagged(subject.store, b"one") == []
    assert await tagged(subject.store, b"one", Fate.DELETED) == []
