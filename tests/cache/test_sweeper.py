"""Sweeping a memory tier in slices: what a sweep covers is gone at once, what comes later stays."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from caching_proxy.cache.tiers import sweeper as module
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.sweeper import Sweeper
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.pattern_set import PatternSet

NOW = 1000.0
COUNT = 8000


def entry(number: int, body: bytes = b"old") -> CacheEntry:
    return CacheEntry(key(number), 200, b"OK", b"", body, NOW, keep=900)


def key(number: int) -> bytes:
    return b"cache:GET:anonymous:/%d" % number


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.tier = HotTier(100_000, 1 << 30, 30)
        for number in range(COUNT):
            self.tier.put(entry(number), NOW)
        self.sweeper = Sweeper(self.tier, self.clock)
        self.gone: list[set[bytes]] = []

    def sweep(self, *patterns: bytes) -> None:
        self.sweeper.begin(PatternSet(*patterns), self.gone.append)

    def finish(self) -> None:
        assert self.clock.getDelayedCalls() or self.gone
        self.clock.advance(0)


@pytest.mark.slow
def test_a_long_sweep_comes_in_slices_and_is_complete_at_once() -> None:
    rig = Rig()
    rig.sweep(b"cache:*")
    assert rig.gone == []
    assert rig.tier.entries > 0, "not all at once"
    assert rig.tier.get(key(COUNT - 1), NOW) is None
    assert not rig.tier.holds(key(COUNT - 2), NOW)
    assert rig.tier.keys(NOW) == []
    rig.finish()
    assert (rig.tier.entries, rig.tier.bytes) == (0, 0)
    assert len(rig.gone[0]) == COUNT


def test_what_is_put_meanwhile_stays() -> None:
    rig = Rig()
    rig.sweep(b"cache:*")
    rig.tier.put(entry(COUNT - 1, b"new"), NOW)
    rig.tier.put(entry(COUNT + 1, b"new"), NOW)
    rig.finish()
    assert sorted(rig.tier.keys(NOW)) == sorted([key(COUNT - 1), key(COUNT + 1)])
    record = rig.tier.get(key(COUNT - 1), NOW)
    assert record is not None
    assert [each.body for each in record.entries] == [b"new"], "no old variant beside it"


def test_what_is_put_meanwhile_goes_with_the_next_sweep() -> None:
    rig = Rig()
    rig.sweep(b"cache:*")
    rig.tier.put(entry(1, b"new"), NOW)
    rig.sweep(b"*:/1")
    assert rig.tier.get(key(1), NOW) is None
    rig.finish()
    assert rig.tier.keys(NOW) == []
    assert [len(gone) for gone in rig.gone] == [COUNT, 1]


def test_sweeps_that_wait_share_a_walk() -> None:
    rig = Rig()
    rig.sweep(b"*:/1*")
    for number in range(2, 8):
        rig.sweep(b"*:/%d*" % number)
    walks: list[int] = []
    all_keys = rig.tier.all_keys

    def counted() -> list[bytes]:
        walks.append(1)
        return all_keys()

    rig.tier.all_keys = counted  # type: ignore[method-assign]
    rig.finish()
    assert len(walks) <= 1
    assert len(rig.gone) == 7
    assert {bytes((name[21],)) for name in rig.tier.keys(NOW)} <= {b"0", b"8", b"9"}


@pytest.mark.slow
def test_other_keys_are_not_touched() -> None:
    rig = Rig()
    rig.sweep(b"*:/1?")
    rig.finish()
    assert len(rig.gone[0]) == 10
    assert rig.tier.entries == COUNT - 10


def test_stop_leaves_no_timer() -> None:
    rig = Rig()
    rig.sweep(b"cache:*")
    rig.sweeper.stop()
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.slow
def test_a_costly_pattern_makes_smaller_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The issue's kind: a long row of classes over long keys. The steps of a slice are bounded, whatever both are."""
    spent: list[int] = []
    rig = Rig()
    for number in range(60):
        rig.tier.put(CacheEntry(b"cache:/" + b"a" * 7000 + b"%d" % number, 200, b"OK", b"", b"", NOW, keep=900), NOW)
    original = module.Pace.spend

    async def noted(pace: module.Pace, steps: int) -> None:
        spent.append(steps)
        await original(pace, steps)

    monkeypatch.setattr(module.Pace, "spend", noted)
    rig.sweep(b"*" + b"[ab]" * 400 + b"c*")
    rig.finish()
    assert rig.gone == [set()]
    assert max(spent) < 2 * module.SLICE_STEPS
