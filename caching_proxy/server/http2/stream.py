"""One stream: the channel of one request, with flow control as back-pressure both ways.

What is to be sent waits here, a stored body as windows on it, until the connection has room; while anything waits the
stream is ``full`` and its producer paused. What arrives is given back to the client's window when it has been read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import cast

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IProducer, IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from caching_proxy.http.body import Body
from caching_proxy.http.framing import CHUNKED, NONE, BadMessage
from caching_proxy.http.messages import Field
from caching_proxy.http.pieces import SHARED_BYTES, Content, Pieces
from caching_proxy.server.batch import LargeAnswer
from caching_proxy.server.http2.heads import response_fields, response_lines
from caching_proxy.server.http2.request import StreamRequest
from caching_proxy.server.http2.seams import StreamsConnection
from caching_proxy.server.http2.stream_body import StreamBody
from caching_proxy.server.pinned import IMPATIENT_SECONDS
from caching_proxy.server.refusal import CLIENT_LEFT, refusal
from caching_proxy.server.request_head import AnyHead
from caching_proxy.server.seams import Site
from caching_proxy.transport.native import BytesProtocol
from caching_proxy.transport.pull_pump import PullPump


class Stream:
    """See :class:`caching_proxy.server.seams.Channel`. ``number`` is the stream's identifier."""

    waits = False

    def __init__(self, connection: StreamsConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.site: Site = connection.site
        self.transport = connection.transport
        self.request: StreamRequest | None = None
        self.inbound: StreamBody | None = None
        self.full = connection.full
        self.received = False  # the client has ended its half
        self._rest: deque[memoryview] = deque()
        self._waiting = 0  # bytes in it
        self._copied = 0  # of these, what is held for this stream alone
        self._taken_at = inf
        self._began_at = self._sent = 0.0
        self._pins: bytes | None = None
        self._producer: IPushProducer | PullPump | None = None
        self._unread = 0  # bytes that the client's window lacks
        self._body_held = False
        self._ending = self._cut = self.over = False

    # -- a request -------------------------------------------------------------------------------

    def begin(self, parsed: AnyHead) -> None:
        """Answer the request, now or later; raises :class:`BadMessage`."""
        site, limits = self.site, self.site.limits
        if parsed.plain and self.received and site.hot is not None:
            answer = site.hot(parsed, self)
            if isinstance(answer, bytes):
                head, _, content = answer.partition(b"\r\n\r\n")
                self.answer(self.connection.told(head), content)
                return
            if isinstance(answer, LargeAnswer):
                self.answer(self.connection.told(answer.head[:-4]), answer.body)
                return
        framing = parsed.framing
        if limits.body_bytes is not None and framing.length is not None and framing.length > limits.body_bytes:
            raise BadMessage(413, "request body too large")
        if self.received and framing.length:
            raise BadMessage(400, "less content than Content-Length says")
        body: Body | None = None
        if not self.received:
            self.inbound = StreamBody(self, CHUNKED if framing is NONE else framing, limits)
            if not parsed.expects:
                self.inbound.keep(limits.buffer_bytes, site.uploads)
            body = self.inbound.body
        self.request = request = StreamRequest(self, parsed, body, self.inbound)
        if self.inbound is not None and self.inbound.keeping:
            self.inbound.on_ready = request.process
        else:
            request.process()

    def feed(self, data: bytes, size: int) -> None:
        """Content of the request; ``size`` is what it takes of the window."""
        inbound = self.inbound
        self._unread += size
        if inbound is not None:
            try:
                inbound.feed(data)
            except BadMessage as problem:
                self._body_failed(problem)
                return
        if not self._body_held:
            self._give_back()

    def end_of_request(self) -> None:
        """The client has ended its half."""
        self.received = True
        inbound = self.inbound
        if inbound is not None and not inbound.complete and not inbound.broken:
            try:
                inbound.ended()
            except BadMessage as problem:
                self._body_failed(problem)

    def _body_failed(self, problem: BadMessage) -> None:
        request, inbound = self.request, self.inbound
        if request is None or request.startedWriting:
            self.reset(1)  # PROTOCOL_ERROR
        else:
            self.request = None
            self.refuse(problem)
            request.connectionLost(Failure(problem))
        if inbound is not None:
            inbound.fail(Failure(problem))

    def refuse(self, problem: BadMessage) -> None:
        """Answer an error of the connection's own."""
        head, _, body = refusal(problem, self.site.date()).partition(b"\r\n\r\n")
        if self.site.on_refused is not None:
            self.site.on_refused(problem.status, self.peer_host)
        self.answer(response_lines(head), body)

    # -- what a body asks for: InboundChannel ---------------------------------------------------------

    def hold_body(self, held: bool) -> None:
        self._body_held = held
        if not held:
            self._give_back()

    def body_unwanted(self) -> None:
        """The window stays as it is; at the end of the answer the client is told to stop."""
        self._body_held = True

    def _give_back(self) -> None:
        size, self._unread = self._unread, 0
        if size:
            self.connection.give_back(self.number, size)

    # -- sending -----------------------------------------------------------------------------------

    def send_head(self, fields: list[Field], ends: bool = False) -> None:
        """A head, alone; ``ends``: and nothing follows it."""
        if not self.over:
            self._ending = ends
            self.connection.send_head(self, fields, ends)
            self.connection.flush()

    def answer(self, fields: list[Field], content: Content) -> None:
        """A whole answer."""
        if self.over:
            return
        self._ending = True
        if not len(content):
            self.connection.send_head(self, fields, True)
            self.connection.flush()
            return
        self.connection.send_head(self, fields, False)
        self._add(content)

    def write(self, data: bytes) -> None:
        """Content of the answer."""
        if not self.over and data:
            self._add(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def write_content(self, head: bytes, content: Content) -> None:
        """An answer in the spelling of HTTP/1.1."""
        self.answer(response_lines(head[:-4]), content)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """The head of an ordinary resource's response."""
        fields = response_fields(
            int(code), [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        )
        if not headers.hasHeader(b"Date"):
            fields.append((b"date", self.site.date()))
        self.send_head(fields)

    def _add(self, content: Content) -> None:
        parts = content.parts if isinstance(content, Pieces) else (content,)
        if not self._rest:
            self._taken_at = self._began_at = self.seconds()
        for part in parts:
            self._rest.append(memoryview(part))
        self._waiting += len(content)
        shared = next((each for each in map(_owner, parts) if len(each) >= SHARED_BYTES), None)
        if shared is not None and self._pins is None and self._ending:
            self._pins = shared
            self.site.pinned.hold(shared)
        else:
            self._copied += len(content)
            self.connection.kept += len(content)
            self.site.pinned.alone.keep(len(content))
        self.connection.ready(self)
        self._tell_full()

    def next_data(self, most: int) -> tuple[memoryview | bytes, bool]:
        """Up to ``most`` bytes for one frame, and whether they are the last."""
        if not self._rest:
            return b"", True
        view = self._rest.popleft()
        if len(view) > most:
            self._rest.appendleft(view[most:])
            view = view[:most]
        self._waiting -= len(view)
        self._sent += len(view)
        self._taken_at = self.seconds()
        if not self._rest:
            self._let_go()
        return view, self._ending and not self._rest and not self._cut

    @property
    def pending(self) -> bool:
        """Whether there is something to send; the end of the stream counts."""
        return bool(self._rest) or ((self._ending or self._cut) and not self.over)

    @property
    def cutting(self) -> bool:
        """Whether all is sent of an answer that will not be complete."""
        return self._cut and not self._rest

    @property
    def empty(self) -> bool:
        return not self._rest

    def drained(self) -> None:
        """All is sent so far."""
        self._taken_at = inf
        self._tell_full()

    def _tell_full(self) -> None:
        full = bool(self._rest) or self.connection.full
        if full != self.full:
            self.full = full
            if self._producer is not None:
                (self._producer.pauseProducing if full else self._producer.resumeProducing)()

    def room_changed(self) -> None:
        """The connection is full, or no longer so."""
        self._tell_full()

    def _let_go(self) -> None:
        pins, self._pins = self._pins, None
        if pins is not None:
            self.site.pinned.release(pins)
        self.connection.kept -= self._copied
        self.site.pinned.alone.keep(-self._copied)
        self._copied = 0

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """The producer of the answer."""
        if streaming:
            self._producer = cast("IPushProducer", producer)
            if self.full:
                self._producer.pauseProducing()
        else:
            later = self.site.clock.callLater
            self._producer = PullPump(cast("IPullProducer", producer), lambda call: later(0, call))
            if not self.full:
                self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        if isinstance(self._producer, PullPump):
            self._producer.pauseProducing()
        self._producer = None

    # -- the end -----------------------------------------------------------------------------------

    def requestDone(self, request: object) -> None:
        """The answer is complete; called by the request."""
        self.request = None
        if not self._ending:
            self._ending = True
            self.connection.ready(self)

    def ended(self) -> None:
        """The last byte of the answer is on its way; what the client still sends is unwanted."""
        inbound = self.inbound
        unfinished = not self.received
        self._close()
        if inbound is not None and not inbound.complete:
            inbound.broken = True
            inbound.body.cancel()
        if unfinished:
            self.connection.linger(self)

    def cut(self) -> None:
        """End the stream when all that was written is sent, so that the answer shows to be incomplete."""
        if not self.over:
            self._cut = True
            self.connection.ready(self)

    def reset(self, code: int) -> None:
        """End the stream now."""
        if not self.over:
            self.connection.send_reset(self, code)
            self.lost(Failure(ConnectionAborted()))

    def abort(self) -> None:
        self.reset(8)  # CANCEL

    def loseConnection(self) -> None:
        self.cut()

    def lost(self, reason: Failure) -> None:
        """The client has given the stream up, or we have."""
        self._close()
        request, self.request = self.request, None
        inbound, self.inbound = self.inbound, None
        if request is not None:
            if inbound is not None and inbound.keeping and self.site.on_refused is not None:
                self.site.on_refused(CLIENT_LEFT, self.peer_host)
            request.connectionLost(reason)
        if inbound is not None and not inbound.complete:
            inbound.fail(reason)

    def _close(self) -> None:
        self.over = True
        self._producer = None
        self._rest.clear()
        self._waiting = 0
        self._taken_at = inf
        self._let_go()
        self._give_back()
        self.connection.closed(self)

    def check(self, now: float) -> None:
        """Act upon deadlines that passed at ``now``."""
        pinned = self.site.pinned
        kept = pinned if self._pins is not None else pinned.alone
        keeps = self._pins is not None or self._copied >= SHARED_BYTES
        patience = self.site.limits.write_seconds
        if keeps and kept.too_many:
            patience = min(patience, IMPATIENT_SECONDS)
        slow = keeps and kept.too_slow(int(self._sent), now - self._began_at)
        if now - self._taken_at >= patience or slow:
            self.reset(8)
            return
        inbound = self.inbound
        if inbound is not None and not inbound.complete and not inbound.broken and inbound.overdue(now) >= 0:
            self._body_failed(BadMessage(408, "request body took too long"))

    # -- whose it is -------------------------------------------------------------------------------

    @property
    def peer_host(self) -> bytes:
        return self.connection.peer_host

    @property
    def scheme(self) -> bytes:
        return self.connection.scheme

    def isSecure(self) -> bool:
        return self.connection.isSecure()

    def getPeer(self) -> IAddress:
        return self.connection.getPeer()

    def getHost(self) -> IAddress:
        return self.connection.getHost()

    def seconds(self) -> float:
        return self.connection.seconds()

    def connection_field(self, framed: bool) -> bytes:
        """There is none."""
        return b""

    def take_over(self, tunnel: BytesProtocol) -> bytes:
        raise RuntimeError("there are no tunnels on HTTP/2 connections")

    def end_tunnel(self) -> None:
        """See :meth:`take_over`."""


def _owner(part: bytes | memoryview) -> bytes:
    body = part.obj if isinstance(part, memoryview) else part
    return body if isinstance(body, bytes) else b""
