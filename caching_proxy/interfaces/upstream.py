"""The seam of the backend: how it is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from zope.interface import Interface

from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.http.values import transient


class UpstreamError(Exception):
    """The backend gave no usable response."""


class UpstreamUnreachable(UpstreamError):
    """Connection refused, name not resolved, TLS failed: answered with 502."""


class UpstreamTimeout(UpstreamError):
    """No connection or no bytes within the time allowed: answered with 504."""


class UpstreamProtocolError(UpstreamError):
    """The connection ended before a response head was complete, or the head was not HTTP: answered with 502."""


class IncompleteBody(UpstreamError):
    """The response body ended before its framing said so (RFC 9112 §8); reported through ``Body``."""


class Switched(Protocol):
    """The raw connection to the backend after its 101; whoever is handed one starts or aborts it."""

    def start(self, protocol: IProtocol) -> None:
        """Give ``protocol`` the connection and every byte behind the 101."""

    def close(self) -> None:
        """Close once all is sent."""

    def abort(self) -> None:
        """Drop the connection."""


@transient(slots=True, eq=False)
class UpstreamResponse:
    """A final response whose body is still arriving.

    ``head`` holds the fields as received (obs-fold and stray spaces mended) with hop-by-hop fields still in place.
    ``length`` is the number of body bytes announced, 0 when there can be none, None when only the end tells.
    Whoever takes the response must consume or cancel ``body``. ``tunnel`` is set for a 101 only.
    """

    head: ResponseHead
    body: Body
    length: int | None
    reused: bool = False
    tunnel: Switched | None = None


class Receiver(Protocol):
    """The sender of a request without a Deferred: ``responded`` or ``failed`` is called, once."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx other than 101 came first."""

    def responded(self, response: UpstreamResponse) -> None:
        """The final head is here."""

    def failed(self, error: UpstreamError) -> None:
        """There will be none."""


class UnderWay(Protocol):
    """A request to the backend that has not been answered."""

    def cancel(self) -> None:
        """Nobody wants the answer any more: aborts the exchange and its connection; the receiver hears nothing."""


class DirectUpstream(Protocol):
    """The way to the backend for whole requests that want no Deferred."""

    def send(self, request: OutgoingRequest, content: bytes, receiver: Receiver, peer: bytes) -> UnderWay:
        """As :meth:`IUpstream.fetch` with a body that is all here; ``receiver`` may hear of a failure at once."""


class IUpstream(Interface):
    """The way to the one backend."""

    def fetch(
        request: RequestHead | OutgoingRequest,
        body: Body | None = None,
        on_interim: Callable[[ResponseHead], None] | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        """Send ``request`` and fire with the final response's head.

        The request's fields go out as they are; the client adds only the framing of ``body`` (``Content-Length`` if the
        body's length is known, else chunked) and its own ``Connection``. ``on_interim`` is called for each 1xx but
        101. ``peer`` is the client that it is for, who has a share of the connections; without one there is no bound.
        Fails with an :class:`UpstreamError`; cancelling aborts the exchange and its connection.
        """

    def stop() -> Deferred[None]:
        """Close idle connections, let busy ones finish; fires when none is left."""
