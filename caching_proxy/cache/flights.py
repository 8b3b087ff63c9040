"""One fetch for many: concurrent misses of a key wait for the head of the first one's answer, then share its body.

The leader fetches. As soon as its response turns out to be shareable, those who wait, and those who come while it
arrives, read the leader's bytes along, each at its own pace. If it cannot be shared, they are released at once, and
each looks after itself. If the leader fails, its error is everybody's: nobody waits for a second timeout. A follower
that leaves does not disturb the others.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.cache.backend.tee import Tee
from caching_proxy.interfaces import UpstreamError, UpstreamTimeout
from caching_proxy.rules.entry import CacheEntry


class FlightResult(enum.Enum):
    """How a flight ended without an entry."""

    UNSHAREABLE = "unshareable"  # the response may not be stored
    ERROR = "error"  # the backend is there but fails: a stale response may stand in
    ABANDONED = "abandoned"  # the leader was given up or its body broke off: somebody else may try


@attrs.frozen(slots=True, eq=False)
class Shared:
    """A response that arrives: ``entry`` has its head, ``fill`` its body."""

    entry: CacheEntry
    fill: Tee


Selected = tuple[bytes, ...]
"""What requests of a flight select of their key, as far as is known by what it varies; empty where nothing is."""

Result = CacheEntry | Shared | FlightResult | UpstreamError
"""An error is a value here: a Failure would make those who wait fail."""


class Flight:
    """One fetch under way and those who wait for it, ``patience`` seconds at most. ``off`` takes it off where it can be
    joined."""

    def __init__(
        self, key: bytes, selected: Selected, clock: IReactorTime, patience: float, off: Callable[[Flight], None]
    ) -> None:
        self.key = key
        self.selected = selected
        self.landed = False
        self.on_landed: Callable[[Result], None] | None = None
        """Hears once what the flight came to, before those who wait."""
        self.shared: Shared | None = None
        self._clock = clock
        self._patience = patience
        self._off = off
        self._waiters: dict[Deferred[Result], None] = {}
        self._timer: IDelayedCall | None = None

    @property
    def followers(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def wait(self) -> Deferred[Result]:
        """Fires with what became of the flight; never fails. Cancelling leaves the flight alone."""
        waiter: Deferred[Result] = Deferred(self._leave)
        self._waiters[waiter] = None
        if self._timer is None:
            self._timer = self._clock.callLater(self._patience, self._give_up)
        return waiter

    def share(self, entry: CacheEntry, fill: Tee) -> None:
        """The head is here and the body arrives: those who wait may read along, and so may those who come."""
        if not self.landed:
            self.shared = Shared(entry, fill)
            self._release(self.shared)

    def land(self, result: Result) -> None:
        """Release everybody; only the first call counts."""
        if self.landed:
            return
        self.landed = True
        self.shared = None
        if self.on_landed is not None:
            self.on_landed(result)
        self._off(self)
        if self._waiters:
            self._release(result)

    def _release(self, result: Result) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:  # one by one: who is released may make another leave
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            waiter.callback(result)

    def _leave(self, waiter: Deferred[Result]) -> None:
        del self._waiters[waiter]
        if not self._waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """The leader ought to have failed by now. Nobody may join it, and who has waited for so long waits no more."""
        self._timer = None
        self._off(self)
        self._release(UpstreamTimeout(f"no answer to a shared request within {self._patience:g} s"))
