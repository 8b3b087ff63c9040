"""A steady load of small requests from threads, each with a connection of its own, that tells what became of each."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from types import TracebackType

import attrs


@attrs.define
class Tally:
    """``answered`` by status; ``fresh`` failures are of a connection's first request, ``reused`` of a later one;
    ``cut`` answers began and did not end."""

    answered: Counter[int] = attrs.Factory(Counter)
    refused: int = 0
    fresh: list[str] = attrs.Factory(list)
    reused: list[str] = attrs.Factory(list)
    cut: list[str] = attrs.Factory(list)


class Load:
    """``count`` threads that ask for ``target``; a connection carries ``each`` requests, then another is made."""

    def __init__(self, port: int, target: str, count: int = 4, each: int = 20) -> None:
        self._port = port
        self._target = target
        self._each = each
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.tally = Tally()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> Tally:
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.tally

    @property
    def total(self) -> int:
        return sum(self.tally.answered.values())

    def _run(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                connection.connect()
            except OSError:
                with self._lock:
                    self.tally.refused += 1
                self._over.wait(0.01)
                continue
            self._use(connection)
            connection.close()

    def _use(self, connection: http.client.HTTPConnection) -> None:
        connection.auto_open = 0
        for nth in range(self._each):
            if self._over.is_set():
                return
            began = False
            try:
                connection.request("GET", self._target)
                answer = connection.getresponse()
                began = True
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    failed = self.tally.cut if began else self.tally.reused if nth else self.tally.fresh
                    failed.append(repr(error))
                return
            with self._lock:
                self.tally.answered[answer.status] += 1
            if answer.will_close:
                return
