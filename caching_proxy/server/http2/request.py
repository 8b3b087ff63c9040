"""A request of an HTTP/2 stream: the one of HTTP/1.1, whose answer is told in frames."""

from __future__ import annotations

from typing import cast

from caching_proxy.http.body import Body
from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.pieces import Content
from caching_proxy.server.http2.heads import response_fields
from caching_proxy.server.http2.seams import FramedChannel
from caching_proxy.server.request import MAX_INTERIM, ProxyRequest
from caching_proxy.server.request_body import Inbound
from caching_proxy.server.request_head import AnyHead


class StreamRequest(ProxyRequest):
    """See :class:`ProxyRequest`. ``channel`` is the stream."""

    def __init__(
        self, channel: FramedChannel, parsed: AnyHead, body: Body | None, inbound: Inbound | None = None
    ) -> None:
        super().__init__(channel, parsed, body, inbound)
        self.clientproto = b"HTTP/2"

    @property
    def _stream(self) -> FramedChannel | None:
        return cast("FramedChannel | None", self.channel)

    def write_interim(self, head: ResponseHead) -> None:
        stream = self._stream
        if stream is None or self.startedWriting or self._interim >= MAX_INTERIM:
            return
        if head.status == 100 or not stream.full:
            self._interim += 1
            stream.send_head(response_fields(head.status, head.fields))

    def start_response(self, head: ResponseHead, length: int | None) -> None:
        stream = self._stream
        if stream is not None and not self.startedWriting:
            fields, framing = self._settle(head, length)
            stream.send_head(_lines(head.status, fields.pairs, framing), ends=self._silent)

    def respond(self, head: ResponseHead, body: Content, framed: bool = False) -> None:
        stream = self._stream
        if stream is None or self.startedWriting:
            return
        fields, framing = self._settle(head, len(body))
        stream.answer(_lines(head.status, fields.pairs, framing), b"" if self._silent else body)
        self._left = 0
        self.finish()

    def abort(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.cut()


def _lines(status: int, pairs: tuple[tuple[bytes, bytes], ...], framing: bytes) -> list[tuple[bytes, bytes]]:
    found = response_fields(status, pairs)
    if framing:
        found.append((b"content-length", framing[len(b"Content-Length: ") : -2]))
    return found
