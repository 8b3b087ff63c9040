"""A Twisted client endpoint on the native event loop, for protocols that others write.

Bytes go from uvloop straight into the protocol and out again in the same turn; through the reactor's own sockets a
round trip costs two more turns of the loop.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from caching_proxy.transport.connect import connect_native, connect_native_unix
from caching_proxy.transport.native import native_loop

_NOWHERE = UNIXAddress(None)  # which of the server's addresses was reached is known only later


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class NativeEndpoint:
    """Connects to ``path`` if it is given, else to ``host``:``port``, within ``timeout`` seconds.

    ``reactor`` must have a native loop when :meth:`connect` is called; it is asked for it each time, because
    daemonising replaces it.
    """

    reactor: Any
    host: str
    port: int
    timeout: float
    path: str | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the connected protocol; fails with Twisted's errors of connecting."""
        loop = native_loop(self.reactor)
        if loop is None:
            return fail(RuntimeError("the reactor has no native loop"))

        def build() -> Any:
            return protocolFactory.buildProtocol(_NOWHERE)

        if self.path is not None:
            return connect_native_unix(loop, build, self.path, timeout=self.timeout, clock=self.reactor)
        return connect_native(loop, build, self.host, self.port, timeout=self.timeout, clock=self.reactor)
