"""Lines of several processes in one place: no line of one inside a line of another.

What is written to a pipe at once stays together up to ``PIPE_BUF`` bytes; what is appended to a file always does.
"""

from __future__ import annotations

import io
import os
import select
import stat
from typing import TextIO

from twisted.logger import Logger

_TOGETHER = getattr(select, "PIPE_BUF", 512)


class WholeLines(io.TextIOBase):
    """A stream of text on the descriptor ``number``; what is written must end with a line."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._most = None if stat.S_ISREG(os.fstat(number).st_mode) else _TOGETHER

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def fileno(self) -> int:
        return self._number

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            end = len(data)
            if self._most is not None and end > self._most:
                end = data.rfind(b"\n", 0, self._most) + 1 or data.find(b"\n") + 1 or end
            self._write_all(data[:end])
            data = data[end:]
        return len(text)

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._number, data) :]


class Relay:
    """Takes what a worker prints and passes it on, whole lines only: to ``stream``, or to the log if there is none."""

    _log = Logger()

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._rest = b""

    def take(self, data: bytes) -> None:
        lines, end, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if not end:
            return
        text = lines.decode("utf-8", "replace")
        if self._stream is not None:
            self._stream.write(text + "\n")
            self._stream.flush()
        else:
            for line in text.split("\n"):
                self._log.info("{line}", line=line)
