"""An upstream whose connections are in-memory wires, and what its fetches came to."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import UpstreamError, UpstreamResponse
from caching_proxy.testing import ByteRecorder, MemoryWire
from caching_proxy.upstream.connect import Make
from caching_proxy.upstream.connection import UpstreamConnection
from caching_proxy.upstream.pool import Backend, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = RequestHead(b"GET", b"/")


class Observer:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.answers: list[tuple[int, float]] = []
        self.reasons: list[UpstreamError] = []

    def connected(self) -> None:
        self.events.append("connected")

    def reused(self) -> None:
        self.events.append("reused")

    def answered(self, status: int, seconds: float) -> None:
        self.answers.append((status, seconds))

    def unanswered(self, error: UpstreamError) -> None:
        self.reasons.append(error)

    def failed(self, kind: str) -> None:
        self.events.append(kind)


class Net:
    """An upstream on in-memory wires. ``asking`` holds connection attempts back; ``refuse`` lets them fail."""

    def __init__(self, *, max_connections: int = 100, asking: bool = False, idle_seconds: float = 30.0) -> None:
        self.clock = Clock()
        self.wires: list[MemoryWire] = []
        self.peers: list[ByteRecorder] = []
        self.observer = Observer()
        self.attempts: list[Callable[[], None]] = []
        self.abandoned = 0
        self.refuse: Exception | None = None
        self.asking = asking
        self.upstream = Upstream(
            self.clock,
            Backend.parse("http://backend"),
            max_connections=max_connections,
            connect_timeout=5,
            timeout=60,
            idle_seconds=idle_seconds,
            observer=self.observer,
            connect=self.connect,
        )

    def connect(self, make: Make) -> Deferred[UpstreamConnection]:
        if self.refuse is not None:
            failed: Deferred[UpstreamConnection] = Deferred()
            failed.errback(Failure(self.refuse))
            return failed
        if not self.asking:
            return succeed(self.made(make))
        later: Deferred[UpstreamConnection] = Deferred(self.abandon)
        self.attempts.append(lambda: later.callback(self.made(make)))
        return later

    def abandon(self, _: Deferred[UpstreamConnection]) -> None:
        self.abandoned += 1

    def made(self, make: Make) -> UpstreamConnection:
        connection, peer = make(UpstreamConnection), ByteRecorder()
        self.wires.append(MemoryWire(connection, peer))
        self.peers.append(peer)
        return connection

    def fetch(self, method: bytes = b"GET", body: Body | None = None, peer: bytes = b"") -> Fetched:
        fetched = Fetched(self.upstream.fetch(RequestHead(method, b"/"), body, None, peer))
        self.pump()
        return fetched

    def answer(self, index: int = -1, raw: bytes = OK) -> None:
        self.peers[index].send(raw)
        self.pump()

    def pump(self) -> None:
        for wire in self.wires:
            wire.pump()

    @property
    def counts(self) -> tuple[int, int, int]:
        self.pump()
        return self.upstream.connections, self.upstream.idle, self.upstream.waiting

    def settle(self) -> None:
        """Stopping ends everything that is idle, and leaves no timer."""
        stopped: list[object] = []
        self.upstream.stop().addCallback(stopped.append)
        self.pump()
        assert stopped == [None]
        assert self.counts == (0, 0, 0)
        assert self.clock.getDelayedCalls() == []


class Fetched:
    def __init__(self, deferred: Deferred[UpstreamResponse]) -> None:
        self.deferred = deferred
        self.response: UpstreamResponse | None = None
        self.error: BaseException | None = None
        deferred.addCallbacks(self._arrived, self._failed)

    def _arrived(self, response: UpstreamResponse) -> None:
        self.response = response

    def _failed(self, reason: Failure) -> None:
        self.error = reason.value

    @property
    def reused(self) -> bool:
        assert self.response is not None
        return self.response.reused
