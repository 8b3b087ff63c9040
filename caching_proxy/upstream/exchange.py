"""What a backend connection and the pool behind it know of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from caching_proxy.http.body import Body
from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamResponse

C = TypeVar("C", contravariant=True)


class Unanswered(UpstreamProtocolError):
    """The connection ended before any byte of a response."""


class Exchange(Protocol):
    """A request under way, as its connection sees it; exactly one of the two methods is called, once.

    ``now`` is the moment when the head arrived."""

    request: OutgoingRequest
    data: bytes
    """The head; the whole body too where that was complete."""
    body: Body | None
    """What is to be streamed after ``data``."""
    on_interim: Callable[[ResponseHead], None] | None

    def responded(self, response: UpstreamResponse, now: float) -> None: ...

    def failed(self, error: UpstreamError) -> None: ...


class Owner(Protocol[C]):
    """Who keeps the connections."""

    def released(self, connection: C, now: float) -> None:
        """The exchange is over and the connection may serve another one."""

    def lost(self, connection: C, exchange: Exchange | None, error: UpstreamError) -> None:
        """The connection is gone; ``exchange`` has not been answered and is the owner's to fail with ``error``."""

    def switched(self, connection: C) -> None:
        """The connection no longer speaks HTTP; :meth:`lost` tells of its end."""

    def truncated(self) -> None:
        """A response body ended early."""
