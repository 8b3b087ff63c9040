"""The one line on stderr with which the program ends, said even where stderr may be a pipe that nobody reads."""

from __future__ import annotations

import os
import select
import sys

PATIENCE = 1.0
"""Seconds that a full pipe is waited for; the exit status says the same."""

_TOGETHER = 4096
"""What a pipe that is ready takes without waiting (``PIPE_BUF``)."""


def say(line: str) -> None:
    """Write ``line`` to the stderr that the program was started with, if anybody takes it.

    ``sys.stderr`` leads into the log once logging has begun.
    """
    stream = sys.__stderr__
    if stream is None:
        return
    data = line.encode(stream.encoding, "backslashreplace")[: _TOGETHER - 1] + b"\n"
    try:
        descriptor = stream.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if poll.poll(PATIENCE * 1000):
            os.write(descriptor, data)
    except (OSError, ValueError):
        return
