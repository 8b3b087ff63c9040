"""The journal: invalidations that the store has not carried out, in a file, so that they outlive this process.

Each line is one of them (``rules/bus_message.py``). Lines are added and forced to the disk in a thread of the journal's
own, one batch after the other, so that the event loop never waits for the disk; when nothing is pending any more the
file is emptied. What a journal holds twice is carried out twice, which does no harm; past a bound it holds the
invalidation of everything. A line that a crash cut short was promised to nobody.

Several processes may share the directory: each locks a file for itself, and takes over what stands in those that
nobody has locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from caching_proxy.rules.bus_message import EVERYTHING, Invalidation, decode, encode

NAME = "invalidations-%d.journal"
MOST_FILES = 1024
MAX_BYTES = 16 * 1024 * 1024
"""A journal that would grow beyond this invalidates everything instead."""


class Journal:
    """The invalidations in one file under ``directory``, which is made if it is not there.

    ``reactor`` has the thread's results called back. Raises OSError where nothing can be written; the file itself is
    opened later, by the process that will write it.
    """

    def __init__(self, reactor: Any, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._reactor = reactor
        self._directory = directory
        self._threads = ThreadPool(0, 1, "journal")
        self._running = False
        self._file = -1
        self._size = 0
        self.path = directory
        self.found: list[Invalidation] = []
        """What earlier processes left, once it is open."""
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def open(self) -> None:
        """Claim a file, and find what was left; raises OSError where that cannot be."""
        self._file, self.path = self._claim()
        self.found = self._read(self._file)
        self._size = self._file_size()
        self._adopt()

    def keep(self, invalidations: Sequence[Invalidation]) -> Deferred[None]:
        """Fires when these, and all before them, are on the disk; fails with OSError."""
        return self._in_thread(lambda: self._append(invalidations))

    def clear(self) -> Deferred[None]:
        """Nothing is pending any more."""
        return self._in_thread(self._empty)

    def stop(self) -> None:
        """Nothing more will be written; waits for what is under way."""
        if self._running:
            self._running = False
            self._threads.stop()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _in_thread(self, work: Callable[[], None]) -> Deferred[None]:
        if self._file < 0:
            return fail(OSError("the journal is not open"))
        if not self._running:
            self._running = True
            self._threads.start()
        done: Deferred[None] = deferToThreadPool(self._reactor, self._threads, work)
        return done

    # -- in the thread -------------------------------------------------------------------------------

    def _append(self, invalidations: Sequence[Invalidation]) -> None:
        if not invalidations or self._size > MAX_BYTES:
            return
        lines = b"".join([encode(b"", each) + b"\n" for each in invalidations])
        if self._size + len(lines) > MAX_BYTES:
            lines, self._size = encode(b"", EVERYTHING) + b"\n", MAX_BYTES
        self._size += len(lines)
        view = memoryview(lines)
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)

    def _empty(self) -> None:
        os.ftruncate(self._file, 0)
        self._size = 0

    # -- at the start --------------------------------------------------------------------------------

    def _claim(self) -> tuple[int, Path]:
        """The first file that nobody has locked."""
        for number in range(MOST_FILES):
            path = self._directory / (NAME % number)
            file = _locked(path, os.O_CREAT)
            if file is not None:
                _sync(self._directory)
                return file, path
        raise OSError(f"{MOST_FILES} processes use it already")

    def _adopt(self) -> None:
        """Take over what processes left that are no more."""
        for path in sorted(self._directory.glob(NAME.replace("%d", "*"))):
            if path == self.path or (file := _locked(path, 0)) is None:
                continue
            with suppress(OSError):
                left = self._read(file)
                self._append(left)
                self.found += left
                os.unlink(path)
            os.close(file)

    def _read(self, file: int) -> list[Invalidation]:
        with os.fdopen(os.dup(file), "rb") as lines:
            lines.seek(0)
            *whole, _ = lines.read().split(b"\n")
        found = [decode(line)[1] for line in whole]
        return list(dict.fromkeys(found))

    def _file_size(self) -> int:
        """The length of the file, without a last line that was cut short: what follows must not continue it."""
        size = os.fstat(self._file).st_size
        with os.fdopen(os.dup(self._file), "rb") as lines:
            lines.seek(0)
            whole = lines.read().rfind(b"\n") + 1
        if whole < size:
            os.ftruncate(self._file, whole)
        return whole


def _locked(path: Path, flags: int) -> int | None:
    """The file, open and locked; None if somebody else has it, or has just done away with it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(file).st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _sync(directory: Path) -> None:
    """Let new names in ``directory`` outlive a crash of the machine."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
