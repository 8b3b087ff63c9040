"""What a connection of HTTP/1.1 adds to the head of a response: whether it persists (RFC 9112 §9.3), and the date."""

from __future__ import annotations

from typing import cast

from twisted.web.http_headers import Headers

from caching_proxy.http.framing import has_no_body
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.seams import Site
from caching_proxy.server.sending import SendingHalf


class AnsweringHalf(SendingHalf):
    """``request`` is the one under way; ``persists``: the connection outlives it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.clock, site.limits, site.pinned, site.turn)
        self.site = site
        self.request: ProxyRequest | None = None
        self.persists = True

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """The head of an ordinary resource's response; adds ``Date`` and what the connection needs."""
        request = cast("ProxyRequest", self.request)
        lines = [b"HTTP/1.1 %b %b\r\n" % (code, reason)]
        if not headers.hasHeader(b"Date"):
            lines.append(b"Date: %b\r\n" % self.site.date())
        lines += [b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        framed = headers.hasHeader(b"Content-Length") or headers.hasHeader(b"Transfer-Encoding")
        lines.append(self.connection_field(framed or has_no_body(request.method, int(code))))
        lines.append(b"\r\n")
        self.write(b"".join(lines))

    def connection_field(self, framed: bool) -> bytes:
        """Settle whether the connection outlives this response, and the field line that says so (RFC 9112 §9.6).

        ``framed``: the client can tell where the response ends without a close.
        """
        request = self.request
        assert request is not None
        if not framed or self.site.connections.draining or request.unanswered_expectation:
            self.persists = False
        if not self.persists:
            return b"Connection: close\r\n"
        return b"" if request.head.minor >= 1 else b"Connection: keep-alive\r\n"
