"""The way to the one backend: a bounded pool of keep-alive connections (IUpstream).

Connections are reused last in, first out. At the bound requests wait, first in, first out, and not for ever. An
idempotent request whose reused connection ended before any response byte is sent once more on a fresh one
(RFC 9110 §9.2.2, RFC 9112 §9.3.1); nothing else is ever repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.body import Body
from caching_proxy.core.messages import RequestHead, ResponseHead
from caching_proxy.core.methods import RETRIED
from caching_proxy.core.outgoing import OutgoingRequest
from caching_proxy.interfaces import (
    IUpstream,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.tls import PLATFORM, TLSConfig
from caching_proxy.wire.backend import Backend
from caching_proxy.wire.upstream_connect import Connect, Connector
from caching_proxy.wire.upstream_connection import UpstreamConnection
from caching_proxy.wire.upstream_exchange import Unanswered
from caching_proxy.wire.upstream_request import request_bytes

__all__ = ["Backend", "Upstream", "UpstreamObserver"]

_KEEP_ALIVE_MARGIN = 1.0  # seconds by which we leave before the backend would
C = TypeVar("C", bound=UpstreamConnection)
OnInterim = Callable[[ResponseHead], None]


class UpstreamObserver(Protocol):
    """What metrics and the log hear of."""

    def connected(self) -> None:
        """A new connection was made."""

    def reused(self) -> None:
        """A request went out on a connection that had served another."""

    def answered(self, status: int, seconds: float) -> None:
        """A final head or a 101 came, ``seconds`` after it was asked for."""

    def unanswered(self, error: UpstreamError) -> None:
        """A request will get no answer; nobody cancelled it."""

    def failed(self, kind: str) -> None:
        """A request failed (unreachable, timeout, protocol, request) or its answer was ``incomplete``."""


class _Nobody:
    def connected(self) -> None: ...

    def reused(self) -> None: ...

    def answered(self, status: int, seconds: float) -> None: ...

    def unanswered(self, error: UpstreamError) -> None: ...

    def failed(self, kind: str) -> None: ...


class _Call:
    """One request: waiting, connecting or under way; an ``Exchange`` to its connection."""

    connection: UpstreamConnection | None = None
    connecting: Deferred[UpstreamConnection] | None = None
    fresh = False  # wants a new connection: this is the second attempt
    over = False

    def __init__(
        self,
        pool: Upstream,
        request: OutgoingRequest,
        data: bytes,
        body: Body | None,
        on_interim: OnInterim | None,
        asked_at: float,
    ) -> None:
        self._pool = pool
        self.request = request
        self.data = data
        self.body = body
        self.on_interim = on_interim
        self._asked_at = asked_at
        self.result: Deferred[UpstreamResponse] = Deferred(self._cancelled)

    def send(self, connection: UpstreamConnection, now: float) -> None:
        self.connection = connection
        connection.start(self, now)

    def responded(self, response: UpstreamResponse, now: float) -> None:
        self.over = True
        self._pool.observer.answered(response.head.status, now - self._asked_at)
        self.result.callback(response)

    def failed(self, error: UpstreamError) -> None:
        if not self.over:
            self.over = True
            self._pool.observer.failed(_kind(error))
            self._pool.observer.unanswered(error)
            self.result.errback(Failure(error))

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again after its connection ended without an answer."""
        connection = self.connection
        return (
            self.request.method in RETRIED
            and self.body is None
            and not self.over
            and not self.fresh
            and connection is not None
            and connection.exchanges > 1
        )

    def drop_body(self) -> None:
        """Nobody will read what the client sends."""
        if self.body is not None and self.connection is None:
            self.body.cancel()

    def _cancelled(self, _: Deferred[UpstreamResponse]) -> None:
        self.over = True
        self.drop_body()
        if self.connection is not None:
            self.connection.cancel(self)
        elif self.connecting is not None:
            self.connecting.cancel()
        else:
            self._pool.leave(self)


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
        connect_timeout: float = 5.0,
        timeout: float = 60.0,
        tls: TLSConfig = PLATFORM,
        idle_seconds: float = 30.0,
        observer: UpstreamObserver | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.backend = backend
        self.connections = 0
        self.observer: UpstreamObserver = observer if observer is not None else _Nobody()
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
        self._waiting: dict[_Call, float] = {}  # in order of arrival, with the moment when patience ends
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
        call = _Call(self, request, data, rest, on_interim, now)
        self._begin(call, now)
        return call.result

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

    def _begin(self, call: _Call, now: float) -> None:
        while self._idle and not call.fresh:
            connection = self._idle.pop()
            if connection.closing:
                continue
            if connection.expires_at <= now:
                connection.close()
                continue
            self.observer.reused()
            call.send(connection, now)
            return
        if self.connections < self._max_connections:
            self._open(call)
        else:
            self._wait(call, now)

    def _open(self, call: _Call) -> None:
        self.connections += 1
        call.connection = None
        call.connecting = self._connect(self._make)
        call.connecting.addCallbacks(self._connected, self._unconnected, callbackArgs=(call,), errbackArgs=(call,))

    def _make(self, kind: type[C]) -> C:
        return kind(self._clock, self._timeout, self)

    def _connected(self, connection: UpstreamConnection, call: _Call) -> None:
        call.connecting = None
        connection.adopted = True
        self.observer.connected()
        call.send(connection, self._now())

    def _unconnected(self, reason: Failure, call: _Call) -> None:
        call.connecting = None
        self.connections -= 1
        if not call.over:
            call.drop_body()
            error = reason.value
            call.failed(error if isinstance(error, UpstreamError) else UpstreamUnreachable(str(error)))
        self._next()

    # -- Owner: connections come back ---------------------------------------------------------------

    def released(self, connection: UpstreamConnection, now: float) -> None:
        call = self._first_waiting() if self._waiting else None
        if call is not None:
            self.observer.reused()
            call.send(connection, now)
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
        self._tunnels.add(connection)
        self._next()

    def lost(self, connection: UpstreamConnection, exchange: object | None, error: UpstreamError) -> None:
        if connection in self._tunnels:
            self._tunnels.remove(connection)
        else:
            self.connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if isinstance(exchange, _Call):
            if isinstance(error, Unanswered) and exchange.repeatable:
                exchange.fresh = True
                self._begin(exchange, self._now())
            else:
                exchange.failed(error)
        self._next()

    def truncated(self) -> None:
        self.observer.failed("incomplete")

    def _next(self) -> None:
        """There may be room for somebody in line."""
        while self._waiting and self.connections < self._max_connections:
            call = self._first_waiting()
            if call is not None:
                self._open(call)
        self._check_stopped()

    # -- the line -------------------------------------------------------------------------------------

    def _wait(self, call: _Call, now: float) -> None:
        self._waiting[call] = now + self._patience
        if self._impatience is None:
            self._impatience = self._clock.callLater(self._patience, self._lose_patience)

    def leave(self, call: _Call) -> None:
        """``call`` waits no longer."""
        self._waiting.pop(call, None)
        if not self._waiting and self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _first_waiting(self) -> _Call | None:
        for call in self._waiting:
            self.leave(call)
            return call
        return None

    def _lose_patience(self) -> None:
        self._impatience = None
        now = self._now()
        for call, until in list(self._waiting.items()):
            if until > now:
                self._impatience = self._clock.callLater(until - now, self._lose_patience)
                return
            del self._waiting[call]
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


def _kind(error: UpstreamError) -> str:
    if isinstance(error, UpstreamUnreachable):
        return "unreachable"
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    return "protocol" if isinstance(error, UpstreamProtocolError) else "request"
