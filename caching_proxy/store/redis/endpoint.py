"""The Twisted endpoint of a server: TCP, TLS with its certificate and name verified, or a Unix socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.transport.tls import PLATFORM, TLSConfig

Endpoints = Callable[[RedisTopology], IStreamClientEndpoint]
"""How to reach each server."""


def endpoint_for(
    reactor: IReactorTime, topology: RedisTopology, connect_timeout: float, tls: TLSConfig = PLATFORM
) -> IStreamClientEndpoint:
    """Where to connect; ``tls`` says whom ``rediss://`` trusts."""
    if topology.unix_path is not None:
        return cast("IStreamClientEndpoint", UNIXClientEndpoint(reactor, topology.unix_path, connect_timeout))
    plain = HostnameEndpoint(reactor, topology.host, topology.port, connect_timeout)
    if not topology.tls:
        return cast("IStreamClientEndpoint", plain)
    return wrapClientTLS(tls.client(topology.host), plain)
