"""The event loop's end of a connection of its own kind: it builds the Twisted protocol and hands it what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol

from caching_proxy.transport.native import BytesProtocol, NativeTransport

BuildProtocol = Callable[[IAddress], BytesProtocol | None]


class NativeProtocol(asyncio.Protocol):
    """The loop's end of a connection: builds the Twisted protocol when the connection is made.

    ``made`` is called after the protocol's ``makeConnection``.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, build: BuildProtocol, made: Callable[[], None] | None = None
    ) -> None:
        self._loop = loop
        self._build = build
        self._made = made
        self._transport: NativeTransport | None = None
        self._protocol: BytesProtocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        native = cast("asyncio.Transport", transport)
        wrapped = NativeTransport(native, self._loop)
        protocol = self._build(wrapped.getPeer())
        if protocol is None:
            native.abort()
            return
        self._transport, self._protocol = wrapped, protocol
        wrapped.protocol = protocol
        # Each chunk goes to the protocol without a Python frame between; uvloop looks the method up only when a
        # protocol is attached, hence the second attachment of the same object.
        self.data_received = protocol.dataReceived  # type: ignore[method-assign]
        native.set_protocol(self)
        protocol.makeConnection(wrapped)
        if self._made is not None:
            self._made()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.set_full(True)

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.set_full(False)

    def eof_received(self) -> bool:
        if self._protocol is not None and IHalfCloseableProtocol.providedBy(self._protocol):
            cast("IHalfCloseableProtocol", self._protocol).readConnectionLost()
            return True
        return end_input(self._protocol)  # False: the loop closes once what was written has been sent

    def connection_lost(self, exc: BaseException | None) -> None:
        transport, protocol = self._transport, self._protocol
        self._transport = self._protocol = None
        if transport is not None and protocol is not None:
            self.__dict__.pop("data_received", None)  # breaks the cycle through the bound method
            protocol.connectionLost(transport.lost(exc))


def end_input(protocol: object) -> bool:
    """Tell a protocol that its peer sends no more; whether it still answers what it has, and closes by itself. One that
    does nothing of the kind has no ``input_ended``."""
    ended: Callable[[], bool] | None = getattr(protocol, "input_ended", None)
    return ended is not None and ended()
