"""The embedded store: what only it does (bounds, timers)."""

from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.walks import walk
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from caching_proxy.store.memory import KEY_OVERHEAD, SCAN_STEP, SWEEP_STEP, VARIANT_OVERHEAD, MemoryStore

T = TypeVar("T")


def now(deferred: Deferred[T]) -> T:
    results: list[T] = []
    deferred.addCallback(results.append)
    assert results, "not fired"
    return results[0]


def test_least_recently_used_keys_go_first() -> None:
    one = len(b"k1") + KEY_OVERHEAD + len(b"f") + 1000 + VARIANT_OVERHEAD
    store = MemoryStore(Clock(), max_bytes=3 * one)
    for key in (b"k1", b"k2", b"k3"):
        store.put(key, b"f", b"x" * 1000, 9000)
    now(store.lookup(b"k1"))
    store.put(b"k4", b"f", b"x" * 1000, 9000)
    assert sorted(now(walk(store))) == [b"k1", b"k3", b"k4"]
    assert store.evictions == 1
    assert store.bytes == 3 * one


def test_what_can_never_fit_evicts_nothing_but_its_predecessor() -> None:
    store = MemoryStore(Clock(), max_bytes=10_000)
    store.put(b"a", b"f", b"x", 9000)
    store.put(b"b", b"f", b"old", 9000)
    store.put(b"b", b"f", b"x" * 10_000, 9000)
    assert now(walk(store)) == [b"a"]


def test_one_key_cannot_outgrow_the_store() -> None:
    store = MemoryStore(Clock(), max_bytes=10_000)
    for number in range(10):
        store.put(b"a", b"%d" % number, b"x" * 2000, 9000)
    variants = now(store.lookup(b"a")).variants
    assert list(variants) == [b"6", b"7", b"8", b"9"]
    assert store.bytes <= 10_000


def test_expired_keys_are_freed_without_being_asked_for() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(50):
        store.put(b"%d" % number, b"f", b"x", 1000 * (number + 1))
    clock.pump([1.0] * 26)
    assert 24 <= store.entries <= 25
    clock.pump([1.0] * 30)
    assert store.entries == 0
    assert store.bytes == 0
    assert clock.getDelayedCalls() == []


def test_a_prolonged_life_is_not_cut_short_by_the_sweep() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    store.put(b"a", b"f", b"x", 2000)
    clock.advance(1.5)
    store.put(b"a", b"f", b"x", 60_000)
    clock.pump([1.0] * 5)
    assert now(store.lookup(b"a")).ttl_ms == 55_000
    clock.pump([1.0] * 60)
    assert store.entries == 0


def test_a_variant_that_replaces_the_only_one_may_live_shorter() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    store.put(b"a", b"f", b"x", 60_000)
    store.put(b"a", b"f", b"y", 2000)
    assert now(store.lookup(b"a")).ttl_ms == 2000
    clock.pump([1.0] * 3)
    assert now(store.lookup(b"a")) is None
    clock.pump([1.0] * 60)
    assert store.entries == len(store._expiries) == 0


def test_a_key_that_comes_back_lives_its_own_time() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for ttl_ms in (3000, 2000, 5000):
        store.put(b"a", b"f", b"x", ttl_ms)
        store.delete([b"a"])
    store.put(b"a", b"f", b"x", 10_000)
    clock.pump([1.0] * 9)
    assert store.entries == len(store._expiries) == 1
    clock.pump([1.0] * 3)
    assert store.entries == len(store._expiries) == 0


def test_replacing_takes_no_memory() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for _ in range(100):
        clock.advance(0.001)
        store.put(b"a", b"f", b"x", 60_000)
    assert len(store._expiries) == 1


@pytest.mark.slow
def test_memory_of_expiries_is_bounded() -> None:
    store = MemoryStore(Clock())
    for number in range(20_000):
        store.put(b"a", b"f", b"x", 1000 * number)
        store.delete([b"a"])
    assert len(store._expiries) == 0
    assert len(store._expiries._seconds) < 200


def test_a_step_of_a_walk_is_short() -> None:
    store = MemoryStore(Clock())
    for number in range(5 * SCAN_STEP):
        store.put(b"%d" % number, b"f", b"x", 60_000)
    step = now(store.scan(b"0"))
    assert SCAN_STEP <= len(step.keys) < 1.2 * SCAN_STEP
    assert step.cursor != b"0"


def test_many_that_end_together_are_forgotten_in_slices() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(3 * SWEEP_STEP):
        store.put(b"%d" % number, b"f", b"x", 5000)
    clock.rightNow = 5.0
    sizes = []
    while clock.getDelayedCalls():
        call = clock.calls.pop(0)
        call.func()  # one turn
        sizes.append(store.entries)
        assert now(store.held([b"0", b"2999"])) == set(), "ended all the same"
    assert len(sizes) >= 3
    assert sizes[0] >= 2 * SWEEP_STEP - 2
    assert (store.entries, store.bytes, clock.getDelayedCalls()) == (0, 0, [])


def test_a_short_life_after_a_long_one_is_freed_in_time() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    store.put(b"long", b"f", b"x", 3_600_000)
    clock.advance(1)
    store.put(b"short", b"f", b"x", 2000)
    clock.pump([1.0] * 3)
    assert store.entries == 1


def test_stop_ends_timers() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(3 * SWEEP_STEP):
        store.put(b"%d" % number, b"f", b"x", 1000)
    clock.advance(1)
    now(store.stop())
    assert clock.getDelayedCalls() == []
    store.put(b"late", b"f", b"x", 1000)
    assert clock.getDelayedCalls() == []


KEYS = st.sampled_from([b"cache:GET:%b:/%d" % (role, n) for role in (b"anonymous", b"ed") for n in range(4)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.sampled_from(b"abc"), st.integers(0, 3000), st.integers(-1, 9000)),
        st.tuples(st.just("discard"), KEYS, st.sampled_from(b"abc"), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["delete", "target", "lookup", "advance"]), KEYS, st.just(0), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(STEPS)
@pytest.mark.slow
def test_the_account_of_bytes_is_always_right(steps: list[tuple[str, bytes, int, int, int]]) -> None:
    clock = Clock()
    store = MemoryStore(clock, max_bytes=12_000)
    for name, key, field, size, ttl_ms in steps:
        if name == "put":
            store.put(key, bytes([field]), b"x" * size, ttl_ms)
        elif name == "discard":
            store.discard(key, bytes([field]))
        elif name == "delete":
            store.delete([key])
        elif name == "target":
            store.delete_target(key.rpartition(b":")[2])
        elif name == "lookup":
            store.lookup(key)
        else:
            clock.advance(1.3)
        held = 0
        for kept, slot in store._slots.items():
            values = sum(len(f) + len(v) + VARIANT_OVERHEAD for f, v in slot.variants.items())
            assert slot.size == len(kept) + KEY_OVERHEAD + values
            assert slot.variants
            held += slot.size
        assert store.bytes == held <= 12_000
        assert {key for keys in store._targets.values() for key in keys} == set(store._slots)
