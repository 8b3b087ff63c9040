"""What an endpoint description puts around a factory: TLS for ``ssl:…``, the PROXY protocol for ``haproxy:…``.

A worker accepts from sockets that the supervisor has opened by the description. The endpoint is asked to listen all the
same, on a reactor that opens nothing and keeps what it is given.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory


class _Nothing:
    """Opens nothing; ``factory`` is what would have been listening."""

    factory: Factory | None = None

    def listenTCP(self, port: int, factory: Factory, *_: Any, **__: Any) -> _Nothing:
        self.factory = factory
        return self

    def listenUNIX(self, address: str, factory: Factory, *_: Any, **__: Any) -> _Nothing:
        self.factory = factory
        return self

    def listenSSL(self, port: int, factory: Factory, contextFactory: Any, *_: Any, **__: Any) -> _Nothing:
        self.factory = cast("Factory", TLSMemoryBIOFactory(contextFactory, False, factory))
        return self


def endpoint_factory(where: str, factory: Factory) -> Factory:
    """``factory`` as the endpoint ``where`` would listen with it. Raises what parsing ``where`` raises."""
    if where.startswith("systemd:"):  # its sockets are found by the supervisor alone, and stand as they are
        return factory
    nothing = _Nothing()
    maybeDeferred(serverFromString(nothing, where).listen, factory).addErrback(lambda _: None)
    if nothing.factory is None:
        raise ValueError(f"{where} cannot be shared by several workers")
    return nothing.factory
