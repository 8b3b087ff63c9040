"""A request on its way to the backend: its bytes, and the part of its body that is still to come.

The head is written anew from parsed parts; the only framing in it is the one chosen here. A body that is
already complete goes out in the same write as the head; any other is streamed with back-pressure.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.body import Body
from caching_proxy.http.messages import NO_FIELDS, Fields
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError

_EXPECTING_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


class RequestBodyFailed(UpstreamError):
    """The request's own body did not arrive whole; ``__cause__`` says why where that is known."""


def request_bytes(request: OutgoingRequest, body: Body | None) -> tuple[bytes, Body | None]:
    """The head, with the whole body where that is here already, and else the body to stream after it.

    Raises :class:`UpstreamProtocolError` for a head that would read as something else on the wire.
    """
    if body is None:
        return head_bytes(request, 0), None
    if not body.complete:
        return head_bytes(request, body.length), body
    content = body.take()
    return head_bytes(request, len(content)) + content, None


def head_bytes(request: OutgoingRequest, length: int | None) -> bytes:
    """The head, for a body of so many bytes or, with None, in chunks; raises as :func:`request_bytes`."""
    breaks = request.count + 3
    if length is None:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif length or request.method in _EXPECTING_CONTENT:  # RFC 9110 §8.6
        framing = b"Content-Length: %d\r\n" % length
    else:
        framing = b""
        breaks -= 1
    head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (request.method, request.target, request.lines, framing)
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b" " in request.target:
        raise UpstreamProtocolError("the request cannot be written: stray line break or space")
    return head


class Uploading(Protocol):
    """The connection, as an upload sees it."""

    def upload_moved(self) -> None:
        """Bytes went out, or it became clear who waits for whom."""

    def upload_ended(self) -> None:
        """The whole request has been written."""

    def upload_failed(self, error: UpstreamError) -> None:
        """The rest of the body will not come."""


class Consumer(Protocol):
    """The part of a transport that an upload uses."""

    def write(self, data: bytes) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


@implementer(IPushProducer)
class Upload:
    """Writes a streaming body behind its head; pauses the body while the transport is full.

    ``blocked`` says that the backend does not take what was sent.
    """

    __slots__ = ("_body", "_connection", "_ended", "_left", "_pending", "_transport", "blocked", "started")

    def __init__(self, head: bytes, body: Body, transport: Consumer, connection: Uploading) -> None:
        self.blocked = False
        self.started = False
        self._pending = head  # waits for the first bytes of the body, so that they share a write
        self._body: Body | None = body
        self._left = body.length
        self._ended = False
        self._transport = transport
        self._connection = connection

    def start(self) -> None:
        """Send the head and whatever of the body is here."""
        body = self._body
        self._transport.registerProducer(self, True)
        if body is None:
            return
        body.attach(self)
        if self._pending:
            head, self._pending = self._pending, b""
            self._transport.write(head)

    def stop(self) -> None:
        """Send nothing more."""
        body, self._body = self._body, None
        self._pending = b""
        if body is not None:
            self._transport.unregisterProducer()
            body.cancel()

    # -- Sink

    def received(self, data: bytes) -> None:
        if self._body is None or not data:  # an empty chunk would end the body
            return
        self.started = True
        if self._left is None:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        else:
            self._left -= len(data)
            if self._left < 0:
                self._connection.upload_failed(RequestBodyFailed("the request body is longer than announced"))
                return
        self._write(data)
        self._connection.upload_moved()

    def ended(self, trailers: Fields = NO_FIELDS) -> None:
        if self._body is None:
            return
        if self._left:
            self._connection.upload_failed(RequestBodyFailed("the request body is shorter than announced"))
            return
        if self._left is None:
            self._write(b"0\r\n\r\n")  # trailers end here (RFC 9110 §6.5.1 allows that)
        self._ended = True
        if not self.blocked:
            self._finish()

    def failed(self, reason: Failure) -> None:
        if self._body is None:
            return
        error = RequestBodyFailed(f"the request body failed: {reason.getErrorMessage()}")
        error.__cause__ = reason.value
        self._connection.upload_failed(error)

    # -- IPushProducer

    def pauseProducing(self) -> None:
        self.blocked = True
        self._connection.upload_moved()
        if self._body is not None:
            self._body.pause()

    def resumeProducing(self) -> None:
        self.blocked = False
        self._connection.upload_moved()
        if self._ended:
            self._finish()
        elif self._body is not None:
            self._body.resume()

    def stopProducing(self) -> None:
        """The connection is gone; its protocol hears of it as well and stops this upload."""

    def _write(self, data: bytes) -> None:
        if self._pending:
            data, self._pending = self._pending + data, b""
        self._transport.write(data)

    def _finish(self) -> None:
        if self._body is not None:
            self._body = None
            self._transport.unregisterProducer()
            self._connection.upload_ended()
