"""The circuit breaker as a state machine without a clock.

CLOSED lets everything through and opens after ``threshold`` failures in a row. OPEN lets nothing through until
``recovery`` seconds have passed. HALF_OPEN lets one call through, the probe: its success closes the breaker, its
failure opens it anew. Whoever was allowed reports back exactly once, with ``success``, ``failure`` or ``abandoned``;
should a probe never report, the next one is due ``recovery`` seconds after it. ``now`` is any clock that does not
run backwards, in seconds.

What arrives late is harmless: reports of calls that were allowed before the breaker opened change nothing while it
is open, and later can at worst open it once more or close it a moment early.
"""

from __future__ import annotations

import enum
from math import inf


class Phase(enum.Enum):
    """The values are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Trips after ``threshold`` (≥ 1) consecutive failures, for ``recovery`` (≥ 0) seconds.

    The reporting methods return the phase that they led to if that is another one than before, else None.
    """

    __slots__ = ("_failures", "_phase", "_probing", "_since", "calm", "recovery", "threshold")

    def __init__(self, threshold: int, recovery: float) -> None:
        if threshold < 1 or recovery < 0:
            raise ValueError("threshold must be at least 1 and recovery not negative")
        self.threshold = threshold
        self.recovery = recovery
        self.calm = True
        """Closed, with no failure since the last success: ``allow`` would say yes and ``success`` change nothing."""
        self._phase = Phase.CLOSED
        self._failures = 0
        self._since = 0.0  # when the breaker opened or the last probe was let through
        self._probing = False

    @property
    def failures(self) -> int:
        """Failures in a row while closed."""
        return self._failures

    def phase(self, now: float) -> Phase:
        """The phase at ``now``; OPEN becomes HALF_OPEN by itself when the recovery time is over."""
        if self._phase is Phase.OPEN and self._due(now):
            return Phase.HALF_OPEN
        return self._phase

    def allow(self, now: float) -> bool:
        """Whether a call may go through; in HALF_OPEN a yes makes the caller the probe."""
        if self._phase is Phase.CLOSED:
            return True
        if (self._phase is Phase.OPEN or self._probing) and not self._due(now):
            return False
        self._phase = Phase.HALF_OPEN
        self._probing = True
        self._since = now
        return True

    def success(self, now: float) -> Phase | None:
        """An allowed call went well."""
        if self._phase is Phase.OPEN:
            return None
        self.calm = True
        self._failures = 0
        if self._phase is Phase.CLOSED:
            return None
        self._probing = False
        self._phase = Phase.CLOSED
        return Phase.CLOSED

    def failure(self, now: float) -> Phase | None:
        """An allowed call failed or took too long."""
        if self._phase is Phase.OPEN:
            return None
        self.calm = False
        if self._phase is Phase.CLOSED:
            self._failures += 1
            if self._failures < self.threshold:
                return None
        self._failures = 0
        self._probing = False
        self._phase = Phase.OPEN
        self._since = now
        return Phase.OPEN

    def abandoned(self, now: float) -> Phase | None:
        """An allowed call was given up by its caller and proves nothing; the next one may probe at once."""
        if self._phase is Phase.HALF_OPEN:
            self._probing = False
        return None

    def hurry(self) -> None:
        """The recovery time is over: there is news of the store."""
        self._since = -inf

    def _due(self, now: float) -> bool:
        return now - self._since >= self.recovery
