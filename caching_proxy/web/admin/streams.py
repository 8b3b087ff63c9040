"""Server-sent events: ``stats`` once a second, and what happens as it happens, to a bounded number of watchers.

Nothing waits for a watcher: while its connection has enough to send, events for it are dropped and counted, and a
comment says how many when it reads again. Statistics are made once a second however many watch, and not at all if
nobody does.

Where several workers serve, each look asks the others too, so what happens elsewhere comes with the next statistics,
and so do the requests that others answered, where somebody watches those.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.happenings import Happening, Happenings
from caching_proxy.web.admin.json_answers import AdminRequest

T = TypeVar("T")

MOST_STREAMS = 16
MOST_LINES = 200
"""Requests that are told of at once; access lines come together some times a second."""

MOST_RECENT = 100
"""Happenings that a new watcher is told of."""

SECOND = 1.0

_log = Logger()


@attrs.frozen(slots=True)
class Seen:
    """What a look gives: the data of a ``stats`` event, and what happened in other workers since: happenings, and
    access lines, ``left_out`` of which are too many to tell."""

    stats: dict[str, object]
    happenings: Sequence[Happening] = ()
    lines: Sequence[str] = ()
    left_out: int = 0


Look = Callable[[float, bool], Deferred[Seen]]
"""Takes the POSIX seconds after which what happened elsewhere is news, and whether access lines are wanted: then each
look gives those since the one before. Never fails but by a bug."""


class Streams:
    """All streams of one proxy. ``look`` gives the data of a ``stats`` event, and what happened elsewhere."""

    def __init__(
        self,
        clock: IReactorTime,
        look: Look,
        happenings: Happenings,
        most: int = MOST_STREAMS,
        access: AccessLog | None = None,
    ) -> None:
        self._clock = clock
        self._look = look
        self._looking = False
        self._seen = 0.0  # what happened elsewhere up to then (POSIX seconds) has been told
        self._happenings = happenings
        self._most = most
        self._access = access
        self._open: list[EventStream] = []
        self._unlisten: Callable[[], None] | None = None
        self._unwatch: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self._over = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def room(self) -> bool:
        """Whether one more may begin."""
        return not self._over and len(self._open) < self._most

    def begin(self, request: AdminRequest) -> None:
        """Write events to ``request``, whose head is on its way, until either side ends it.

        Requests that were answered are told of too where the query says ``requests=on``.
        """
        stream = EventStream(request, self._left, b"requests=on" in request.head.target.partition(b"?")[2].split(b"&"))
        self._open.append(stream)
        if self._unlisten is None:
            self._unlisten = self._happenings.listen(self._happened)
            if self._access is not None:
                self._unwatch = self._access.watch(self._answered)
            self._timer = self._clock.callLater(SECOND, self._tick)
            self._seen = self._happenings.now()
        recent = self._happenings.recent()
        _later(self._look(0.0, self._wanted()).addCallback(self._welcome, stream, recent, self._seen))

    def close(self) -> None:
        """End every stream, and begin none any more."""
        self._over = True
        for stream in list(self._open):
            stream.end()
        self._rest()

    def _left(self, stream: EventStream) -> None:
        if stream in self._open:
            self._open.remove(stream)
        if not self._open:
            self._rest()

    def _rest(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _welcome(self, seen: Seen, stream: EventStream, recent: list[Happening], until: float) -> None:
        """What a new watcher gets: what is remembered here, and elsewhere up to where the others are; statistics."""
        elsewhere = [happening for happening in seen.happenings if happening.time <= until]
        for happening in sorted((*recent, *elsewhere), key=lambda happening: happening.time)[-MOST_RECENT:]:
            stream.send(_of(happening))
        stream.send(event("stats", seen.stats))
        self._tell_requests(seen.lines, seen.left_out)

    def _tick(self) -> None:
        self._timer = self._clock.callLater(SECOND, self._tick)
        if not self._looking:  # siblings may be slow
            self._looking = True
            _later(self._look(self._seen, self._wanted()).addCallback(self._tell).addBoth(self._looked))

    def _tell(self, seen: Seen) -> None:
        for happening in seen.happenings:
            self._seen = max(self._seen, happening.time)
            self._send(_of(happening))
        self._send(event("stats", seen.stats))
        self._tell_requests(seen.lines, seen.left_out)

    def _looked(self, result: T) -> T:
        self._looking = False
        return result

    def _happened(self, happening: Happening) -> None:
        self._send(_of(happening))

    def _answered(self, lines: list[str]) -> None:
        """Access lines; where there are many, the first ones of each moment, and how many more there were."""
        if self._wanted():
            self._tell_requests(lines[:MOST_LINES], max(0, len(lines) - MOST_LINES))

    def _wanted(self) -> bool:
        """Whether somebody watches requests."""
        return any(stream.requests for stream in self._open)

    def _tell_requests(self, lines: Sequence[str], left_out: int) -> None:
        data = b"".join(map(_line_event, lines))
        if left_out:
            data += b": %d requests were left out\n\n" % left_out
        for stream in [stream for stream in self._open if stream.requests and data]:
            stream.send(data)

    def _send(self, data: bytes) -> None:
        for stream in list(self._open):
            stream.send(data)


@implementer(IPushProducer)
class EventStream:
    """One watcher; ``left`` is told once when it is gone."""

    def __init__(self, request: AdminRequest, left: Callable[[EventStream], None], requests: bool = False) -> None:
        self.requests = requests
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


def _later(looking: Deferred[None]) -> None:
    looking.addErrback(lambda failure: _log.failure("no statistics for those who watch", failure))


def event(name: str, data: object) -> bytes:
    """An event of the stream (HTML standard, server-sent events); JSON has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data, separators=(",", ":")).encode("ascii"))


def _line_event(line: str) -> bytes:
    """An access line, which is JSON already unless the log is for developers."""
    data = line.rstrip("\n")
    return b"event: request\ndata: %b\n\n" % (data if data[:1] == "{" else json.dumps({"line": data})).encode("ascii")


def _of(happening: Happening) -> bytes:
    return event(happening.kind, happening.data)
