"""What every IStore does, on memory and on a real Redis alike."""

from __future__ import annotations

import pytest
import pytest_twisted
from support.store_subject import ALICE, AWKWARD, EDITOR, HOUR, KEY, TARGET, Subject
from support.walks import walked
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from caching_proxy.interfaces import SCAN_ENDS, IStore, Stored, StoreError


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
