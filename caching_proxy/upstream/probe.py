"""Whether something accepts connections at an address."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from caching_proxy.interfaces import UpstreamUnreachable

SECONDS = 2.0


def reach(reactor: Any, host: str, port: int) -> Deferred[None]:
    """Open a TCP connection and close it again.

    Args:
        reactor: What connects.
        host: A name or an address.
        port: A TCP port.

    Returns:
        A Deferred that fires when that worked; fails with :class:`UpstreamUnreachable` within two seconds if not.
    """
    connecting = connectProtocol(HostnameEndpoint(reactor, host, port, timeout=SECONDS), Protocol())
    done: Deferred[None] = connecting.addCallbacks(_hang_up, _unreachable)
    return done


def _hang_up(protocol: Protocol) -> None:
    if protocol.transport is not None:
        protocol.transport.loseConnection()


def _unreachable(failure: Failure) -> None:
    raise UpstreamUnreachable(failure.getErrorMessage())
