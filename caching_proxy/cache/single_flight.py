"""One fetch for many: concurrent misses of a key wait for the first of them.

The leader fetches; followers wait for what becomes of it. They are released as soon as it is known that the
response cannot be shared, when the leader fails or is given up, or after ``timeout`` seconds; then each looks after
itself. A follower that leaves does not disturb the others.
"""

from __future__ import annotations

import enum

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.core.entry import CacheEntry
from caching_proxy.interfaces import UpstreamError


class Landing(enum.Enum):
    """How a flight ended without an entry."""

    UNSHAREABLE = "unshareable"  # the response may not be stored
    ERROR = "error"  # the backend is there but fails: a stale response may stand in
    ABANDONED = "abandoned"  # the leader was given up or its body broke off: somebody else may try
    TIMEOUT = "timeout"


Result = CacheEntry | Landing | UpstreamError
"""An error is a value here: a Failure would make those who wait fail."""


class Flight:
    """One fetch under way and those who wait for it."""

    def __init__(self, key: bytes, flights: SingleFlight) -> None:
        self.key = key
        self.landed = False
        self._flights = flights
        self._waiters: dict[Deferred[Result], IDelayedCall] = {}

    @property
    def followers(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def wait(self) -> Deferred[Result]:
        """Fires with what became of the flight; never fails. Cancelling leaves the flight alone."""
        waiter: Deferred[Result] = Deferred(self._leave)
        self._waiters[waiter] = self._flights.clock.callLater(self._flights.timeout, self._give_up, waiter)
        return waiter

    def land(self, result: Result) -> None:
        """Release everybody; only the first call counts."""
        if self.landed:
            return
        self.landed = True
        self._flights.remove(self)
        while self._waiters:  # one by one: who is released may make another leave
            waiter = next(iter(self._waiters))
            self._waiters.pop(waiter).cancel()
            waiter.callback(result)

    def _leave(self, waiter: Deferred[Result]) -> None:
        self._waiters.pop(waiter).cancel()

    def _give_up(self, waiter: Deferred[Result]) -> None:
        del self._waiters[waiter]
        waiter.callback(Landing.TIMEOUT)


class SingleFlight:
    """The flights under way, by key. ``timeout`` is in seconds."""

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self.clock = clock
        self.timeout = timeout
        self.collapsed = 0
        self._flights: dict[bytes, Flight] = {}

    def current(self, key: bytes) -> Flight | None:
        """The flight for ``key``, if there is one to join."""
        return self._flights.get(key)

    def start(self, key: bytes) -> Flight:
        """A new flight that the caller leads and must land."""
        flight = Flight(key, self)
        self._flights.setdefault(key, flight)
        return flight

    def remove(self, flight: Flight) -> None:
        """Take ``flight`` off the list, if it stands there."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def forget(self, keys: list[bytes]) -> None:
        """Nobody may join these any more: what they fetch has been invalidated. Those who wait already keep waiting."""
        for key in keys:
            self._flights.pop(key, None)

    def __len__(self) -> int:
        return len(self._flights)
