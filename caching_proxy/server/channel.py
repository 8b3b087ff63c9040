"""The server side of one client connection (RFC 9112): its reading half.

Requests are served one at a time, in order; what a client sends ahead waits, bounded. The channel finds the end of a
head, has it parsed, asks the hot path, and otherwise builds a request; request bodies stream through ``inbound``.
Whatever is ambiguous gets an error and ends the connection: nothing that came after it is ever looked at.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import cast

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.http.framing import NONE, BadMessage, Framing
from caching_proxy.server.batch import Answers, HotAnswer, LargeAnswer
from caching_proxy.server.ending import EndingHalf
from caching_proxy.server.holding import WAITING_BYTES
from caching_proxy.server.refusal import CLIENT_LEFT
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.request_body import Inbound
from caching_proxy.server.request_head import END, AnyHead, check_unfinished
from caching_proxy.server.request_line import EMPTY_LINE, past_empty_lines
from caching_proxy.server.seams import LookUp, Site
from caching_proxy.server.state import State
from caching_proxy.transport.native import BytesProtocol, has_read

_HEAD, _BUSY, _CLOSING, _TUNNEL, _GONE = State  # finding a member costs several times what a name of the module does


class HTTPChannel(EndingHalf):
    """One connection; what a ``twisted.web`` Request expects of its channel, and the site's ``Connection``."""

    factory = None  # keeps http.Request from writing access lines
    waits = True
    """Whether an answer may come later than it is asked for."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._look_up: LookUp | None = None
        self._skipped = 0  # empty lines passed over before the request line
        self._resting = False  # others have their turn; until then nothing more is served
        self._last_turns = False  # after them the connection ends: the client has closed its half
        self._tunnel: BytesProtocol | None = None

    # -- the connection --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.due = self.seconds() + self.limits.head_seconds
        self.site.connections.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state is _HEAD and not self.full and not self._serving:
            seen = len(self._buffer)
            parsed = None if seen else self.site.heads.alone(data)
            if parsed is None:
                self._serve(self._buffer + data if seen else data, seen)
                return
            answer = self._hot_answer(parsed)
            if isinstance(answer, bytes):  # one request, one write, as with most clients
                self.write(answer)
                self._skipped = 0
                self.due = self.clock.seconds() + self.limits.idle_seconds
            else:
                self._serve_alone(parsed, answer)
        elif state is _TUNNEL:
            cast("BytesProtocol", self._tunnel).dataReceived(data)
        elif state is _BUSY or state is _HEAD:
            self._ahead(data)

    def input_ended(self) -> bool:
        """The client sends no more: what is here is answered, if it waits for nothing but turns and the client.

        Returns:
            Whether the connection stays for that; then it is closed from here.
        """
        self._last_turns = self._goes_on
        return self._last_turns

    @property
    def _goes_on(self) -> bool:
        """Whether there are requests that wait for their turn, or for the client to read."""
        return self._resting or (self._state is _HEAD and self.full and bool(self._buffer))

    def _end_after_last_turn(self) -> None:
        if self._last_turns and not self._goes_on:
            self._last_turns = False
            self._finish(lingers=False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _GONE
        self.connected = 0
        self.forget()
        self._buffer = b""
        self.site.connections.discard(self)
        inbound, self.inbound = self.inbound, None
        request, self.request = self.request, None
        tunnel, self._tunnel = self._tunnel, None
        look_up, self._look_up = self._look_up, None
        if look_up is not None:
            look_up.client_left()
        if tunnel is not None:
            tunnel.connectionLost(reason)
        if request is not None:  # before its body fails, or whoever reads that would answer
            if inbound is not None and inbound.keeping and self.site.on_refused is not None:
                self.site.on_refused(CLIENT_LEFT, self.peer_host)  # nobody else has heard of the request
            request.connectionLost(reason)
        if inbound is not None and not inbound.complete:
            inbound.fail(reason)

    # -- heads -----------------------------------------------------------------------------------

    def _serve(self, data: bytes, seen: int) -> None:
        """Answer the complete heads in ``data``, in order; its first ``seen`` bytes were looked at before."""
        self._serving = True
        try:
            rest = self._serve_heads(data, seen)
            if rest is not None:
                self._keep(*rest)
        except BadMessage as problem:
            self.refuse(problem)
        finally:
            self._serving = self._resting

    def _hot_answer(self, parsed: AnyHead) -> HotAnswer | LookUp | None:
        """What the hot path has for a head, if that is for it to see."""
        site = self.site
        if parsed.plain and site.hot is not None and not site.connections.draining:
            return site.hot(parsed, self)
        return None

    def _serve_alone(self, parsed: AnyHead, answer: LargeAnswer | LookUp | None) -> None:
        """Serve a head behind which nothing came, and for which there is no short answer."""
        self._serving = True
        self._skipped = 0
        try:
            if isinstance(answer, LargeAnswer):
                self.write_content(answer.head, answer.body)
                self._keep(b"", 0)
                return
            if answer is None:
                self._begin(parsed)
            else:
                self._await(answer)
            if self._state is _HEAD and not self.full:
                self._keep(b"", 0)
        except BadMessage as problem:
            self.refuse(problem)
        finally:
            self._serving = self._resting

    def _serve_heads(self, data: bytes, seen: int) -> tuple[bytes, int] | None:
        """What is left when no head is complete any more, and how much of it was seen before this data.

        None when ``_buffer`` already holds it and nothing may be served for now.
        """
        site, answers, at = self.site, Answers(self), 0
        try:
            while True:
                if data.startswith(EMPTY_LINE, at):
                    at, self._skipped = past_empty_lines(data, at, self._skipped)
                end = data.find(END, max(at, seen - 3)) + 4
                if end < 4:
                    return data[at:], 0 if at else seen
                parsed = site.heads.parse(data[at:end])
                at, self._skipped = end, 0
                answer = self._hot_answer(parsed)
                if isinstance(answer, (bytes, LargeAnswer)):
                    if answers.add(answer):
                        continue
                    return self._rest_later(data[at:])
                if answers.parts:
                    answers.send()
                self._buffer = data[at:]
                if answer is None:
                    self._begin(parsed)
                else:
                    self._await(answer)
                if self._state is not _HEAD or self.full:
                    return None
                data, at, seen = self._buffer, 0, 0
                if not answers.passed():
                    return self._rest_later(data)
        finally:
            answers.send()

    def _rest_later(self, rest: bytes) -> tuple[bytes, int] | None:
        """``rest`` waits until the client has read, or until others have had their turn."""
        if self.full or not rest:
            return rest, 0
        self._buffer = rest
        self._resting = True
        self.due = self.seconds() + self.limits.head_seconds
        self.clock.callLater(0, self._rested)
        return None

    def _rested(self) -> None:
        self._resting = self._serving = False
        if self._state is _HEAD and not self.full:
            self._next()
        self._end_after_last_turn()

    def _keep(self, rest: bytes, seen: int) -> None:
        """``rest`` follows the last answered head: nothing, or the beginning of the next one."""
        self._buffer = rest
        if not rest:
            self.due = self.clock.seconds() + self.limits.idle_seconds
        elif not self.full:
            if not seen:
                self.due = self.seconds() + self.limits.head_seconds
            check_unfinished(rest, self.limits, seen)

    def _await(self, look_up: LookUp) -> None:
        """What answers the head is being looked for; it says itself when it is known."""
        self._state = _BUSY
        self.due = inf
        self._look_up = look_up
        look_up.start()

    def goes_on(self, look_up: LookUp) -> None:
        """Another look-up takes the place of the one that calls this, and says itself what comes of it."""
        self._look_up = look_up

    def answered(self, answer: HotAnswer) -> None:
        """The answer of a head for which one was looked for; called by the look-up."""
        self._look_up = None
        if isinstance(answer, LargeAnswer):
            self.write_content(answer.head, answer.body)
        else:
            self.write(answer)
        self._next()

    def walk(self, parsed: AnyHead, plan: object, received_at: float | None = None) -> None:
        """Build the request of ``parsed``, as the look-up, which calls this, found no answer; it gets the ``plan``, and
        ``received_at`` where that was not just now."""
        self._look_up = None
        self._begin(parsed, plan, received_at)

    def _begin(self, parsed: AnyHead, plan: object | None = None, received_at: float | None = None) -> None:
        """Build the request, give it the part of its body that is here, and have it processed."""
        meaning, limit = parsed.meaning, self.limits.body_bytes
        framing = meaning.framing
        if limit is not None and framing.length is not None and framing.length > limit:
            raise BadMessage(413, "request body too large")
        if plan is None and not parsed.plain and self._passes(parsed, framing):
            return
        self._state = _BUSY
        self.due = inf
        self.persists = meaning.keep_alive
        inbound, body, length = None, None, framing.length
        if framing is not NONE and length != 0:
            if length is not None and len(self._buffer) >= length:  # all here: nothing to count or to wait for
                body, self._buffer = Body.of(self._buffer[:length]), self._buffer[length:]
            else:
                inbound = self._await_body(framing, meaning.expects)
                body = inbound.body
        self.request = request = self.site.requestFactory(self, parsed, body, inbound)
        request.plan = plan
        if received_at is not None:
            request.received_at = received_at
        if inbound is None:
            request.process()
        elif inbound.keeping:
            inbound.on_ready = partial(self._ready, parsed, request)
        else:
            self._ready(parsed, request)

    def _ready(self, parsed: AnyHead, request: ProxyRequest) -> None:
        """As much of the body is here as the request waits for: pass it on, or have the request processed."""
        passing = self.site.passing
        if passing is not None and request.body.complete:
            look_up = passing(parsed, self, request.body, request)
            if look_up is not None:
                self.request = None
                self._await(look_up)
                return
        request.process()

    def _passes(self, parsed: AnyHead, framing: Framing) -> bool:
        """Whether the request is all here and has been passed on from here."""
        passing, length = self.site.passing, 0 if framing is NONE else framing.length
        if passing is None or length is None or len(self._buffer) < length:
            return False
        look_up = passing(parsed, self, self._buffer[:length], None)
        if look_up is None:
            return False
        self._buffer = self._buffer[length:]
        self._await(look_up)
        return True

    def requested(self, parsed: AnyHead, received_at: float, early: ProxyRequest | None) -> ProxyRequest:
        """The request of ``parsed``, whose head came ``received_at``, to be answered in place of a look-up: ``early``
        if that was made before."""
        self._look_up = None
        request: ProxyRequest = early if early is not None else self.site.requestFactory(self, parsed, None)
        self.request = request
        request.received_at = received_at
        return request

    def _await_body(self, framing: Framing, expects: bool) -> Inbound:
        inbound = Inbound(self, framing, self.limits)
        if not expects:  # else the backend has to be asked first (RFC 9110 §10.1.1)
            inbound.keep(self.limits.buffer_bytes, self.site.uploads)
        if self._buffer:
            self._buffer = inbound.feed(self._buffer)
        if not inbound.complete:
            self.inbound = inbound
            self.due = self.seconds() + self.limits.body_seconds
        return inbound

    def _ahead(self, data: bytes) -> None:
        """Bytes while a request is under way: its body, and what the client sends ahead."""
        if self.inbound is not None:
            has_read(self.transport, len(data))
            try:
                data = self.inbound.feed(data)
            except BadMessage as problem:
                self._body_failed(problem)
                return
            if self.inbound is not None and self.inbound.complete:
                self._body_complete()
            if not data or self._state is not _BUSY:
                if data:
                    self.dataReceived(data)
                return
        self._buffer += data
        if len(self._buffer) > WAITING_BYTES or self._buffer.count(END) > self.limits.pipeline_depth:
            self.hold_ahead(True)

    # -- bodies of requests ----------------------------------------------------------------------

    def _body_complete(self) -> None:
        self.inbound = None
        self.due = inf
        if self.request is None and self._look_up is None:  # it was only read over
            self._next()

    # -- the end of a request --------------------------------------------------------------------

    def requestDone(self, request: object) -> None:
        """The response is complete; called by the request."""
        self.request = None
        inbound = self.inbound
        if inbound is None or inbound.complete:
            self._next()
        elif not self.persists:
            self._finish(lingers=True)
        else:
            inbound.body.cancel()
            inbound.discard()

    def _next(self) -> None:
        """Go on with what the client sent ahead, or wait, or close."""
        self.inbound = None
        if not self.persists or self.site.connections.draining:
            self._finish(lingers=bool(self._buffer))
            return
        self._state = _HEAD
        if self.ahead_held:
            self.hold_ahead(False)
        if self._serving:
            return
        if self._buffer and not self.full:
            self._serve(self._buffer, 0)
        else:
            self.due = self.clock.seconds() + self.limits.idle_seconds

    # -- what others ask of it ---------------------------------------------------------------------

    def drained(self) -> None:
        if self._state is _HEAD and not self._serving:
            self._next()
            self._end_after_last_turn()

    def take_over(self, tunnel: BytesProtocol) -> bytes:
        """Hand the connection's bytes to ``tunnel``; returns those already read."""
        self._state = _TUNNEL
        self._tunnel = tunnel
        self.due = inf
        self.detach()
        self.read_on()
        rest, self._buffer = self._buffer, b""
        return rest
