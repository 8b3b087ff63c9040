"""A producer that is asked for each piece, as one that pushes until it is paused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPullProducer


class PullPump:
    """Drives a pull producer: asks it for more whenever the transport has room, once per turn of the loop."""

    def __init__(self, producer: IPullProducer, soon: Callable[[Callable[[], None]], object]) -> None:
        self._producer = producer
        self._soon = soon
        self._scheduled = False
        self._running = False

    def resumeProducing(self) -> None:
        self._running = True
        if not self._scheduled:
            self._scheduled = True
            self._soon(self._turn)

    def pauseProducing(self) -> None:
        self._running = False

    def stopProducing(self) -> None:
        self._running = False
        self._producer.stopProducing()

    def _turn(self) -> None:
        self._scheduled = False
        if self._running:
            self._producer.resumeProducing()
        if self._running:
            self.resumeProducing()
