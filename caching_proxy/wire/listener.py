"""Accepting connections: by the native event loop where there is one, else through Twisted's endpoints."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, cast

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory

from caching_proxy.wire.transport import BuildProtocol, NativeProtocol, native_loop

BACKLOG = 1024


@attrs.define(slots=True, eq=False)
class Listener:
    """An open listening socket. ``address`` is readable text; ``port`` its TCP port, None for other kinds."""

    address: str
    port: int | None
    _stop: Callable[[], Deferred[None]]
    _stopped: bool = attrs.field(default=False, init=False)

    def stop_accepting(self) -> Deferred[None]:
        """Close the socket; connections stay. A second call does nothing."""
        if self._stopped:
            return succeed(None)
        self._stopped = True
        return self._stop()


def listen(
    reactor: Any,
    where: str | tuple[str, int],
    factory: Factory,
    *,
    backlog: int = BACKLOG,
    reuse_port: bool = False,
    native: bool = True,
) -> Deferred[Listener]:
    """Accept connections for ``factory`` at a ``(host, port)`` pair or a Twisted endpoint description.

    A pair is served by the asyncio or uvloop loop under ``reactor`` if it has one (and ``native`` allows). Fails with
    ``CannotListenError``, for a malformed description with ``ValueError``. ``reuse_port`` lets several processes
    share a port and needs the native loop.
    """
    loop = native_loop(reactor)
    if isinstance(where, str):
        return maybeDeferred(serverFromString, reactor, where).addCallback(_through_endpoint, factory)
    host, port = where
    if native and loop is not None:
        return Deferred.fromCoroutine(_natively(loop, host, port, factory, backlog, reuse_port))
    if reuse_port:
        raise ValueError("sharing a port between processes needs the native event loop")
    endpoint = (
        TCP6ServerEndpoint(reactor, port, backlog, host)
        if ":" in host
        else TCP4ServerEndpoint(reactor, port, backlog, host)
    )
    return _through_endpoint(endpoint, factory)


def _through_endpoint(endpoint: IStreamServerEndpoint, factory: Factory) -> Deferred[Listener]:
    def listening(port: IListeningPort) -> Listener:
        address = port.getHost()
        if isinstance(address, IPv4Address | IPv6Address):
            return Listener(_text(address.host, address.port), address.port, lambda: _stop(port))
        return Listener(str(getattr(address, "name", address)), None, lambda: _stop(port))

    return maybeDeferred(endpoint.listen, factory).addCallback(listening)


def _stop(port: IListeningPort) -> Deferred[None]:
    return maybeDeferred(port.stopListening).addCallback(lambda _: None)


async def _natively(
    loop: asyncio.AbstractEventLoop, host: str, port: int, factory: Factory, backlog: int, reuse_port: bool
) -> Listener:
    build = cast("BuildProtocol", factory.buildProtocol)
    creating = loop.create_server(
        lambda: NativeProtocol(loop, build), host or None, port, backlog=backlog, reuse_port=reuse_port or None
    )
    try:
        server = await Deferred.fromFuture(asyncio.ensure_future(creating, loop=loop))
    except OSError as problem:
        raise CannotListenError(host, port, _socket_error(problem)) from None
    factory.doStart()
    bound = server.sockets[0].getsockname()

    def stop() -> Deferred[None]:
        server.close()  # not wait_closed(): since Python 3.12 that waits for the connections as well
        factory.doStop()
        return succeed(None)

    return Listener(_text(bound[0], bound[1]), bound[1], stop)


def _socket_error(problem: OSError) -> OSError:
    """asyncio wraps the reason in prose; Twisted shows ``strerror``."""
    if isinstance(problem, socket.gaierror):
        return problem
    code = problem.errno or errno.EADDRNOTAVAIL
    return OSError(code, errno.errorcode.get(code, str(problem)) + ": " + str(problem.strerror or problem))


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
