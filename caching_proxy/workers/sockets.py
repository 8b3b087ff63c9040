"""The listening sockets that all workers share; the supervisor holds them for as long as there shall be a port.

A TCP port of our own has a socket for each slot (``SO_REUSEPORT``), among which the kernel deals out connections. A
socket outlives its worker: what is waiting in it is answered by whoever is given it. Where the kernel cannot deal, and
for sockets that others have made (systemd, Unix sockets), all workers share one.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from caching_proxy.server.endpoint_factory import endpoint_factory
from caching_proxy.server.listener import BACKLOG, bound

DEALS = sys.platform == "linux"
"""Whether ``SO_REUSEPORT`` spreads connections; elsewhere it means that the last one gets all."""


@attrs.define(slots=True, eq=False)
class SharedPort:
    """``slots``: for each slot the sockets from which its worker accepts; ``address`` is readable text."""

    address: str
    slots: list[list[socket.socket]]
    _port: IListeningPort | None = None

    def close(self) -> Deferred[None]:
        """Let go of the sockets; a Unix socket's file goes too."""
        for each in {id(one): one for some in self.slots for one in some}.values():
            each.close()
        if self._port is not None:
            return maybeDeferred(self._port.stopListening).addCallback(lambda _: None)
        return succeed(None)


def share(reactor: Any, where: str | tuple[str, int], count: int) -> Deferred[SharedPort]:
    """Bind sockets for ``count`` workers at a ``(host, port)`` pair or a Twisted endpoint description.

    Fails as :func:`caching_proxy.server.listener.listen` does; at once, if it can.
    """
    if isinstance(where, str):
        shareable = maybeDeferred(endpoint_factory, where, Factory())
        listening = shareable.addCallback(lambda factory: serverFromString(reactor, where).listen(factory))
        return listening.addCallback(_shared_by_all, count)
    return maybeDeferred(_dealt, *where, count)


def _dealt(host: str, port: int, count: int) -> SharedPort:
    # Without the option at first: with it we would join whoever else of this user listens there, unnoticed.
    first = bound(host, port)
    text = _text(first)
    if not DEALS:
        return SharedPort(text, [first] * count)
    if port == 0:
        port = first[0].getsockname()[1]
    for one in first:
        one.close()
    with contextlib.ExitStack() as undo:
        slots = []
        for _ in range(count):
            slots.append(bound(host, port, BACKLOG, True))
            for one in slots[-1]:
                undo.enter_context(one)
        undo.pop_all()
    return SharedPort(text, slots)


def _shared_by_all(port: Any, count: int) -> SharedPort:
    """What an endpoint has bound. The port stays as it is, and stops to accept: we never read from it."""
    port.stopReading()
    port._shouldShutdown = False  # closing ours must not end theirs
    one = socket.socket(fileno=socket.dup(port.fileno()))
    return SharedPort(_text([one]), [[one]] * count, port)


def _text(sockets: Sequence[socket.socket]) -> str:
    name = sockets[0].getsockname()
    if not isinstance(name, tuple):
        return str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
