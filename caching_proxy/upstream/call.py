"""One request to the backend on its way through the pool: waiting, connecting or under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.methods import RETRIED
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import (
    Receiver,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from caching_proxy.upstream.connection import UpstreamConnection

OnInterim = Callable[[ResponseHead], None]


class UpstreamObserver(Protocol):
    """What metrics and the log hear of."""

    def connected(self) -> None:
        """A new connection was made."""

    def reused(self) -> None:
        """A request went out on a connection that had served another."""

    def answered(self, status: int, seconds: float) -> None:
        """A final head or a 101 came.

        Args:
            status: Its status code.
            seconds: How long after it was asked for.
        """

    def unanswered(self, error: UpstreamError) -> None:
        """A request will get no answer; nobody cancelled it.

        Args:
            error: Why.
        """

    def failed(self, kind: str) -> None:
        """A request failed, or its answer broke off.

        Args:
            kind: ``unreachable``, ``timeout``, ``protocol``, ``request`` or ``incomplete``.
        """


class Nobody:
    """An observer that does not look."""

    def connected(self) -> None: ...

    def reused(self) -> None: ...

    def answered(self, status: int, seconds: float) -> None: ...

    def unanswered(self, error: UpstreamError) -> None: ...

    def failed(self, kind: str) -> None: ...


class Pool(Protocol):
    """The pool, as a call sees it."""

    observer: UpstreamObserver

    def leave(self, call: BackendCall) -> None:
        """``call`` waits no longer."""


class BackendCall:
    """An ``Exchange`` to its connection. ``peer`` is the client that it is for; ``streams`` is about its body.

    ``receiver`` hears what becomes of it; without one ``result``, which whoever makes the call sets, fires.
    """

    result: Deferred[UpstreamResponse]

    connection: UpstreamConnection | None = None
    connecting: Deferred[UpstreamConnection] | None = None
    weight = 0  # bytes of it that were here when it began to wait
    fresh = False  # wants a new connection: this is the second attempt
    over = False

    def __init__(
        self,
        pool: Pool,
        request: OutgoingRequest,
        data: bytes,
        body: Body | None,
        on_interim: OnInterim | None,
        asked_at: float,
        peer: bytes = b"",
        receiver: Receiver | None = None,
    ) -> None:
        self._pool = pool
        self._receiver = receiver
        self.peer = peer
        self.streams = body is not None
        self.request = request
        self.data = data
        self.body = body
        self.on_interim = on_interim
        self._asked_at = asked_at

    def send(self, connection: UpstreamConnection, now: float) -> None:
        self.connection = connection
        connection.holder = self
        connection.start(self, now)

    def responded(self, response: UpstreamResponse, now: float) -> None:
        self.over = True
        self._pool.observer.answered(response.head.status, now - self._asked_at)
        if self._receiver is None:
            self.result.callback(response)
        else:
            self._receiver.responded(response)

    def failed(self, error: UpstreamError) -> None:
        if not self.over:
            self.over = True
            self._pool.observer.failed(_kind(error))
            self._pool.observer.unanswered(error)
            if self._receiver is None:
                self.result.errback(Failure(error))
            else:
                self._receiver.failed(error)

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

    def cancel(self, _: object = None) -> None:
        """Nobody wants the answer any more."""
        self.over = True
        self.drop_body()
        if self.connection is not None:
            self.connection.cancel(self)
        elif self.connecting is not None:
            self.connecting.cancel()
        else:
            self._pool.leave(self)


def _kind(error: UpstreamError) -> str:
    if isinstance(error, UpstreamUnreachable):
        return "unreachable"
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    return "protocol" if isinstance(error, UpstreamProtocolError) else "request"
