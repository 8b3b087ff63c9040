"""The factory of client connections: a ``twisted.web`` Site without its access log, sessions and timers."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.web.resource import IResource, getChildForRequest

from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.connections import ConnectionSet
from caching_proxy.server.limits import DEFAULT_LIMITS, Limits
from caching_proxy.server.peer import host_of
from caching_proxy.server.pinned import Pinned
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.request_body import Budget
from caching_proxy.server.request_head import HeadParser
from caching_proxy.server.seams import Hot, Pass
from caching_proxy.server.turn import Turn

UPLOADS = 32
"""How many uploads of the longest kind may be kept at once; further ones are passed on as they come."""


class ProxySite(Factory):
    """Serves ``resource`` over HTTP/1.x.

    ``clock`` times what waits, ``wall`` gives the POSIX seconds of ``Date``. ``hot`` is asked before a request is
    built, and ``passing`` of what that is not for; either may be set later. ``on_refused`` hears status and peer of
    every error that the channel answered by itself.
    """

    noisy = False
    displayTracebacks = False
    isLeaf = False

    def __init__(
        self,
        resource: IResource,
        clock: IReactorTime,
        *,
        wall: IReactorTime | None = None,
        limits: Limits = DEFAULT_LIMITS,
        hot: Hot | None = None,
        passing: Pass | None = None,
        max_connections: int | None = None,
        max_per_peer: int | None = None,
        on_refused: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.resource = resource
        self.clock = clock
        self._wall = wall if wall is not None else clock
        self.limits = limits
        self.hot = hot
        self.passing = passing
        self.on_refused = on_refused
        self.heads: HeadParser[Any, Any] = HeadParser(limits)
        self.connections = ConnectionSet(clock, max_connections, max_per_peer)
        self.requestFactory: type[ProxyRequest] = ProxyRequest
        self.pinned = Pinned()
        self.turn = Turn(clock)
        self.uploads = Budget(UPLOADS * limits.buffer_bytes)
        self._date = (0, b"")

    def buildProtocol(self, addr: IAddress | None) -> HTTPChannel | None:  # type: ignore[override]
        """A channel, or None (the connection is dropped) beyond the bounds on connections."""
        if not self.connections.allows(host_of(addr)):
            return None
        return HTTPChannel(self)

    def date(self) -> bytes:
        """The value of ``Date`` now, formatted once a second (RFC 9110 §6.6.1)."""
        now = int(self._wall.seconds())
        if self._date[0] != now:
            self._date = (now, formatdate(now, usegmt=True).encode("ascii"))
        return self._date[1]

    def getResourceFor(self, request: ProxyRequest) -> IResource:
        """The resource that renders ``request``; a leaf at the root is taken without looking at the path."""
        resource: IResource = self.resource
        if not resource.isLeaf:
            resource = getChildForRequest(resource, request)
        return resource

    def log(self, request: object) -> None:
        """Access lines are the application's business."""
