"""The one thread that writes logs, so that no write to a log ever holds up a request.

Whoever logs puts whole lines into a queue that is bounded in bytes. When it is full, because nobody reads stdout or the
disk is slow, further lines are lost and counted; so are those that the system refuses, as on a full disk. A warning
tells how many as soon as something can be written again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from caching_proxy.telemetry.log_output import Output

QUEUE_BYTES = 4 << 20
"""What may wait: some 20,000 access lines."""

BATCH_BYTES = 1 << 20
"""About what is written at once."""

TELL_SECONDS = 1.0
"""How far apart warnings about lost lines are at least."""

LAST_SECONDS = 1.0
"""What the rest may take at the end of the program."""

_log = Logger()


class LineSink(Protocol):
    """What takes lines: a :class:`LogWriter`, or a text stream in memory."""

    def write(self, lines: str, /) -> object:
        """Take whole lines, each with its end, at once."""


def warn_of_lost(count: int) -> None:
    """Log that ``count`` lines are missing."""
    _log.warn("{count} log lines were lost: the log could not be written, or not fast enough", count=count)


class LogWriter:
    """A queue of lines and the thread that writes them to ``output``.

    Args:
        output: used by the thread alone.
        encoding: of what is written; what it does not know is spelled with backslashes.
        path: the name of the file that ``output`` is, absolute.
        most: bytes that may wait.
        warn: told the number of lost lines, in the thread.
        seconds: a monotonic clock.
    """

    def __init__(
        self,
        output: Output,
        encoding: str = "utf-8",
        path: str | None = None,
        most: int = QUEUE_BYTES,
        warn: Callable[[int], None] = warn_of_lost,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        """Lines that were not written, since the start."""
        self.path = path
        """The file's absolute name, for other processes that write to it; None for stdout."""
        self._output, self._encoding, self._most, self._warn, self._seconds = output, encoding, most, warn, seconds
        # Reentrant: a signal handler or a finaliser may log while its thread holds the lock.
        lock = threading.RLock()
        self._work, self._done = threading.Condition(lock), threading.Condition(lock)
        self._chunks: deque[bytes] = deque()
        self._bytes = 0  # of chunks, and of what is being written
        self._reopening = False
        self._started = False
        self._busy = False
        self._told = 0
        self._tell_after = float("-inf")
        self._finish_by: float | None = None

    def start(self) -> None:
        """Begin to write. Not before the process has become a daemon: no thread survives a fork."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="log writer", daemon=True).start()

    def write(self, lines: str) -> None:
        """Queue ``lines``; those that do not fit are lost. Never waits, from any thread."""
        data = lines.encode(self._encoding, "backslashreplace")
        with self._work:
            room = self._most - self._bytes
            if len(data) > room:
                end = data.rfind(b"\n", 0, max(room, 0)) + 1
                self.lost += data.count(b"\n", end)
                data = data[:end]
            if data:
                self._chunks.append(data)
                self._bytes += len(data)
                self._work.notify()

    def reopen(self) -> None:
        """Have the output opened anew, before any line that comes later; may be called by a signal handler."""
        with self._work:
            self._reopening = True
            self._work.notify()

    def finish(self) -> None:
        """Wait until all is written, for ``LAST_SECONDS`` at most, however often this is called."""
        if not self._started:
            self._drain()
        now = self._seconds()
        if self._finish_by is None:
            self._finish_by = now + LAST_SECONDS
        with self._done:
            self._done.wait_for(lambda: not self._bytes and not self._busy, max(self._finish_by - now, 0))

    def _run(self) -> None:
        while True:
            with self._work:
                self._work.wait_for(lambda: self._chunks or self._reopening)
            self._step()

    def _drain(self) -> None:
        while self._chunks:
            self._step()

    def _step(self) -> None:
        """Reopen if asked to, and write one batch."""
        with self._work:
            self._busy = True
            reopening, self._reopening = self._reopening, False
            batch = self._batch()
        if reopening:
            self._output.reopen()
        if batch:
            self._pass_on(batch)
        with self._done:
            self._busy = False
            self._done.notify_all()

    def _pass_on(self, batch: bytes) -> None:
        written = self._output.write(batch)
        with self._work:
            self.lost += batch.count(b"\n", written)
            self._bytes -= len(batch)
        if written == len(batch):
            self._tell()

    def _batch(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while self._chunks and size < BATCH_BYTES:
            chunks.append(self._chunks.popleft())
            size += len(chunks[-1])
        return b"".join(chunks)

    def _tell(self) -> None:
        """Writing works: warn of what was lost until now. A warning that is lost itself counts for the next one."""
        now = self._seconds()
        if self.lost > self._told and now >= self._tell_after:
            count, self._told = self.lost - self._told, self.lost
            self._tell_after = now + TELL_SECONDS
            self._warn(count)
