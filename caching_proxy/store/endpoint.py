"""The Twisted endpoint of a server: TCP, TLS with its certificate and name verified, or a Unix socket."""

from __future__ import annotations

from typing import cast

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS

from caching_proxy.store.topology import RedisTopology


def endpoint_for(
    reactor: IReactorTime, topology: RedisTopology, connect_timeout: float, trust_root: Certificate | None = None
) -> IStreamClientEndpoint:
    """Where to connect. ``trust_root`` replaces the platform's authorities."""
    if topology.unix_path is not None:
        return cast("IStreamClientEndpoint", UNIXClientEndpoint(reactor, topology.unix_path, connect_timeout))
    plain = HostnameEndpoint(reactor, topology.host, topology.port, connect_timeout)
    if not topology.tls:
        return cast("IStreamClientEndpoint", plain)
    options = optionsForClientTLS(topology.host, trustRoot=trust_root)  # None: the platform's
    return wrapClientTLS(options, plain)
