"""One connection to the backend: one exchange at a time, both bodies streamed.

Rules that live here: interim responses are handed on as they come; the body ends where ``http.framing`` says; bytes
beyond it are thrown away with the connection; a body that ends early fails. Silence is bounded, length is not: a
deadline runs only while the backend owes us bytes or does not take ours.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import NONE, BadMessage, Framing, FramingKind
from caching_proxy.http.hop_by_hop import switched
from caching_proxy.http.messages import NO_FIELDS, Fields, ResponseHead
from caching_proxy.interfaces import (
    IncompleteBody,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
)
from caching_proxy.transport.native import has_read
from caching_proxy.upstream.exchange import Exchange, Owner, Unanswered
from caching_proxy.upstream.head_lines import HEADS
from caching_proxy.upstream.line import WaitingRequest
from caching_proxy.upstream.request_body import Upload
from caching_proxy.upstream.response_head import (
    MAX_HEAD_BYTES,
    delimited,
    end_of_head,
    hopeless,
    settled,
)
from caching_proxy.upstream.tunnel import Tunnel

MAX_INTERIM = 100
"""1xx responses to one request past which its answer is not waited for any longer."""


class UpstreamConnection(Protocol):
    """``timeout`` is the longest silence in seconds. ``closing`` is set as soon as no exchange may be started."""

    def __init__(self, clock: IReactorTime, timeout: float, owner: Owner[UpstreamConnection]) -> None:
        self.holder: WaitingRequest | None = None  # whose exchange it serves, until it is free again
        self.adopted = False  # the owner has it and wants to hear of its end
        self.closing = False
        self.exchanges = 0
        self.expires_at = 0.0  # for the owner: when to close it if it still is idle
        self.keep_alive: int | None = None  # seconds that the backend keeps an idle connection, if it said so
        self._clock = clock
        self._now: Callable[[], float] = clock.seconds
        self._timeout = timeout
        self._owner = owner
        self._receive: Callable[[bytes], None] = self._unexpected
        self._exchange: Exchange | None = None
        self._body: Body | None = None
        self._upload: Upload | None = None
        self._tunnel: Tunnel | None = None
        self._buffer = b""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._reusable = False
        self._answered = False
        self._expecting = False
        self._interim = 0
        self._paused = False
        self._until_close = False
        self._timer: IDelayedCall | None = None
        self._heard = 0.0

    # -- for the owner ---------------------------------------------------------------------------

    def start(self, exchange: Exchange, now: float) -> None:
        """Send the request of ``exchange``; the connection must be idle."""
        self._exchange = exchange
        self._receive = self._head
        self._answered = self._expecting = False
        self._interim = 0
        self.exchanges += 1
        self._heard = now
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._check_silence)
        if exchange.body is None:
            self.transport.write(exchange.data)  # type: ignore[union-attr]
        else:
            self._expecting = b"expect" in exchange.request.head.fields
            self._upload = Upload(exchange.data, exchange.body, self.transport, self)  # type: ignore[arg-type]
            self._upload.start()

    def cancel(self, exchange: Exchange) -> None:
        """Nobody wants the answer to ``exchange`` any more."""
        if self._exchange is exchange:
            self._exchange = None
            self.abort()

    def close(self) -> None:
        """Close in good order."""
        self.closing = True
        self._receive = self._ignore
        if self._timer is None:  # bounds a peer that does not answer our farewell
            self._timer = self._clock.callLater(self._timeout, self._check_silence)
        self.transport.loseConnection()  # type: ignore[union-attr]

    def abort(self) -> None:
        """Drop the connection now."""
        self.closing = True
        self._receive = self._ignore
        self._stop_upload()
        self.transport.abortConnection()  # type: ignore[union-attr]

    # -- IProtocol -------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        self._heard = self._now()
        has_read(self.transport, len(data))
        self._receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closing = True
        self._receive = self._ignore
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_upload()
        exchange, self._exchange = self._exchange, None
        body, self._body = self._body, None
        tunnel, self._tunnel = self._tunnel, None
        clean = reason.check(ConnectionDone) is not None
        if body is not None:
            if self._until_close and clean:
                body.end()
            else:
                self._truncated(body, "the connection ended within the response body")
        if tunnel is not None:
            tunnel.lost(reason)
        if self.adopted:
            self._owner.lost(self, exchange, self._ended(reason))

    def _ended(self, reason: Failure) -> UpstreamError:
        if self._answered:
            return UpstreamProtocolError("the connection ended within the response head")
        return Unanswered(f"the connection ended before a response: {reason.getErrorMessage()}")

    # -- receiving: the head ---------------------------------------------------------------------

    def _head(self, data: bytes) -> None:
        exchange = self._exchange
        self._answered = True
        seen = 0
        if self._buffer:
            seen = len(self._buffer)
            data, self._buffer = self._buffer + data, b""
        while data and exchange is not None and self._exchange is exchange:
            end = end_of_head(data, seen)
            if end < 0:
                self._incomplete_head(data, max(seen - 2, 0))
                return
            try:
                head = HEADS.read(data[:end])
            except UpstreamProtocolError as error:
                self._fail(error)
                return
            data, seen = data[end:], 0
            if head.status >= 200:
                self._final(exchange, head, data)
                return
            if head.status == 101:
                self._switch(exchange, head, data)
                return
            self._expecting = False
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._fail(UpstreamProtocolError("too many interim responses"))
                return
            if exchange.on_interim is not None:
                exchange.on_interim(settled(head, NONE))

    def _incomplete_head(self, data: bytes, seen: int) -> None:
        if len(data) > MAX_HEAD_BYTES:
            self._fail(UpstreamProtocolError("the response head is too large"))
        elif hopeless(data, seen):
            self._fail(UpstreamProtocolError("the response is not HTTP/1"))
        else:
            self._buffer = data

    def _final(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        ordinary, method = head.ordinary, exchange.request.method
        if ordinary is not None and len(rest) == ordinary.length and method != b"HEAD" and self._upload is None:
            self._exchange = None  # all of it is here, as of most: what follows says the same at some frames more
            self.keep_alive = ordinary.manner.keep_alive
            self._finish(ordinary.manner.persistent)
            whole = UpstreamResponse(head, Body.of(rest), ordinary.length, self.exchanges > 1)
            exchange.responded(whole, self._heard)
            return
        try:
            head, framing, reusable, self.keep_alive = delimited(method, head)
        except UpstreamProtocolError as error:
            self._fail(error)
            return
        if self._upload is not None:
            self._answered_early(head, reusable)
            reusable = False
        self._exchange = None
        length, reused = framing.length, self.exchanges > 1
        if length is not None and len(rest) >= length:
            body = Body.of(rest[:length])
            self._finish(reusable and len(rest) == length)
        else:
            body = self._body = Body(length, self)
            self._await_body(framing, reusable)
            if rest:
                self._receive(rest)
        exchange.responded(UpstreamResponse(head, body, length, reused), self._heard)

    def _answered_early(self, head: ResponseHead, reusable: bool) -> None:
        """RFC 9112 §9.5: stop sending when the answer says that the rest is not wanted."""
        if head.status >= 300 or not reusable:
            self._stop_upload()

    def _switch(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        if self._upload is not None or not switched(exchange.request.head, head):
            self._fail(UpstreamProtocolError("101 without a request to upgrade"))
            return
        self._exchange = None
        self.pause_body()
        tunnel = self._tunnel = Tunnel(self, rest)
        self._receive = tunnel.received
        self._owner.switched(self)
        exchange.responded(UpstreamResponse(head, Body.of(b""), 0, self.exchanges > 1, tunnel), self._heard)

    # -- receiving: the body ---------------------------------------------------------------------

    def _await_body(self, framing: Framing, reusable: bool) -> None:
        self._reusable = reusable
        self._until_close = framing.kind is FramingKind.CLOSE
        if framing.length is not None:
            self._left = framing.length
            self._receive = self._counted
        elif framing.kind is FramingKind.CHUNKED:
            self._decoder = ChunkedDecoder(502, lenient=True)
            self._receive = self._chunked
        else:
            self._receive = self._until_the_end

    def _counted(self, data: bytes) -> None:
        body = self._body
        if body is None:
            return
        left = self._left = self._left - len(data)
        if left > 0:
            body.feed(data)
            return
        body.feed(data[:left] if left < 0 else data)
        if self._body is body:
            self._end_body(body, left == 0)

    def _chunked(self, data: bytes) -> None:
        body, decoder = self._body, self._decoder
        if body is None or decoder is None:
            return
        try:
            pieces = decoder.feed(data)
        except BadMessage as error:
            self._body = None
            self.abort()
            self._truncated(body, error.text)
            return
        if pieces:  # as one: a chunk may be a single byte
            body.feed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if self._body is not body:
                return
        if decoder.done:
            self._decoder = None
            self._end_body(body, not decoder.rest, decoder.trailers)

    def _until_the_end(self, data: bytes) -> None:
        if self._body is not None:
            self._body.feed(data)

    def _unexpected(self, data: bytes) -> None:
        """Bytes that answer nothing (RFC 9112 §9.2)."""
        self.abort()

    def _ignore(self, data: bytes) -> None: ...

    # -- the end of an exchange ------------------------------------------------------------------

    def _end_body(self, body: Body, exact: bool, trailers: Fields = NO_FIELDS) -> None:
        self._body = None
        self._finish(self._reusable and exact)
        body.end(trailers)

    def _finish(self, reusable: bool) -> None:
        """The response is complete: keep the connection or close it."""
        if self._upload is not None:
            self._stop_upload()
        self._receive = self._unexpected
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]
        if self.closing:
            return
        if reusable:
            self._owner.released(self, self._heard)
        else:
            self.close()

    def _fail(self, error: UpstreamError) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.failed(error)

    def _truncated(self, body: Body, why: str) -> None:
        self._owner.truncated()
        body.fail(Failure(IncompleteBody(why)))

    # -- Source: the reader of the response body ---------------------------------------------------

    def pause_body(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_body(self) -> None:
        if self._paused:
            self._paused = False
            self._heard = self._now()
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def cancel_body(self) -> None:
        self._body = None
        self.abort()

    # -- Uploading: the request body ---------------------------------------------------------------

    def upload_moved(self) -> None:
        self._heard = self._now()
        if self._upload is not None and self._upload.started:
            self._expecting = False

    def upload_ended(self) -> None:
        self._upload = None
        self._heard = self._now()

    def upload_failed(self, error: UpstreamError) -> None:
        if self._exchange is not None:
            self._fail(error)
            return
        body, self._body = self._body, None
        self.abort()
        if body is not None:
            self._truncated(body, str(error))

    def _stop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.stop()

    # -- silence -----------------------------------------------------------------------------------

    def _check_silence(self) -> None:
        """One timer a connection, looked at when it fires: an exchange costs no timer of its own."""
        self._timer = None
        if self._exchange is None and self._body is None and not self.closing:
            return  # idle or a tunnel
        now = self._now()
        if not self._backend_owes():
            self._heard = now
        left = self._heard + self._timeout - now
        if left > 0 and not self.closing:
            self._timer = self._clock.callLater(left, self._check_silence)
        else:
            self._silent()

    def _backend_owes(self) -> bool:
        upload = self._upload
        return not self._paused and (upload is None or upload.blocked or self._expecting)

    def _silent(self) -> None:
        body, self._body = self._body, None
        why = f"the backend was silent for {self._timeout:g} s"
        self._fail(UpstreamTimeout(why))
        if body is not None:
            self._truncated(body, why)
