"""Server-sent events: ``stats`` once a second, and what happens as it happens, to a bounded number of watchers.

Nothing waits for a watcher: while its connection has enough to send, events for it are dropped and counted, and a
comment says how many when it reads again. Statistics are made once a second however many watch, and not at all if
nobody does.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.telemetry.happenings import Happening, Happenings
from caching_proxy.web.admin.json_answers import AdminRequest

MOST_STREAMS = 16
SECOND = 1.0


class Streams:
    """All streams of one proxy. ``stats`` makes the data of a ``stats`` event."""

    def __init__(
        self,
        clock: IReactorTime,
        stats: Callable[[], dict[str, object]],
        happenings: Happenings,
        most: int = MOST_STREAMS,
    ) -> None:
        self._clock = clock
        self._stats = stats
        self._happenings = happenings
        self._most = most
        self._open: list[Stream] = []
        self._unlisten: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self._over = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def room(self) -> bool:
        """Whether one more may begin."""
        return not self._over and len(self._open) < self._most

    def begin(self, request: AdminRequest) -> None:
        """Write events to ``request``, whose head is on its way, until either side ends it."""
        stream = Stream(request, self._left)
        self._open.append(stream)
        for happening in self._happenings.recent():
            stream.send(_of(happening))
        stream.send(event("stats", self._stats()))
        if self._unlisten is None:
            self._unlisten = self._happenings.listen(self._happened)
            self._timer = self._clock.callLater(SECOND, self._tick)

    def close(self) -> None:
        """End every stream, and begin none any more."""
        self._over = True
        for stream in list(self._open):
            stream.end()
        self._rest()

    def _left(self, stream: Stream) -> None:
        if stream in self._open:
            self._open.remove(stream)
        if not self._open:
            self._rest()

    def _rest(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._clock.callLater(SECOND, self._tick)
        self._send(event("stats", self._stats()))

    def _happened(self, happening: Happening) -> None:
        self._send(_of(happening))

    def _send(self, data: bytes) -> None:
        for stream in list(self._open):
            stream.send(data)


@implementer(IPushProducer)
class Stream:
    """One watcher; ``left`` is told once when it is gone."""

    def __init__(self, request: AdminRequest, left: Callable[[Stream], None]) -> None:
        self._request = request
        self._left = left
        self._over = False
        self._full = False
        self._dropped = 0
        request.notifyFinish().addBoth(self._gone)
        request.registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """One event, unless the watcher has not taken the earlier ones yet."""
        if self._over:
            return
        if self._full:
            self._dropped += 1
            return
        self._request.write(data)

    def end(self) -> None:
        """Nothing more is to come."""
        if not self._over:
            self._over = True
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self.send(b": %d events were dropped\n\n" % dropped)

    def stopProducing(self) -> None:
        self._over = True

    def _gone(self, _: Failure | None) -> None:
        self._over = True
        self._left(self)


def event(name: str, data: object) -> bytes:
    """An event of the stream (HTML standard, server-sent events); JSON has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data, separators=(",", ":")).encode("ascii"))


def _of(happening: Happening) -> bytes:
    return event(happening.kind, happening.data)
