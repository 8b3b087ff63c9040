"""The tiers in memory and the small registries: hot, burst, uncacheable keys, variants."""

from __future__ import annotations

import tracemalloc

import pytest
from twisted.internet.task import Clock

from caching_proxy.cache.hit_for_miss import HitForMiss
from caching_proxy.cache.tiers.burst import ENTRY_OVERHEAD, BurstTier
from caching_proxy.cache.tiers.burst import OVERHEAD as BURST_OVERHEAD
from caching_proxy.cache.tiers.hot import OVERHEAD, HotTier
from caching_proxy.cache.tiers.sweeper import Sweeper
from caching_proxy.cache.tiers.variants import VaryNames, field_name, latest_of_each
from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.pattern_set import PatternSet
from caching_proxy.rules.policy import MAX_VARIANTS
from caching_proxy.rules.variance import PLAIN_VARIANT, outline_of

NOW = 1_900_000_000.0
HOUR = 3_600_000


def entry(key: bytes = b"k", foo: bytes | None = None, *, body: bytes = b"body", at: float = NOW, keep: int = 900,
          part: bool = False, lifetime: int = 60) -> CacheEntry:  # fmt: skip
    return CacheEntry(
        key,
        206 if part else 200,
        b"OK",
        b"A: 1\r\n",
        body,
        at,
        lifetime=lifetime,
        keep=keep,
        flags=Flag.PARTIAL if part else Flag(0),
        selecting=((b"foo", foo),) if foo is not None else (),
        part=(0, 10) if part else None,
    )


def bodies(tier: HotTier, key: bytes = b"k", now: float = NOW) -> list[bytes]:
    record = tier.get(key, now)
    return [] if record is None else [held.body for held in record.entries]


def size(*entries: CacheEntry) -> int:
    return sum(each.weight + OVERHEAD for each in entries)


# -- hot


def test_a_hot_entry_costs_no_more_than_it_is_counted_with() -> None:
    tier, count = HotTier(5000, 1 << 30, 30), 2000
    tier.put(entry(b"cache:GET:anonymous:/warm"), NOW)
    tracemalloc.start()
    try:
        for number in range(count):
            one = entry(b"cache:GET:anonymous:/items/%d" % number, body=b"%d" % number, at=NOW + number / 10)
            tier.put(one, NOW + number / 1e6)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert tier.entries == count + 1
    assert held < tier.bytes


def test_hot_least_recently_used_go_first() -> None:
    tier = HotTier(2, 1 << 20, 30)
    for key in (b"a", b"b"):
        tier.put(entry(key), NOW)
    assert tier.get(b"a", NOW) is not None
    tier.put(entry(b"c"), NOW)
    assert (tier.keys(NOW), tier.entries, tier.evictions) == ([b"a", b"c"], 2, 1)
    assert tier.bytes == size(entry(b"a"), entry(b"c"))


def test_hot_bounded_in_bytes() -> None:
    one = entry(b"a", body=b"x" * 1000)
    tier = HotTier(100, 2 * size(one), 30)
    for key in (b"a", b"b", b"c"):
        tier.put(entry(key, body=b"x" * 1000), NOW)
    assert tier.keys(NOW) == [b"b", b"c"]
    tier.put(entry(b"d", body=b"x" * 5000), NOW)
    assert tier.keys(NOW) == [b"b", b"c"], "what could never fit displaces nothing"
    tier.put(entry(b"b", body=b"x" * 5000), NOW)
    assert tier.keys(NOW) == [b"c"], "but its key no longer gives the old one"
    assert tier.bytes == size(one)


@pytest.mark.parametrize(("keep", "end"), [(900, 30), (10, 10)], ids=["its own time", "the entry's end"])
def test_hot_ends_in_time_whatever_is_read(keep: int, end: float) -> None:
    tier = HotTier(10, 1 << 20, 30)
    tier.put(entry(keep=keep), NOW)
    for seconds in range(int(end)):
        assert tier.get(b"k", NOW + seconds) is not None
    assert tier.holds(b"k", NOW + end - 0.1)
    assert not tier.holds(b"k", NOW + end)
    assert tier.keys(NOW + end) == []
    assert tier.get(b"k", NOW + end) is None
    assert (tier.entries, tier.bytes) == (0, 0)


def test_hot_put_replaces_its_variant_only() -> None:
    tier = HotTier(10, 1 << 20, 30)
    tier.put(entry(foo=b"1", body=b"1"), NOW)
    tier.put(entry(foo=b"2", body=b"2"), NOW)
    tier.put(entry(foo=b"1", body=b"1, part", part=True), NOW)
    tier.put(entry(foo=b" 1 ", body=b"new"), NOW)
    assert bodies(tier) == [b"2", b"1, part", b"new"]
    assert tier.entries == 3


def test_hot_variants_that_stay_keep_their_end() -> None:
    tier = HotTier(10, 1 << 20, 30)
    tier.put(entry(foo=b"1"), NOW)
    tier.put(entry(foo=b"2"), NOW + 20)
    assert bodies(tier, now=NOW + 29) != []
    assert bodies(tier, now=NOW + 30) == []
    tier.put(entry(foo=b"1"), NOW)
    tier.put(entry(foo=b"1"), NOW + 20)
    assert bodies(tier, now=NOW + 49) != [], "nothing older stayed"


def test_hot_update_knows_the_others_only_if_it_has_none() -> None:
    tier = HotTier(10, 1 << 20, 30)
    one, two = entry(foo=b"1", body=b"1"), entry(foo=b"2", body=b"2")
    tier.update(b"k", (two,), (), (one, entry(foo=b"3", keep=0)), NOW)
    assert bodies(tier) == [b"1", b"2"]
    tier.update(b"k", (), (one,), (one, entry(foo=b"4")), NOW)
    assert bodies(tier) == [b"2"]
    tier.update(b"k", (), (two,), (), NOW)
    assert (tier.entries, tier.bytes, tier.holds(b"k", NOW)) == (0, 0, False)


def test_hot_variants_of_a_key_are_bounded() -> None:
    tier = HotTier(1000, 1 << 20, 30)
    for number in range(MAX_VARIANTS + 5):
        tier.put(entry(foo=b"%d" % number, body=b"%d" % number), NOW)
    assert bodies(tier) == [b"%d" % number for number in range(5, MAX_VARIANTS + 5)]


def test_hot_bytes_of_a_key_are_bounded() -> None:
    """The first ones give up their bodies, and are still known."""
    tier = HotTier(1000, 100_000, 30, max_variant_bytes=10_000)
    for number in range(8):
        tier.put(entry(foo=b"%d" % number, body=b"x" * 2000), NOW)
    record = tier.get(b"k", NOW)
    assert record is not None
    assert (len(record.entries), tier.entries) == (8, record.whole)
    assert 1 <= record.whole < 8
    assert record.entries[-1].missing is None
    assert tier.bytes <= 10_000


def test_hot_outlines_are_no_entries() -> None:
    tier = HotTier(2, 1 << 20, 30)
    known = [outline_of(entry(foo=b"%d" % number)) for number in range(5)]
    assert tier.put_all(b"k", [*known, entry(foo=b"x")], NOW)
    assert tier.entries == 1
    tier.put(entry(foo=b"0"), NOW)
    assert (tier.entries, len(bodies(tier))) == (2, 6)
    tier.put(entry(foo=b"1"), NOW)
    assert (tier.entries, len(bodies(tier))) == (2, 6)


def test_hot_off() -> None:
    tier = HotTier(0, 1 << 20, 30)
    tier.put(entry(), NOW)
    assert tier.get(b"k", NOW) is None


def test_hot_remove() -> None:
    tier = HotTier(10, 1 << 20, 30)
    for key in (b"a1", b"a2", b"b"):
        tier.put(entry(key), NOW)
    assert swept(tier, b"a*") == [b"a1", b"a2"]
    assert (tier.remove(b"b"), tier.remove(b"b")) == (True, False)
    assert (tier.entries, tier.bytes) == (0, 0)
    tier.put(entry(), NOW)
    tier.clear()
    assert (tier.entries, tier.bytes, tier.keys(NOW)) == (0, 0, [])


def swept(tier: HotTier | BurstTier, *patterns: bytes) -> list[bytes]:
    gone: list[set[bytes]] = []
    Sweeper(tier, Clock()).begin(PatternSet(*patterns), gone.append)
    return sorted(gone[0])


# -- burst


def burst(max_entries: int = 10, max_bytes: int = 1 << 20) -> BurstTier:
    return BurstTier(max_entries, max_bytes, 10)


@pytest.mark.parametrize(("ttl", "end"), [(900, 10), (4, 4)], ids=["its own time", "the store's"])
def test_burst_ends_in_time(ttl: float, end: float) -> None:
    tier = burst()
    tier.put(b"k", (entry(),), int(ttl * 1000), NOW)
    found = tier.get(b"k", NOW + end - 0.1)
    assert found is not None
    assert len(found.entries) == 1
    assert tier.get(b"k", NOW + end) is None
    assert (tier.hits, tier.misses, tier.entries, tier.bytes) == (1, 1, 0, 0)


def test_burst_bounds() -> None:
    tier = burst(max_entries=2)
    for key in (b"a", b"b", b"c"):
        tier.put(key, (), HOUR, NOW)
    assert (tier.all_keys(), tier.evictions) == ([b"b", b"c"], 1)
    small = burst(max_bytes=2 * (BURST_OVERHEAD + 1 + ENTRY_OVERHEAD + entry().size))
    for key in (b"a", b"b", b"c"):
        small.put(key, (entry(),), HOUR, NOW)
    assert small.all_keys() == [b"b", b"c"]
    small.put(b"b", (entry(body=b"x" * 5000),), HOUR, NOW)
    assert small.all_keys() == [b"c"]
    off = burst(max_entries=0)
    off.put(b"a", (), HOUR, NOW)
    assert off.all_keys() == []


def test_burst_remove() -> None:
    tier = burst()
    for key in (b"a1", b"a2", b"b"):
        tier.put(key, (), HOUR, NOW)
    assert swept(tier, b"a*") == [b"a1", b"a2"]
    assert (tier.remove(b"b"), tier.remove(b"b"), tier.bytes) == (True, False, 0)
    tier.put(b"c", (), HOUR, NOW)
    tier.clear()
    assert (tier.entries, tier.bytes) == (0, 0)


# -- uncacheable keys


def test_uncacheable_for_a_while() -> None:
    keys = HitForMiss(limit=2, ttl=10)
    keys.add(b"a", NOW)
    assert keys.covers(b"a", NOW + 9.9)
    keys.add(b"a", NOW + 5)
    assert keys.covers(b"a", NOW + 14.9)
    assert not keys.covers(b"a", NOW + 15)
    assert len(keys) == 0
    keys.add(b"a", NOW)
    keys.discard(b"a")
    keys.discard(b"a")
    assert not keys.covers(b"a", NOW)


def test_uncacheable_is_bounded() -> None:
    keys = HitForMiss(limit=2, ttl=10)
    for key in (b"a", b"b", b"a", b"c"):
        keys.add(key, NOW)
    assert [keys.covers(key, NOW) for key in (b"a", b"b", b"c")] == [True, False, True]


# -- variants


def test_field_names() -> None:
    assert field_name(entry()) == b"-"
    assert field_name(entry(part=True)) == b"-+part"
    assert field_name(entry(foo=b"1")) == field_name(entry(foo=b" 1")) != field_name(entry(foo=b"2"))


def test_latest_of_each() -> None:
    old, new = entry(body=b"old"), entry(body=b"new", at=NOW + 1)
    other = entry(foo=b"1", body=b"other")
    assert latest_of_each((), (old,)) == (old,)
    assert set(latest_of_each((new, other), (old,))) == {new, other}
    assert set(latest_of_each((old,), (new, other))) == {new, other}
    outdated = entry(body=b"old", lifetime=3)
    assert [*latest_of_each((outdated,), (old,))] == [outdated] == [*latest_of_each((old,), (outdated,))]


def test_latest_of_each_prefers_what_has_its_body() -> None:
    one, other = entry(foo=b"1", body=b"one"), entry(foo=b"2", body=b"other")
    for nearby, stored in (((one,), (outline_of(one), other)), ((outline_of(one), other), (one, outline_of(other)))):
        assert set(latest_of_each(nearby, stored)) == {one, other}
    newer = outline_of(entry(foo=b"1", at=NOW + 1))
    assert [*latest_of_each((one,), (newer,))] == [newer]


# -- guesses


def asking(**values: str) -> Fields:
    return Fields((name.encode(), value.encode()) for name, value in values.items())


def test_guess_is_the_plain_variant_at_first() -> None:
    assert VaryNames().guess(b"k", asking(foo="1"), b"") == (PLAIN_VARIANT,)


def test_guess_of_a_key_that_varies() -> None:
    varying, one = VaryNames(), entry(foo=b"1")
    varying.learn(b"k", [one, entry(foo=b"2")])
    assert varying.guess(b"k", asking(foo="1"), b"") == (field_name(one),)
    assert varying.guess(b"k", asking(foo="1", range="bytes=0-"), b"") == (field_name(one), field_name(one) + b"+part")
    assert varying.guess(b"new", asking(foo="1"), b"") == (PLAIN_VARIANT, field_name(one))
    varying.learn(b"k", [entry()])
    assert varying.guess(b"k", asking(foo="1"), b"") == (PLAIN_VARIANT, field_name(one))


def test_guess_counts_what_was_stored() -> None:
    varying, one = VaryNames(), entry(foo=b"1")
    varying.add(entry())
    assert (len(varying), list(varying.worth)) == (0, [])
    varying.learn(b"k", [entry(), one])
    varying.add(one)
    assert set(varying.guess(b"k", asking(foo="1"), b"")) == {PLAIN_VARIANT, field_name(one)}
    assert list(varying.worth) == [b"foo"]


def test_guesses_are_bounded() -> None:
    varying = VaryNames(keys=3)
    for number in range(100):
        each = entry(b"%d" % number)
        each.selecting = ((b"n%d" % number, b"1"),)
        varying.add(each)
    assert (len(varying), len(varying.worth)) == (3, VaryNames.MAX_WORTH)
    assert len(varying.guess(b"new", asking(), b"")) == VaryNames.KINDS
