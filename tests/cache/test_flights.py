"""One fetch for many: flights, those who wait for them, and how they end."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.cache.flights import Flight, FlightResult, Result, SingleFlight
from caching_proxy.interfaces import UpstreamTimeout, UpstreamUnreachable
from caching_proxy.rules.entry import CacheEntry

ENTRY = CacheEntry(b"k", 200, b"OK", b"", b"", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flights(clock: Clock) -> SingleFlight:
    return SingleFlight(clock, 60.0)


def waiting(flight: Flight, number: int) -> tuple[list[Deferred[Result]], list[Result]]:
    results: list[Result] = []
    waiters = [flight.wait() for _ in range(number)]
    for waiter in waiters:
        waiter.addCallback(results.append)
    return waiters, results


@pytest.mark.parametrize("result", [ENTRY, FlightResult.UNSHAREABLE, UpstreamUnreachable("refused")])
def test_all_learn_what_became_of_it(flights: SingleFlight, clock: Clock, result: Result) -> None:
    flight = flights.start(b"k")
    _, results = waiting(flight, 3)
    assert (flights.current(b"k"), flight.followers) == (flight, 3)
    flight.land(result)
    flight.land(FlightResult.ABANDONED)
    assert results == [result] * 3
    assert (flights.current(b"k"), len(flights), clock.getDelayedCalls()) == (None, 0, [])


def test_nobody_waits_for_ever(flights: SingleFlight, clock: Clock) -> None:
    flight = flights.start(b"k")
    _, results = waiting(flight, 1)
    clock.advance(59)
    assert results == []
    clock.advance(1)
    assert [type(result) for result in results] == [UpstreamTimeout]
    assert flight.followers == 0
    assert flights.current(b"k") is None
    flight.land(ENTRY)
    assert len(results) == 1


def test_one_leaves(flights: SingleFlight, clock: Clock) -> None:
    flight = flights.start(b"k")
    waiters, results = waiting(flight, 2)
    gone: list[Failure] = []
    waiters[0].addErrback(gone.append)
    waiters[0].cancel()
    assert gone[0].check(CancelledError)
    assert len(clock.getDelayedCalls()) == 1
    flight.land(ENTRY)
    assert results == [ENTRY]


def test_who_is_released_makes_another_leave(flights: SingleFlight) -> None:
    flight = flights.start(b"k")
    first, second = flight.wait(), flight.wait()
    gone: list[Failure] = []
    second.addErrback(gone.append)
    first.addCallback(lambda _: second.cancel())
    flight.land(ENTRY)
    assert len(gone) == 1


def test_forgotten_flights_are_not_joined(flights: SingleFlight) -> None:
    old = flights.start(b"k")
    _, results = waiting(old, 1)
    flights.forget([b"k", b"other"])
    assert flights.current(b"k") is None
    new = flights.start(b"k")
    old.land(ENTRY)
    assert results == [ENTRY]
    assert flights.current(b"k") is new, "the old one takes only itself off the list"


def test_a_second_flight_does_not_displace_the_first(flights: SingleFlight) -> None:
    first, second = flights.start(b"k"), flights.start(b"k")
    assert flights.current(b"k") is first
    second.land(ENTRY)
    assert flights.current(b"k") is first
