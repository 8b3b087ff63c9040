"""The body of a request in a stream: it ends with the stream, and is as long as its Content-Length says."""

from __future__ import annotations

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.request_body import Inbound


class StreamBody(Inbound):
    """A body that ends with its stream."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; raises :class:`BadMessage`. Nothing is ever left over."""
        if not self.broken and data:
            if self._decoder is None:
                if len(data) > self._left:
                    raise BadMessage(400, "more content than Content-Length says")
                self._left -= len(data)
            self._pass_on(data)
        return b""

    def ended(self) -> None:
        """The client has sent all of it; raises :class:`BadMessage`."""
        if self._left:
            raise BadMessage(400, "less content than Content-Length says")
        self._end()
