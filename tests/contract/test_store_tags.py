"""What every IStore does with tags and with what is stale, on memory and on a real Redis alike."""

from __future__ import annotations

import contextlib
from unittest.mock import ANY

import pytest
import pytest_twisted
from support.store_subject import ALICE, AWKWARD, EDITOR, HOUR, KEY, TARGET, Subject
from support.walks import walked
from twisted.internet.defer import gatherResults

from caching_proxy.interfaces import SCAN_ENDS, Fate, IStore, Stored, StoreError


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
