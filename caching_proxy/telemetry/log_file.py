"""A log file of our own: opened by name, rotated when it is full, opened anew on demand.

Several processes may write to one file: each line goes to its end, and only one of them renames at a time; the others
see that the name leads elsewhere and follow. What cannot be renamed or opened costs no line as long as the file that is
open takes them.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress

from twisted.logger import Logger

from caching_proxy.telemetry.log_output import DescriptorOutput

MOST_ROTATIONS = 16
"""In one write: where files are tiny and lines many, files get longer, so that renaming does not cost lines."""

_FLAGS = os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
_MODE = 0o666  # less what the umask says


class LogFile:
    """The file, pipe or device at ``path``; only files rotate.

    Args:
        path: absolute; links are followed, so that what they lead to is rotated in its own directory.
        most: bytes of a file, past which it is rotated; 0 = never. A longer line stands in a file of its own, and so
            does the rest of a write that has filled ``MOST_ROTATIONS`` files.
        keep: how many rotated files there are at most: ``path.1`` (the latest) to ``path.N``.

    Raises:
        OSError: ``path`` cannot be written, or is nothing that a log can be.
    """

    _log = Logger()

    def __init__(self, path: str, most: int, keep: int) -> None:
        self._name, self._most, self._keep = path, most, keep
        self._stuck = False
        self._take(_opened(_target(path), None))

    def write(self, data: bytes) -> int:
        """See :class:`caching_proxy.telemetry.log_output.Output`."""
        done = rotations = 0
        while done < len(data):
            if self._deleted() and not self._begin_anew():
                break
            end = self._fitting(data, done)
            if end == done and rotations < MOST_ROTATIONS and self._rotated():
                rotations += 1
                end = self._fitting(data, done)
            if end == done:  # it goes on growing
                end = len(data)
            written = self._out.write(data[done:end])
            done += written
            if done < end:
                break
        return done

    def reopen(self) -> None:
        """Open the name anew; where that fails, the open file stays."""
        self._begin_anew()

    @property
    def path(self) -> str:
        """What is open: links have been followed."""
        return self._path

    @property
    def rotates(self) -> bool:
        """Whether it is a file: pipes and devices do not fill."""
        return self._file

    def belong(self, uid: int, gid: int) -> None:
        """Give a file to the user who is to open it anew; -1 leaves the group."""
        if self._file:
            with suppress(OSError):
                os.fchown(self._out.descriptor, uid, gid)

    def close(self) -> None:
        """Close the file."""
        os.close(self._out.descriptor)

    def _take(self, descriptor: int) -> None:
        self._out = DescriptorOutput(descriptor)
        self._path = _target(self._name)
        self._file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    def _fitting(self, data: bytes, start: int) -> int:
        if not self._file or not self._most:
            return len(data)
        return fitting(data, start, os.fstat(self._out.descriptor).st_size, self._most)

    def _deleted(self) -> bool:
        return self._file and os.fstat(self._out.descriptor).st_nlink == 0

    def _begin_anew(self) -> bool:
        try:
            self._replace()
        except OSError as problem:
            self._complain("open", problem)
            return False
        self._stuck = False
        return True

    def _rotated(self) -> bool:
        """Whether another file is open now."""
        descriptor = self._out.descriptor
        if not _locked(descriptor):
            return False
        try:
            if self._is_named():
                shift(self._path, self._keep)
            self._replace()
        except OSError as problem:
            with suppress(OSError):
                fcntl.lockf(descriptor, fcntl.LOCK_UN)
            self._complain("rotate", problem)
            return False
        self._stuck = False
        return True

    def _is_named(self) -> bool:
        """Whether the name leads to the open file: else it has been renamed already."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._out.descriptor))
        except FileNotFoundError:
            return False

    def _replace(self) -> None:
        old = self._out.descriptor
        mode = stat.S_IMODE(os.fstat(old).st_mode) if self._file else None
        self._take(_opened(_target(self._name), mode))
        with suppress(OSError):
            os.close(old)

    def _complain(self, what: str, problem: OSError) -> None:
        if not self._stuck:
            self._stuck = True
            reason = problem.strerror or str(problem)
            self._log.warn("cannot {what} the log file {path}: {reason}", what=what, path=self._path, reason=reason)


def fitting(data: bytes, start: int, size: int, most: int) -> int:
    """Where those lines of ``data`` end that fit into a file of ``size`` bytes; ``start`` where none does.

    Args:
        data: lines.
        start: where the first that is asked for begins.
        size: bytes in the file; an empty one takes at least one line, however long.
        most: bytes that may be in it.
    """
    room = most - size
    if len(data) - start <= room:
        return len(data)
    end = data.rfind(b"\n", start, start + max(room, 0)) + 1
    if end <= start and size == 0:
        end = data.find(b"\n", start) + 1 or len(data)
    return max(end, start)


def shift(path: str, keep: int) -> None:
    """Make ``path`` free: ``path.1`` becomes ``path.2`` and so on up to the first number that is free, or to ``keep``.

    Raises:
        OSError: a name could not be changed; no file is lost by that.
    """
    if keep == 0:
        os.unlink(path)
        return
    free = next((n for n in range(1, keep) if not os.path.lexists(f"{path}.{n}")), keep)
    for n in range(free - 1, 0, -1):
        os.replace(f"{path}.{n}", f"{path}.{n + 1}")
    os.replace(path, f"{path}.1")


def _target(name: str) -> str:
    """What is opened: where links lead to, so that renaming leaves the links; a pipe or device by its own name."""
    try:
        regular = stat.S_ISREG(os.stat(name).st_mode)
    except FileNotFoundError:
        regular = True
    return os.path.realpath(name) if regular else name


def _opened(path: str, mode: int | None) -> int:
    """A descriptor that writes to the end of ``path``; a file made here gets ``mode``, or what the umask leaves."""
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, _MODE)
    except FileExistsError:
        return _opened_as_it_is(path)
    if mode is not None:
        os.fchmod(made, mode)
    return made


def _opened_as_it_is(path: str) -> int:
    kind = os.stat(path).st_mode
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise OSError(0, "neither a file nor a pipe nor a character device")
    # a pipe opened for writing alone waits for a reader, and ends with it
    way = os.O_RDWR if stat.S_ISFIFO(kind) else os.O_WRONLY
    return os.open(path, way | _FLAGS)


def _locked(descriptor: int) -> bool:
    """Whether no other process is about to rename this file; closing it gives the lock back."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
