"""A store that keeps each value in a file of one directory: an example of how little a store has to do.

It is an ``IValues``; ``IndexedStore`` does the rest. The contract suite runs on it (``tests/contract``). To use a store
of your own, give it a scheme in ``caching_proxy/rules/cache_url.py`` and build it in ``caching_proxy/store/build.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import IValues, StoreError

T = TypeVar("T")


@implementer(IValues)
class DirectoryValues:
    """Files in ``directory``, which is for nobody else: what is there at the start is removed.

    Files are read and written in threads, as disks may be slow. The time until which a value holds is its file's time;
    ``now`` gives POSIX seconds.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now

    def get(self, names: Sequence[bytes]) -> Deferred[Mapping[bytes, bytes]]:
        return _in_thread(self._read, names)

    def set(self, name: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        return _in_thread(self._write, name, value, self._now() + ttl_ms / 1000)

    def delete(self, names: Sequence[bytes]) -> Deferred[None]:
        return _in_thread(self._remove, names)

    def ping(self) -> Deferred[None]:
        return _in_thread(self._look)

    def start(self) -> Deferred[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    # -- in threads ------------------------------------------------------------------------------

    def _read(self, names: Sequence[bytes]) -> Mapping[bytes, bytes]:
        found = {}
        for name in names:
            path = self._directory / name.decode()
            try:
                if path.stat().st_mtime > self._now():
                    found[name] = path.read_bytes()
            except FileNotFoundError:
                continue
        return found

    def _write(self, name: bytes, value: bytes, until: float) -> None:
        path = self._directory / name.decode()
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(value)
        os.utime(unfinished, (until, until))
        unfinished.rename(path)

    def _remove(self, names: Sequence[bytes]) -> None:
        for name in names:
            (self._directory / name.decode()).unlink(missing_ok=True)

    def _look(self) -> None:
        self._directory.stat()


def _in_thread(function: Callable[..., T], *arguments: Any) -> Deferred[T]:
    return deferToThread(function, *arguments).addErrback(_as_store_error)


def _as_store_error(failure: Failure) -> Failure:
    failure.trap(OSError)
    raise StoreError(failure.getErrorMessage()) from failure.value
