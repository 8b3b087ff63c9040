"""New connections to the backend: how to get there, and what it means when that fails.

Plain TCP goes over the native event loop where there is one; everything else, and always TLS, through Twisted's
endpoints (which race IPv6 and IPv4, RFC 8305). A TLS connection counts as made when its handshake has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from caching_proxy.transport.connect import connect_native
from caching_proxy.transport.native import native_loop
from caching_proxy.transport.tls import PLATFORM, TLSConfig
from caching_proxy.upstream.backend import Backend
from caching_proxy.upstream.connection import UpstreamConnection

C = TypeVar("C", bound=UpstreamConnection)


class Make(Protocol):
    """Builds a connection of the class that the connector needs."""

    def __call__(self, kind: type[C]) -> C: ...


Connect = Callable[[Make], Deferred[UpstreamConnection]]
"""Opens one connection. Fails with :class:`UpstreamUnreachable` or :class:`UpstreamTimeout`; may be cancelled."""


@implementer(IHandshakeListener)
class TLSUpstreamConnection(UpstreamConnection):
    """A connection that is ready only after its handshake."""

    def connectionMade(self) -> None:
        self.ready: Deferred[None] = Deferred(lambda _: self.abort())

    def handshakeCompleted(self) -> None:
        if not self.ready.called:
            self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(reason)


class Connector:
    """Opens connections to one backend; ``timeout`` seconds for name, TCP and TLS together."""

    def __init__(
        self,
        reactor: IReactorTime,
        backend: Backend,
        timeout: float,
        *,
        tls: TLSConfig = PLATFORM,
    ) -> None:
        self._reactor = reactor
        self._backend = backend
        self._timeout = timeout
        self._tls: IOpenSSLClientConnectionCreator | None = None
        if backend.scheme == b"https":
            self._tls = tls.client(backend.host)

    def connect(self, make: Make) -> Deferred[UpstreamConnection]:
        """Open a connection.

        Args:
            make: Makes the protocol of the class that it is given.

        Returns:
            A Deferred with a connection that is idle and that no pool has yet; fails with :class:`UpstreamError` if
            there is none within the timeout.
        """
        loop = native_loop(self._reactor) if self._tls is None else None
        if loop is None:
            connecting = Deferred.fromCoroutine(self._by_endpoint(make))
            connecting.addTimeout(self._timeout, self._reactor, self._timed_out)
        else:
            backend = self._backend
            connecting = connect_native(
                loop,
                lambda: make(UpstreamConnection),
                backend.host,
                backend.port,
                timeout=self._timeout,
                clock=self._reactor,
            )
        return connecting.addErrback(self._translated)

    async def _by_endpoint(self, make: Make) -> UpstreamConnection:
        backend = self._backend
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, backend.host, backend.port, self._timeout)
        if self._tls is None:
            connection = make(UpstreamConnection)
            await endpoint.connect(_Once(connection))
            return connection
        secured = make(TLSUpstreamConnection)
        await wrapClientTLS(self._tls, endpoint).connect(_Once(secured))
        await secured.ready
        return secured

    def _timed_out(self, result: object, timeout: float) -> Failure:
        return Failure(ConnectTimeoutError())

    def _translated(self, reason: Failure) -> Failure:
        error: UpstreamError
        where = self._backend.authority.decode()
        if reason.check(ConnectTimeoutError):
            error = UpstreamTimeout(f"no connection to {where} within {self._timeout:g} s")
        else:
            error = UpstreamUnreachable(f"no connection to {where}: {reason.getErrorMessage()}")
        error.__cause__ = reason.value
        return Failure(error)


class _Once(Factory):
    """Hands out one connection."""

    noisy = False

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> UpstreamConnection:
        return self._connection
