"""How much is read from a connection at once: little, until it has shown that what it brings is taken.

The loop reads a quarter of a megabyte at once. Where that is for somebody who has stopped reading, it stays in memory,
once for each such peer. So large bodies come in pieces, until so much has gone through without a stop that it cannot be
the system's buffers alone that took it; then in the loop's own large reads, which cost less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

PIECE = 16 * 1024
"""Bytes of a small read."""

PROVEN_BYTES = 8 * 1024 * 1024
"""Linux lets a connection's buffers grow to some four megabytes for sending and six for receiving."""

STOPPED_SECONDS = 0.1
"""Whoever takes nothing for longer has to show it anew; a peer that is merely slower than its sender does not."""

_room = memoryview(bytearray(PIECE))
"""Where every small read goes; it is empty again before the next one."""


class Outer(Protocol):
    """The loop's end of the connection, which hears all but data."""

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, exc: BaseException | None) -> None: ...


class SmallReads(asyncio.BufferedProtocol):
    """Stands in for ``outer``: gives data to ``received`` in pieces, and passes on everything else."""

    def __init__(self, outer: Outer, received: Callable[[bytes], None]) -> None:
        self.outer = outer
        self._received = received
        self.pause_writing = outer.pause_writing  # type: ignore[method-assign]
        self.resume_writing = outer.resume_writing  # type: ignore[method-assign]
        self.eof_received = outer.eof_received  # type: ignore[method-assign]
        self.connection_lost = outer.connection_lost  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return _room

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(_room[:nbytes]))


class Trust:
    """Whether a connection may read much at once."""

    __slots__ = ("_passed", "_seconds", "_stopped_at")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._passed = 0
        self._stopped_at = 0.0

    @property
    def earned(self) -> bool:
        return self._passed >= PROVEN_BYTES

    def passed(self, size: int) -> None:
        """So many bytes were read."""
        self._passed += size

    def stopped(self) -> None:
        """What was read is not taken for now."""
        self._stopped_at = self._seconds()

    def goes_on(self) -> None:
        """It is taken again."""
        if self._seconds() - self._stopped_at > STOPPED_SECONDS:
            self._passed = 0
