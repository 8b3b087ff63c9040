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
        """Hand the connection over.

        Args:
            protocol: Gets every byte behind the 101, and the transport.
        """

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
        """A 1xx other than 101 came first.

        Args:
            head: Its head.
        """

    def responded(self, response: UpstreamResponse) -> None:
        """The final head is here.

        Args:
            response: The response; its body still arrives.
        """

    def failed(self, error: UpstreamError) -> None:
        """There will be no response.

        Args:
            error: Why.
        """


class UnderWay(Protocol):
    """A request to the backend. ``over``: it has come to its end, whatever that was."""

    over: bool

    def cancel(self) -> None:
        """Nobody wants the answer any more: aborts the exchange and its connection; the receiver hears nothing."""


class DirectUpstream(Protocol):
    """The way to the backend for whole requests that want no Deferred."""

    def send(self, request: OutgoingRequest, content: bytes, receiver: Receiver, peer: bytes) -> UnderWay:
        """:meth:`IUpstream.fetch` without a Deferred, for a request that is all here.

        Args:
            request: The head as it goes out.
            content: The whole body.
            receiver: Who is told what becomes of it; of a failure perhaps before this returns.
            peer: The client that it is for.

        Returns:
            What cancels it.
        """


class IUpstream(Interface):
    """The way to the one backend."""

    def fetch(
        request: RequestHead | OutgoingRequest,
        body: Body | None = None,
        on_interim: Callable[[ResponseHead], None] | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        """Send a request and fire with the final response's head; cancelling aborts the exchange and its connection.

        The request's fields go out as they are; the client adds only the framing of the body (``Content-Length`` if its
        length is known, else chunked) and its own ``Connection``.

        Args:
            request: The head, or the lines that it comes to.
            body: The body, which may still be arriving; None for none.
            on_interim: Called for each 1xx but 101.
            peer: The client that it is for, who has a share of the connections; without one there is no bound.

        Returns:
            The response, whose body still arrives.

        Raises:
            UpstreamError: There is no usable response.
        """

    def stop() -> Deferred[None]:
        """Close idle connections, let busy ones finish; fires when none is left."""
