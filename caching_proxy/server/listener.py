"""Accepting connections: by the native event loop where there is one, else through Twisted's endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory

from caching_proxy.transport.native import native_loop
from caching_proxy.transport.native_protocol import BuildProtocol, NativeProtocol

BACKLOG = 1024

ACCEPTED_IN_A_TURN = 16
"""Connections that are accepted from a socket in one turn of the event loop."""


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
    return maybeDeferred(port.stopListening).addCallback(_nothing)


def _nothing(_: object) -> None: ...


async def _natively(
    loop: asyncio.AbstractEventLoop, host: str, port: int, factory: Factory, backlog: int, reuse_port: bool
) -> Listener:
    # before anything waits: a program that cannot start has to know at once, and may give up privileges then
    sockets = bound(host, port, backlog, reuse_port)
    return await _served(loop, sockets, factory, backlog)


async def _served(
    loop: asyncio.AbstractEventLoop, sockets: list[socket.socket], factory: Factory, backlog: int
) -> Listener:
    """Accept from ``sockets``, which are closed with the listener."""
    running: Deferred[None] = Deferred()
    loop.call_soon(running.callback, None)
    await running  # a task made before the loop runs would be left behind if the program gave up now
    build = cast("BuildProtocol", factory.buildProtocol)
    servers = [
        await Deferred.fromFuture(
            asyncio.ensure_future(
                loop.create_server(lambda: NativeProtocol(loop, build), sock=one, backlog=backlog), loop=loop
            )
        )
        for one in _acceptors(sockets, loop)
    ]
    factory.doStart()
    bound = sockets[0].getsockname()

    def stop() -> Deferred[None]:
        for server in servers:
            server.close()  # not wait_closed(): since Python 3.12 that waits for the connections as well
        factory.doStop()
        return succeed(None)

    return Listener(_text(bound[0], bound[1]), bound[1], stop)


def _acceptors(sockets: list[socket.socket], loop: asyncio.AbstractEventLoop) -> list[socket.socket]:
    """``sockets``, each several times for a loop that accepts one connection from each in a turn.

    Else a burst of connections while turns are long would keep whoever connects next waiting for as many turns.
    """
    if isinstance(loop, asyncio.BaseEventLoop):  # the standard library's accepts all that wait
        return sockets
    return [*sockets, *(one.dup() for one in sockets for _ in range(ACCEPTED_IN_A_TURN - 1))]


def adopt(
    reactor: Any, sockets: Sequence[socket.socket], factory: Factory, *, native: bool = True
) -> Deferred[Listener]:
    """Accept connections for ``factory`` from copies of sockets that listen already; all or none are Unix sockets."""
    loop = native_loop(reactor) if native else None
    if loop is not None and all(one.family != socket.AF_UNIX for one in sockets):
        return Deferred.fromCoroutine(_served(loop, [one.dup() for one in sockets], factory, BACKLOG))
    ports = [_adopted(reactor, one, factory) for one in sockets]
    name = sockets[0].getsockname()
    text, port = (_text(name[0], name[1]), name[1]) if isinstance(name, tuple) else (os.fsdecode(name), None)
    return succeed(Listener(text, port, lambda: DeferredList([_stop(each) for each in ports]).addCallback(_nothing)))


async def accept_waiting(
    reactor: Any, sockets: Sequence[socket.socket], factory: Factory, *, native: bool = True
) -> None:
    """Take every connection that waits in ``sockets`` for somebody to accept it."""
    loop = native_loop(reactor) if native else None
    build = cast("BuildProtocol", factory.buildProtocol)
    for one in sockets:
        while (connection := _next_waiting(one)) is not None:
            if loop is not None and one.family != socket.AF_UNIX:
                accepting = loop.connect_accepted_socket(lambda: NativeProtocol(loop, build), connection)
                await Deferred.fromFuture(asyncio.ensure_future(accepting, loop=loop))
            else:
                with connection:
                    reactor.adoptStreamConnection(connection.fileno(), one.family, factory)


def _next_waiting(one: socket.socket) -> socket.socket | None:
    try:
        connection, _ = one.accept()
    except OSError:  # none is left
        return None
    connection.setblocking(False)
    return connection


def _adopted(reactor: Any, one: socket.socket, factory: Factory) -> IListeningPort:
    port = reactor.adoptStreamPort(one.fileno(), one.family, factory)
    if one.family == socket.AF_UNIX:
        port._bindPath = "\0"  # its file is that of whoever bound it: Twisted would remove it,
        port._shouldShutdown = False  # and end it for everybody
    return cast("IListeningPort", port)


def bound(host: str, port: int, backlog: int = BACKLOG, reuse_port: bool = False) -> list[socket.socket]:
    """A listening socket for each address of ``host`` (empty: every interface; ``::``: IPv6 and IPv4 in one).

    Raises ``CannotListenError``.
    """
    try:
        return _bound(host, port, backlog, reuse_port)
    except OSError as problem:
        raise CannotListenError(host, port, _socket_error(problem)) from None


def _bound(host: str, port: int, backlog: int, reuse_port: bool) -> list[socket.socket]:
    flags = socket.AI_PASSIVE
    found = dict.fromkeys(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags))
    with contextlib.ExitStack() as undo:
        sockets = []
        for family, kind, protocol, _, address in found:
            one = undo.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)  # "::" is both
            one.bind(address)
            one.listen(backlog)
            one.setblocking(False)
            sockets.append(one)
        undo.pop_all()
        return sockets


def _socket_error(problem: OSError) -> OSError:
    """The reason with its symbolic name, in ``strerror``, which Twisted shows."""
    if isinstance(problem, socket.gaierror):
        return problem
    code = problem.errno or errno.EADDRNOTAVAIL
    return OSError(code, errno.errorcode.get(code, str(problem)) + ": " + str(problem.strerror or problem))


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
