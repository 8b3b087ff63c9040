"""One fetch for many: flights, those who wait for them, and how they end."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.cache.flights import Flight, FlightResult, Result
from caching_proxy.cache.key_state import KeyState
from caching_proxy.interfaces import UpstreamTimeout, UpstreamUnreachable
from caching_proxy.rules.entry import CacheEntry

ENTRY = CacheEntry(b"k", 200, b"OK", b"", b"", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> KeyState:
    return KeyState(clock, 60.0)


def waiting(flight: Flight, number: int) -> tuple[list[Deferred[Result]], list[Result]]:
    results: list[Result] = []
    waiters = [flight.wait() for _ in range(number)]
    for waiter in waiters:
        waiter.addCallback(results.append)
    return waiters, results


@pytest.mark.parametrize("result", [ENTRY, FlightResult.UNSHAREABLE, UpstreamUnreachable("refused")])
def test_all_learn_what_became_of_it(keys: KeyState, clock: Clock, result: Result) -> None:
    flight = keys.begin_flight(b"k")
    _, results = waiting(flight, 3)
    assert (keys.flight(b"k"), flight.followers) == (flight, 3)
    flight.land(result)
    flight.land(FlightResult.ABANDONED)
    assert results == [result] * 3
    assert (keys.flight(b"k"), len(keys), clock.getDelayedCalls()) == (None, 0, [])


def test_nobody_waits_for_ever(keys: KeyState, clock: Clock) -> None:
    flight = keys.begin_flight(b"k")
    _, results = waiting(flight, 1)
    clock.advance(59)
    assert results == []
    clock.advance(1)
    assert [type(result) for result in results] == [UpstreamTimeout]
    assert flight.followers == 0
    assert keys.flight(b"k") is None
    flight.land(ENTRY)
    assert len(results) == 1


def test_one_leaves(keys: KeyState, clock: Clock) -> None:
    flight = keys.begin_flight(b"k")
    waiters, results = waiting(flight, 2)
    gone: list[Failure] = []
    waiters[0].addErrback(gone.append)
    waiters[0].cancel()
    assert gone[0].check(CancelledError)
    assert len(clock.getDelayedCalls()) == 1
    flight.land(ENTRY)
    assert results == [ENTRY]


def test_who_is_released_makes_another_leave(keys: KeyState) -> None:
    flight = keys.begin_flight(b"k")
    first, second = flight.wait(), flight.wait()
    gone: list[Failure] = []
    second.addErrback(gone.append)
    first.addCallback(lambda _: second.cancel())
    flight.land(ENTRY)
    assert len(gone) == 1


def test_flights_of_what_was_invalidated_are_not_joined(keys: KeyState) -> None:
    old = keys.begin_flight(b"k")
    _, results = waiting(old, 1)
    keys.void(lambda key: True, 5.0)
    assert keys.flight(b"k") is None
    new = keys.begin_flight(b"k")
    old.land(ENTRY)
    assert results == [ENTRY]
    assert keys.flight(b"k") is new, "the old one takes only itself off the list"


def test_a_second_flight_does_not_displace_the_first(keys: KeyState) -> None:
    first, second = keys.begin_flight(b"k"), keys.begin_flight(b"k")
    assert keys.flight(b"k") is first
    second.land(ENTRY)
    assert keys.flight(b"k") is first
