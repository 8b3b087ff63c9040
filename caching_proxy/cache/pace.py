"""Long work in slices: after so many steps the event loop gets its turn."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

SLICE_STEPS = 250_000
"""Steps, of about ten nanoseconds, between two turns of the event loop."""


class Pace:
    """Counts the steps of one long work. The first slice runs at once: short work never waits."""

    __slots__ = ("_clock", "_spent")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._spent = 0

    async def spend(self, steps: int) -> None:
        """Note work that was done; returns on a later turn of the loop if it was enough for this one."""
        self._spent += steps
        if self._spent >= SLICE_STEPS:
            self._spent = 0
            await next_turn(self._clock)


def next_turn(clock: IReactorTime) -> Deferred[None]:
    """Fires when the event loop has looked after everybody else."""
    turn: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(0, turn.callback, None)
    return turn
