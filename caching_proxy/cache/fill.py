"""A backend's body on its way to one client and, at the same time, into the cache.

While it is collected for the cache nothing holds it back, since every byte is kept anyway; once it has outgrown
``limit`` it merely streams, at the client's pace. A client that leaves ends the transfer only if the cache does not
want it either.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from caching_proxy.body import Body
from caching_proxy.core.messages import Fields
from caching_proxy.core.outcome import Refusal


class Fill:
    """Tees ``upstream`` into :attr:`client` and a buffer; ``done`` hears once what became of the buffer.

    ``done`` is called with the complete body, or with the reason why there is none to store.
    """

    def __init__(self, upstream: Body, limit: int, done: Callable[[bytes | Refusal], None]) -> None:
        self.client = Body(upstream.length, self)
        self._upstream = upstream
        self._limit = limit
        self._done = done
        self._chunks: list[bytes] = []
        self._size = 0
        self._collecting = True
        self._client_paused = False
        self._client_gone = False

    def start(self) -> Body:
        """Begin; the client's end of the tee."""
        self._upstream.attach(self)
        return self.client

    # -- from the backend ------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        if self._collecting:
            self._chunks.append(data)
            self._size += len(data)
            if self._size > self._limit:
                self._give_up(Refusal.TOO_LARGE)
        if not self._client_gone:
            self.client.feed(data)

    def ended(self, trailers: Fields) -> None:
        if self._collecting:
            self._collecting = False
            body = b"".join(self._chunks)
            self._chunks.clear()
            self._done(body)
        if not self._client_gone:
            self.client.end()

    def failed(self, reason: Failure) -> None:
        if self._collecting:
            self._give_up(Refusal.INCOMPLETE)
        if not self._client_gone:
            self.client.fail(reason)

    # -- from the client's end -------------------------------------------------------------------

    def pause_body(self) -> None:
        self._client_paused = True
        if not self._collecting:
            self._upstream.pause()

    def resume_body(self) -> None:
        self._client_paused = False
        self._upstream.resume()

    def cancel_body(self) -> None:
        self._client_gone = True
        if self._collecting:
            self._upstream.resume()
        else:
            self._upstream.cancel()

    def _give_up(self, reason: Refusal) -> None:
        self._collecting = False
        self._chunks.clear()
        self._done(reason)
        if self._client_gone:
            self._upstream.cancel()
        elif self._client_paused:
            self._upstream.pause()
