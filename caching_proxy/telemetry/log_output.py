"""Where bytes of a log end up: a descriptor that others may share, such as stdout.

What is shared stays as it is: no flag of a terminal or pipe is changed, so a write may take as long as its reader does.
Only the thread of :mod:`caching_proxy.telemetry.log_writer` writes.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Protocol

NEWLINE = ord("\n")


class Output(Protocol):
    """What a log is written to; neither method raises."""

    def write(self, data: bytes) -> int:
        """Write whole lines, waiting where it has to.

        Args:
            data: lines, each with its end.

        Returns:
            How many bytes were written: fewer than there are where the rest is refused, and so lost.
        """

    def reopen(self) -> None:
        """Begin anew under the same name: whoever rotates logs has renamed the file."""


class DescriptorOutput:
    """An open descriptor, which somebody else closes. A line cut short by an error does not spoil the one after it.

    Where it is ``shared``, processes take turns: a pipe or terminal mixes what several write at once.
    """

    def __init__(self, descriptor: int, shared: bool = False) -> None:
        self.descriptor = descriptor
        self._turns = _turn if shared else nullcontext
        self._cut = False

    def write(self, data: bytes) -> int:
        """See :class:`Output`."""
        with self._turns(self.descriptor):
            return self._write(data)

    def _write(self, data: bytes) -> int:
        if self._cut and not _written(self.descriptor, b"\n"):
            return 0
        done = _written(self.descriptor, data)
        self._cut = 0 < done < len(data) and data[done - 1] != NEWLINE
        return done

    def reopen(self) -> None:
        """Nothing: it has no name."""


@contextmanager
def _turn(descriptor: int) -> Iterator[None]:
    """Nobody else's turn. The lock ends with the process that holds it; where there are no locks, all is one turn."""
    with suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    yield
    with suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _written(descriptor: int, data: bytes) -> int:
    """Write ``data`` as far as the system takes it; how many bytes that were."""
    view = memoryview(data)
    try:
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:  # others who share it have made it non-blocking
                _wait_for_room(descriptor)
    except OSError:
        pass
    return len(data) - len(view)


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
