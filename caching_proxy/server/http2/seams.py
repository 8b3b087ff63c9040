"""What requests, streams and connections of HTTP/2 know of each other."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, ITransport

from caching_proxy.http.messages import Field
from caching_proxy.http.pieces import Content
from caching_proxy.server.seams import Channel


class FramedChannel(Channel, Protocol):
    """A stream, as its request sees it."""

    def send_head(self, fields: list[Field], ends: bool = False) -> None: ...

    def answer(self, fields: list[Field], content: Content) -> None: ...


class StreamsConnection(Protocol):
    """A connection, as its streams see it."""

    site: Any
    transport: ITransport
    full: bool
    kept: int

    @property
    def peer_host(self) -> bytes: ...

    @property
    def scheme(self) -> bytes: ...

    def isSecure(self) -> bool: ...

    def getPeer(self) -> IAddress: ...

    def getHost(self) -> IAddress: ...

    def seconds(self) -> float: ...

    def told(self, head: bytes) -> list[Field]: ...

    def send_head(self, stream: Any, fields: list[Field], ends: bool) -> None: ...

    def send_reset(self, stream: Any, code: int) -> None: ...

    def linger(self, stream: Any) -> None: ...

    def give_back(self, number: int, size: int) -> None: ...

    def ready(self, stream: Any) -> None: ...

    def flush(self) -> None: ...

    def closed(self, stream: Any) -> None: ...
