"""A ``twisted.web`` Request on our own channel.

``process`` runs when the head is complete; the body streams through ``body`` (``content`` stays None). Ordinary
resources answer as everywhere; the proxied path uses ``start_response``/``respond``, which send exactly the fields
they are given plus framing, and touches nothing of the machinery that it does not need.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http_headers import Headers
from zope.interface import alsoProvides

from caching_proxy.http.body import Body
from caching_proxy.http.framing import has_no_body
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.pieces import Content
from caching_proxy.server.request_body import Inbound
from caching_proxy.server.request_head import AnyHead
from caching_proxy.server.seams import Channel, Site
from caching_proxy.transport.native import BytesProtocol

MAX_INTERIM = 32
"""Interim responses to one request that are passed on: they are hints, and a backend may send them without end."""

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_PROTOCOLS = (b"HTTP/1.0", b"HTTP/1.1")


class ProxyRequest(server.Request):
    """One request. ``head`` is what the client sent, ``received_at`` POSIX seconds at the end of the head.

    After a disconnect, or :meth:`abort`, everything that writes does nothing; ``notifyFinish`` tells.
    """

    channel: Channel | None  # type: ignore[assignment]
    site: Site  # type: ignore[assignment]
    _log = Logger()
    _interim = 0  # responses before the final one so far
    plan: Any = None
    """What the hot path found out of the head before it declined it."""

    def __init__(self, channel: Channel, parsed: AnyHead, body: Body | None, inbound: Inbound | None = None) -> None:
        # Not the base's __init__: it builds header objects and addresses that most requests never look at.
        head = parsed.head
        self.head: RequestHead = head
        self.received_at: float = channel.seconds()
        self.method = head.method
        self.uri = head.target
        self.path = head.target.partition(b"?")[0]
        self.clientproto = _PROTOCOLS[head.minor]
        self.channel = channel
        self.site = channel.site
        self.transport = channel.transport
        self.notifications = []
        self.cookies = []
        self.queued = False
        self._connection = channel
        self._inbound = inbound
        self._body = body
        self._expects = parsed.meaning.expects
        self._adapterCache: dict[object, object] = {}
        self._direct = False
        self._silent = False  # no content goes out: HEAD, 204, 304
        self._left: int | None = None  # bytes of content still owed under a Content-Length
        self._args: dict[bytes, list[bytes]] | None = None
        self._requestHeaders: Headers | None = None
        self._responseHeaders: Headers | None = None
        self._received_cookies: dict[bytes, bytes] | None = None
        self.on_lost: Callable[[], None] | None = None
        """Called once if the client leaves before the response is complete; cheaper than ``notifyFinish``."""

    # -- the request -----------------------------------------------------------------------------

    @property
    def body(self) -> Body:
        """The content of the request, for one reader."""
        if self._body is None:
            self._body = Body.of(b"")
        return self._body

    @property
    def client_ip(self) -> bytes:
        """The peer's address in text; empty on a Unix socket."""
        return self._connection.peer_host

    @property
    def scheme(self) -> bytes:
        """``http`` or ``https``."""
        return self._connection.scheme

    @property
    def client(self) -> IAddress:
        return self._connection.getPeer()

    @property
    def host(self) -> IAddress:
        return self._connection.getHost()

    @property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        if self._args is None:
            self._args = parse_qs(self.uri.partition(b"?")[2], keep_blank_values=True)
        return self._args

    @property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        if self._requestHeaders is None:
            self._requestHeaders = Headers()
            for name, value in self.head.fields:
                self._requestHeaders.addRawHeader(name, value)
        return self._requestHeaders

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override]
        if self._responseHeaders is None:
            self._responseHeaders = Headers()
        return self._responseHeaders

    @property
    def received_cookies(self) -> dict[bytes, bytes]:  # type: ignore[override]
        if self._received_cookies is None:
            pairs = (part.partition(b"=") for line in self.head.fields.all(b"cookie") for part in line.split(b";"))
            self._received_cookies = {name.strip(): value for name, equals, value in pairs if equals}
        return self._received_cookies

    @property
    def disconnected(self) -> bool:
        """Whether the client is gone."""
        return bool(self._disconnected)

    @property
    def unanswered_expectation(self) -> bool:
        """Whether the client waits for 100 Continue, so that nobody knows if the body will come (RFC 9110 §10.1.1)."""
        return self._expects and self._inbound is not None and not self._inbound.received

    def settle(self) -> None:
        """The request was answered elsewhere: what was kept of its body counts no longer."""
        if self._inbound is not None:
            self._inbound.settle()

    def process(self) -> None:
        """Find the resource and let it render; runs at the end of the head."""
        try:
            resource = self.site.resource
            if not resource.isLeaf:
                self.prepath = []
                self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
                resource = self.site.getResourceFor(self)
            self.render(resource)
        except Exception:  # noqa: BLE001 a resource may raise anything; it is logged and answered
            self.processingFailed(Failure())

    def processingFailed(self, reason: Failure) -> Failure:
        """Log, and answer 500 without saying why; a response under way is cut off."""
        self._log.failure("request failed", failure=reason)
        if self.startedWriting:
            self.abort()
        elif not self._disconnected and not self.finished:
            head = ResponseHead(500, b"Internal Server Error", Fields([(b"Content-Type", b"application/json")]))
            self.respond(self.dated(head), json.dumps({"error": "internal error"}).encode())
        return reason

    # -- the response, exactly as given ----------------------------------------------------------

    def write_interim(self, head: ResponseHead) -> None:
        """Relay a 1xx; nothing for HTTP/1.0 clients (RFC 9110 §15.2) or once the response has begun.

        A client that does not read misses all but 100 Continue, and none gets more than :data:`MAX_INTERIM`.
        """
        channel = self.channel
        if channel is None or self.startedWriting or self.head.minor < 1 or self._interim >= MAX_INTERIM:
            return
        if head.status == 100 or not channel.full:
            self._interim += 1
            channel.write(_start(head) + b"\r\n")

    def send_continue(self) -> None:
        """Ask a client that waits for it to send the body."""
        if self.unanswered_expectation:
            self.write_interim(ResponseHead(100, b"Continue"))
            self._expects = False

    def dated(self, head: ResponseHead) -> ResponseHead:
        """``head`` with ``Date``, which every final answer has (RFC 9110 §6.6.1)."""
        if b"date" in head.fields:
            return head
        return ResponseHead(head.status, head.reason, head.fields.plus((b"Date", self.site.date())), head.minor)

    def start_response(self, head: ResponseHead, length: int | None) -> None:
        """Send ``head``: its fields in order and spelling, then framing.

        ``length`` is the size of the content in bytes: written as ``Content-Length`` unless the fields have it. None =
        unknown: chunked, or closed at the end for HTTP/1.0 (RFC 9112 §6.1). With HEAD and 304 the fields' own
        ``Content-Length`` is left as it is.
        """
        if self.channel is not None and not self.startedWriting:
            self.channel.write(self._head(head, length))

    def respond(self, head: ResponseHead, body: Content, framed: bool = False) -> None:
        """The whole response at once, and :meth:`finish`; a long body is shared, not copied.

        ``framed``: the fields have the Content-Length of ``body`` and nothing else about framing, and ``body`` does
        go with the response.
        """
        channel = self.channel
        if channel is None or self.startedWriting:
            return
        if framed:
            self.startedWriting = 1
            self._direct = True
            self.code = head.status
            channel.write_content(b"%b%b\r\n" % (_start(head), channel.connection_field(True)), body)
        else:
            data = self._head(head, len(body))
            channel.write_content(data, b"" if self._silent else body)
            self._left = 0
        self.finish()

    def _settle(self, head: ResponseHead, length: int | None) -> tuple[Fields, bytes]:
        """The response begins: its fields, and the line about its length if they need one."""
        self.startedWriting = 1
        self._direct = True
        self.code = head.status
        fields, framing = head.fields, b""
        self._silent = has_no_body(self.method, head.status)
        if self._silent:
            if head.status == 204 or head.status < 200:
                fields = fields.without(_FRAMING)  # RFC 9110 §8.6
            elif length and head.status != 304 and self.method == b"HEAD" and b"content-length" not in fields:
                framing = b"Content-Length: %d\r\n" % length
        elif length is not None:
            self._left = length
            if fields.all(b"content-length") != [b"%d" % length] or b"transfer-encoding" in fields:
                fields = fields.without(_FRAMING)
                framing = b"Content-Length: %d\r\n" % length
        else:
            fields = fields.without(_FRAMING)
        return fields, framing

    def _head(self, head: ResponseHead, length: int | None) -> bytes:
        fields, framing = self._settle(head, length)
        framed = self._silent or length is not None or bool(self.head.minor)
        if framed and length is None and not self._silent:
            self.chunked = 1
            framing = b"Transfer-Encoding: chunked\r\n"
        assert self.channel is not None
        closing = self.channel.connection_field(framed)
        if fields is not head.fields:
            head = ResponseHead(head.status, head.reason, fields)
        return b"%b%b%b\r\n" % (_start(head), framing, closing)

    def write(self, data: bytes) -> None:
        """Send content; what exceeds the announced length is dropped."""
        if not self._direct:
            super().write(data)  # type: ignore[no-untyped-call]
            return
        if not data or self._silent or self.channel is None:
            return
        if self._left is not None:
            if len(data) > self._left:
                data = data[: self._left]
            self._left -= len(data)
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.sentLength += len(data)
        self.channel.write(data)

    def finish(self) -> None:
        """The response is complete; with less content than announced the connection is dropped (RFC 9112 §8)."""
        if self._disconnected or self.finished:
            return
        if not self._direct:
            super().finish()  # type: ignore[no-untyped-call]
            return
        if self._left and not self._silent:
            self.abort()
            return
        if self.chunked and self.channel is not None:
            self.channel.write(b"0\r\n\r\n")
        self.finished = 1
        self._cleanup()

    def _cleanup(self) -> None:
        channel, self.channel = self.channel, None
        if channel is None:
            return
        if self.producer:
            channel.unregisterProducer()
            self.producer = None
        self.on_lost = None
        if self._inbound is not None:
            self._inbound.settle()
        notifications, self.notifications = self.notifications, []
        for done in notifications:
            done.callback(None)
        channel.requestDone(self)

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.channel is not None:
            self.channel.unregisterProducer()

    def abort(self) -> None:
        """End the connection in the middle of the response, so that the client cannot take it for complete.

        Where the framing shows that something is missing, what was written is still sent (RFC 9112 §8); where only
        the end of the connection would delimit the content, that end has to be a reset.
        """
        channel = self.channel
        if channel is None:
            return
        if self._direct and (self.chunked or self._left is not None or self._silent):
            channel.cut()
        else:
            channel.abort()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone, or its request turned out to be unusable: ``notifyFinish`` fails with ``reason``."""
        self._disconnected = True
        if self._inbound is not None:
            self._inbound.settle()
        self.channel = None
        self.producer = None
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()
        notifications, self.notifications = self.notifications, []
        for done in notifications:
            done.errback(reason)

    def take_over(self, head: ResponseHead, tunnel: BytesProtocol) -> tuple[ITransport, bytes]:
        """Send ``head`` (a 101) and give the raw connection to ``tunnel``.

        ``tunnel`` gets ``dataReceived`` and ``connectionLost``; it writes to the transport returned, may register a
        producer there, and first deals with the bytes returned, which were read already. ``notifyFinish`` fails when
        the connection ends. A half-closeable ``tunnel`` also hears of the end of the client's half.
        """
        if self.channel is None or self.startedWriting:
            raise RuntimeError("the connection is not there to be taken")
        self.startedWriting = 1
        self._direct = self._silent = True
        self.code = head.status
        self.channel.write(_start(head) + b"\r\n")
        if IHalfCloseableProtocol.providedBy(tunnel):
            for name in ("readConnectionLost", "writeConnectionLost"):
                setattr(self._connection, name, getattr(tunnel, name))
            alsoProvides(self._connection, IHalfCloseableProtocol)
        return self._connection.transport, self.channel.take_over(tunnel)

    def end_tunnel(self) -> None:
        """Close a connection that was taken over, once all is sent, within the write deadline."""
        if self.channel is not None:
            self.channel.end_tunnel()


def _start(head: ResponseHead) -> bytes:
    """Status line and fields; the version is this server's own (RFC 9110 §6.2)."""
    return b"HTTP/1.1 %d %b\r\n%b" % (head.status, head.reason, head.fields.encoded())
