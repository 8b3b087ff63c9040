"""Deadlines and dates have clocks of their own."""

from __future__ import annotations

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock

from caching_proxy.app.clocks import WATCH_SECONDS, StepWatch, WallClock, count_monotonically
from caching_proxy.cache.tiers.store_reader import CLOCKS_APART, aged
from caching_proxy.rules.entry import CacheEntry


def test_a_reactor_counts_on_the_clock_that_never_goes_back() -> None:
    moment = [100.0]
    reactor = SelectReactor()
    count_monotonically(reactor, lambda: moment[0])
    called: list[int] = []
    reactor.callLater(5, called.append, 1)
    assert reactor.timeout() == 5
    moment[0] += 5
    reactor.runUntilCurrent()
    assert called == [1]
    reactor.disconnectAll()
    for reader in list(reactor.getReaders()):
        reactor.removeReader(reader)
        reader.connectionLost(None)  # type: ignore[attr-defined]


class Watched:
    def __init__(self) -> None:
        self.reactor = Clock()
        self.behind = 0.0
        self.steps: list[float] = []
        wall = WallClock(self.reactor, lambda: 1_900_000_000 + self.reactor.seconds() - self.behind)
        self.watch = StepWatch(self.reactor, wall, self.steps.append)
        self.watch.start()

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / WATCH_SECONDS)):
            self.reactor.advance(WATCH_SECONDS)


def test_a_clock_that_is_set_back_is_noticed_once() -> None:
    watched = Watched()
    watched.pass_time(10)
    assert watched.steps == []
    watched.behind = 3600
    watched.pass_time(10)
    assert watched.steps == [pytest.approx(3600)]
    watched.watch.stop()
    assert watched.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("behind", [-3600, -60, -0.01])
def test_a_step_forward_or_slewing_is_not(behind: float) -> None:
    watched = Watched()
    watched.behind = behind
    watched.pass_time(5)
    for _ in range(20):
        watched.behind += 0.0005
        watched.pass_time(0.5)
    assert watched.steps == []
    watched.watch.stop()


@pytest.mark.parametrize("back", [0.0, 1.0, 60.0, 3600.0])
def test_an_entry_is_no_younger_than_the_store_says(back: float) -> None:
    entry = CacheEntry(b"k", 200, b"OK", b"", b"", received_at=1000.0, lifetime=100, keep=700)
    now = 1050.0
    ttl_ms = int((entry.gone_at - now) * 1000)
    seen = aged(entry, ttl_ms, now - back)
    expected = 50 if back > CLOCKS_APART else 50 - back
    assert seen.age(now - back) == pytest.approx(expected, abs=1)
