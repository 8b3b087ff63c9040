"""What the parts of the server side know of each other: a request of its channel, a channel of its site.

The site makes channels and channels make requests; none of them needs to know the class of what made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.web.resource import IResource

from caching_proxy.http.body import Body
from caching_proxy.http.pieces import Content
from caching_proxy.server.batch import HotAnswer
from caching_proxy.server.connections import ConnectionSet
from caching_proxy.server.limits import Limits
from caching_proxy.server.pinned import Pinned
from caching_proxy.server.request_body import Budget
from caching_proxy.server.request_head import AnyHead, HeadParser
from caching_proxy.server.turn import Turn
from caching_proxy.transport.native import BytesProtocol


class LookUp(Protocol):
    """A request whose answer is looked for before anybody builds an object for it.

    Once it is started it tells the channel that it was given what to send (``answered``), or to walk the full path
    (``walk``): at once or later, and once.
    """

    def start(self) -> None: ...

    def client_left(self) -> None:
        """The connection is gone: nothing is to be told any more."""


Hot = Callable[[AnyHead, Any], HotAnswer | LookUp | None]
"""Answers a plain GET or HEAD with the exact bytes of a whole response, begins to look for them, or None to decline.
It is given the channel; one that does not wait gets no :class:`LookUp`."""


Pass = Callable[[AnyHead, Any, bytes | Body, Any], LookUp | None]
"""Passes on a head with all of its content, for which the cache has no answer, or None to decline, with nothing taken
from the content. It is given the channel, which waits, and the request, if one was made while the content came."""


class Site(Protocol):
    """What makes connections, as those see it."""

    resource: IResource
    clock: IReactorTime
    limits: Limits
    hot: Hot | None
    passing: Pass | None
    on_refused: Callable[[int, bytes], None] | None
    heads: HeadParser[Any, Any]
    connections: ConnectionSet
    pinned: Pinned
    turn: Turn
    uploads: Budget
    requestFactory: Any

    def date(self) -> bytes:
        """The value of ``Date`` now."""

    def getResourceFor(self, request: Any) -> IResource:
        """The resource that renders ``request``."""


class Channel(Protocol):
    """A connection, as the request under way on it sees it."""

    full: bool
    transport: ITransport

    @property
    def site(self) -> Site: ...

    @property
    def peer_host(self) -> bytes:
        """The peer's address in text, empty where it has none."""

    @property
    def scheme(self) -> bytes: ...

    def getPeer(self) -> IAddress: ...

    def getHost(self) -> IAddress: ...

    def seconds(self) -> float: ...

    def write(self, data: bytes) -> None: ...

    def write_content(self, head: bytes, content: Content) -> None: ...

    def connection_field(self, framed: bool) -> bytes: ...

    def unregisterProducer(self) -> None: ...

    def requestDone(self, request: object) -> None: ...

    def take_over(self, tunnel: BytesProtocol) -> bytes: ...

    def end_tunnel(self) -> None: ...

    def cut(self) -> None: ...

    def abort(self) -> None: ...
