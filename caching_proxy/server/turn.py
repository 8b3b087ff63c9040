"""How much all connections together may hand over in one turn of the event loop.

Each connection gives way by itself; but where hundreds of clients ask for something large at once, each one's share
adds up, and whoever comes next waits for the sum.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

TOGETHER_BYTES = 4 * 1024 * 1024


class Turn:
    """The bytes that are left of the present turn."""

    __slots__ = ("_clock", "_left", "_renewing")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left = TOGETHER_BYTES
        self._renewing = False

    @property
    def over(self) -> bool:
        """Whether others have to have their turn first."""
        return self._left <= 0

    def take(self, size: int) -> None:
        """Note ``size`` bytes that were handed over."""
        self._left -= size
        if not self._renewing:
            self._renewing = True
            self._clock.callLater(0, self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._left = TOGETHER_BYTES
