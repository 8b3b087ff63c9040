"""The way to the one backend: a bounded pool of keep-alive connections (IUpstream).

Connections are reused last in, first out. Who may have one, and who is next, is decided in ``upstream.line``; nobody
waits for ever. An idempotent request whose reused connection ended before any response byte is sent once more on a
fresh one (RFC 9110 §9.2.2, RFC 9112 §9.3.1); nothing else is ever repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import (
    IUpstream,
    Receiver,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.transport.tls import PLATFORM, TLSConfig
from caching_proxy.upstream.backend import Backend
from caching_proxy.upstream.call import BackendCall, Nobody, OnInterim, UpstreamObserver
from caching_proxy.upstream.connect import Connect, Connector
from caching_proxy.upstream.connection import UpstreamConnection
from caching_proxy.upstream.exchange import Unanswered
from caching_proxy.upstream.line import Line
from caching_proxy.upstream.request_body import head_bytes, request_bytes

__all__ = ["Backend", "Upstream", "UpstreamObserver"]

MOST_WAITING_BYTES = 64 * 1024 * 1024
"""What requests that wait for a connection may take together, heads and the bodies that are here."""

LARGE_BYTES = 16 * 1024
"""Requests up to so long wait all the same."""

_KEEP_ALIVE_MARGIN = 1.0  # seconds by which we leave before the backend would
C = TypeVar("C", bound=UpstreamConnection)


@implementer(IUpstream)
class Upstream:
    """``connections`` counts open and opening ones, ``idle`` those at rest, ``waiting`` the requests in line,
    ``tunnels`` what has switched to another protocol and is no longer counted.

    Times are in seconds: ``timeout`` bounds silence, ``connect_timeout`` the way to a new connection,
    ``idle_seconds`` the rest between two requests (less where the backend's ``Keep-Alive`` says so). ``connect``
    replaces the network in tests.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        backend: Backend,
        *,
        max_connections: int = 100,
        max_per_peer: int | None = None,
        connect_timeout: float = 5.0,
        timeout: float = 60.0,
        tls: TLSConfig = PLATFORM,
        idle_seconds: float = 30.0,
        observer: UpstreamObserver | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.backend = backend
        self.connections = 0
        self.observer: UpstreamObserver = observer if observer is not None else Nobody()
        self._clock = reactor
        self._now: Callable[[], float] = reactor.seconds
        self._max_connections = max_connections
        self._timeout = timeout
        self._patience = connect_timeout + timeout
        self._idle_seconds = idle_seconds
        if connect is None:
            connect = Connector(reactor, backend, connect_timeout, tls=tls).connect
        self._connect = connect
        self._idle: list[UpstreamConnection] = []
        self._tunnels: set[UpstreamConnection] = set()
        self._line: Line[BackendCall] = Line(max_connections, max_per_peer)
        self._waiting: dict[BackendCall, float] = {}  # in order of arrival, with the moment when patience ends
        self._waiting_bytes = 0
        self._sweeper: IDelayedCall | None = None
        self._impatience: IDelayedCall | None = None
        self._stopping: list[Deferred[None]] | None = None

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def tunnels(self) -> int:
        return len(self._tunnels)

    # -- IUpstream -------------------------------------------------------------------------------

    def fetch(
        self,
        request: RequestHead | OutgoingRequest,
        body: Body | None = None,
        on_interim: OnInterim | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        if isinstance(request, RequestHead):
            request = OutgoingRequest.of(request)
        try:
            if self._stopping is not None:
                raise UpstreamUnreachable("the client of the backend has been stopped")
            data, rest = request_bytes(request, body)
        except UpstreamError as error:
            if body is not None:
                body.cancel()
            self.observer.unanswered(error)
            return fail(error)
        now = self._now()
        call = BackendCall(self, request, data, rest, on_interim, now, peer)
        result: Deferred[UpstreamResponse] = Deferred(call.cancel)
        call.result = result
        self._begin(call, now)
        return result

    def send(self, request: OutgoingRequest, content: bytes, receiver: Receiver, peer: bytes) -> BackendCall:
        """:meth:`fetch` of a request that is all here, for who wants no Deferred (``DirectUpstream``)."""
        now = self._now()
        try:
            if self._stopping is not None:
                raise UpstreamUnreachable("the client of the backend has been stopped")
            data = head_bytes(request, len(content)) + content
        except UpstreamError as error:
            self.observer.unanswered(error)
            receiver.failed(error)
            call = BackendCall(self, request, b"", None, None, now, peer)
            call.over = True
            return call
        call = BackendCall(self, request, data, None, receiver.interim, now, peer, receiver)
        self._begin(call, now)
        return call

    def stop(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self._stopping is None:
            self._stopping = []
        self._stopping.append(done)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self._check_stopped()
        return done

    # -- a request finds a connection --------------------------------------------------------------

    def _begin(self, call: BackendCall, now: float) -> None:
        if not self._line.may_start(call):
            self._wait(call, now)
            return
        connection = None if call.fresh else self._rested(now)
        if connection is not None:
            self._send(call, connection, now)
        elif self.connections < self._max_connections:
            self._open(call)
        else:
            self._wait(call, now)

    def _rested(self, now: float) -> UpstreamConnection | None:
        """The connection used last that may serve another request."""
        while self._idle:
            connection = self._idle.pop()
            if connection.closing:
                continue
            if connection.expires_at > now:
                return connection
            connection.close()
        return None

    def _send(self, call: BackendCall, connection: UpstreamConnection, now: float) -> None:
        """Send ``call`` on a connection that has served others."""
        self._line.took(call)
        self.observer.reused()
        call.send(connection, now)

    def _open(self, call: BackendCall) -> None:
        self.connections += 1
        self._line.took(call)
        call.connection = None
        call.connecting = self._connect(self._make)
        call.connecting.addCallbacks(self._connected, self._unconnected, callbackArgs=(call,), errbackArgs=(call,))

    def _make(self, kind: type[C]) -> C:
        return kind(self._clock, self._timeout, self)

    def _connected(self, connection: UpstreamConnection, call: BackendCall) -> None:
        call.connecting = None
        connection.adopted = True
        self.observer.connected()
        call.send(connection, self._now())

    def _unconnected(self, reason: Failure, call: BackendCall) -> None:
        call.connecting = None
        self.connections -= 1
        self._line.gave_back(call)
        if not call.over:
            call.drop_body()
            error = reason.value
            call.failed(error if isinstance(error, UpstreamError) else UpstreamUnreachable(str(error)))
        self._next()

    # -- Owner: connections come back ---------------------------------------------------------------

    def released(self, connection: UpstreamConnection, now: float) -> None:
        self._freed(connection)
        call = self._first_waiting() if self._waiting else None
        if call is not None:
            self._send(call, connection, now)
            return
        if self._stopping is not None:
            connection.close()
            return
        rest = self._idle_seconds
        if connection.keep_alive is not None:
            rest = min(rest, connection.keep_alive - _KEEP_ALIVE_MARGIN)
        if rest <= 0:
            connection.close()
            return
        connection.expires_at = now + rest
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._clock.callLater(rest, self._sweep)

    def switched(self, connection: UpstreamConnection) -> None:
        """A tunnel takes no place in the pool, or a few clients with tunnels would shut out all others."""
        self.connections -= 1
        self._freed(connection)
        self._tunnels.add(connection)
        self._next()

    def lost(self, connection: UpstreamConnection, exchange: object | None, error: UpstreamError) -> None:
        if connection in self._tunnels:
            self._tunnels.remove(connection)
        else:
            self.connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._freed(connection)
        if isinstance(exchange, BackendCall):
            if isinstance(error, Unanswered) and exchange.repeatable:
                exchange.fresh = True
                self._begin(exchange, self._now())
            else:
                exchange.failed(error)
        self._next()

    def truncated(self) -> None:
        self.observer.failed("incomplete")

    def _freed(self, connection: UpstreamConnection) -> None:
        """Whoever held ``connection`` does so no more."""
        call = connection.holder
        if call is not None:
            connection.holder = None
            self._line.gave_back(call)

    def _next(self) -> None:
        """There may be room for somebody in line."""
        now = self._now()
        while self._waiting and (self._idle or self.connections < self._max_connections):
            call = self._first_waiting()
            if call is None:
                break
            connection = None if call.fresh else self._rested(now)
            if connection is not None:
                self._send(call, connection, now)
            else:
                self._open(call)
        self._check_stopped()

    # -- the line -------------------------------------------------------------------------------------

    def _wait(self, call: BackendCall, now: float) -> None:
        call.weight = size = len(call.data) + (0 if call.body is None else call.body.held)
        if size > LARGE_BYTES and self._waiting_bytes + size > MOST_WAITING_BYTES:
            call.drop_body()
            call.failed(UpstreamTimeout("no free connection, and too much waits for one"))
            return
        self._waiting_bytes += size
        self._waiting[call] = now + self._patience
        self._line.add(call)
        if self._impatience is None:
            self._impatience = self._clock.callLater(self._patience, self._lose_patience)

    def leave(self, call: BackendCall) -> None:
        """``call`` waits no longer."""
        if self._waiting.pop(call, None) is not None:
            self._waiting_bytes -= call.weight
        self._line.remove(call)
        if not self._waiting and self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _first_waiting(self) -> BackendCall | None:
        call = self._line.next()
        if call is not None:
            self.leave(call)
        return call

    def _lose_patience(self) -> None:
        self._impatience = None
        now = self._now()
        for call, until in list(self._waiting.items()):
            if until > now:
                self._impatience = self._clock.callLater(until - now, self._lose_patience)
                return
            del self._waiting[call]
            self._waiting_bytes -= call.weight
            self._line.remove(call)
            call.drop_body()
            call.failed(UpstreamTimeout(f"no free connection within {self._patience:g} s"))

    # -- rest and the end -------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Close what has rested too long."""
        self._sweeper = None
        now = self._now()
        expired = [connection for connection in self._idle if connection.expires_at <= now]
        self._idle = [connection for connection in self._idle if connection.expires_at > now]
        if self._idle:
            soonest = min(connection.expires_at for connection in self._idle)
            self._sweeper = self._clock.callLater(soonest - now, self._sweep)
        for connection in expired:
            connection.close()

    def _check_stopped(self) -> None:
        if self._stopping is None or self.connections or self._waiting or self._tunnels:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        waiters, self._stopping = self._stopping, []
        for waiter in waiters:
            waiter.callback(None)
