"""How much is read in one turn of the event loop by all connections together.

The loop reads each ready connection until it is empty or has given several megabytes. Where many bring much at once,
each one's share adds up, and whoever connects just then waits for the sum, several times over. Here connections that
bring much take turns: what is left over waits in the system's buffers, and so with the sender.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol
from weakref import WeakKeyDictionary

TOGETHER_BYTES = 2 * 1024 * 1024
"""What all connections may read in one turn before those that bring much have to wait."""

RESUMED = 8
"""How many of those that wait go on in each turn; the loop reads a quarter of a megabyte at once from each."""

MUCH = 16 * 1024
"""Bytes of one read from which on it counts."""


class Yielding(Protocol):
    """A connection that can let others go first."""

    def yield_reading(self) -> None:
        """Read nothing until :meth:`read_on`."""

    def read_on(self) -> None:
        """Read again, unless somebody else has a reason not to."""


class ReadTurns:
    """The turns of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._left = TOGETHER_BYTES
        self._waiting: deque[Yielding] = deque()
        self._renewing = False

    def took(self, connection: Yielding, size: int) -> None:
        """Note ``size`` bytes that ``connection`` has read just now."""
        self._left -= size
        if self._left <= 0:
            connection.yield_reading()
            self._waiting.append(connection)
        if not self._renewing:
            self._renewing = True
            self._call_soon(self._renew)

    def _renew(self) -> None:
        """The next turn begins."""
        self._left = TOGETHER_BYTES
        waiting = self._waiting
        for _ in range(min(RESUMED, len(waiting))):
            waiting.popleft().read_on()
        self._renewing = bool(waiting)
        if waiting:
            self._call_soon(self._renew)


_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, ReadTurns] = WeakKeyDictionary()


def read_turns(loop: asyncio.AbstractEventLoop) -> ReadTurns:
    """The turns that all connections of ``loop`` share."""
    turns = _TURNS.get(loop)
    if turns is None:
        turns = _TURNS[loop] = ReadTurns(loop)
    return turns
