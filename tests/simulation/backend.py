"""The backend of a game: what it has changes by version, and it answers late, in parts, with errors, or not at all.

What it answers is decided at one moment, when the request has arrived, and comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulation.world import World
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.body import Body
from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.interfaces import (
    IncompleteBody,
    IUpstream,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.upstream.head_lines import HEADS

BACKEND_SECONDS = 8.0
"""After which a silent backend is given up."""

HIT_FOR_MISS_SECONDS = 130.0
"""For how long fetches of a key need not be one after an answer that served nobody else."""

TAG = b"red"
"""What answers for /tagged carry."""


SAFE = (b"GET", b"HEAD")


def whole(target: bytes, role: bytes, language: bytes, version: int) -> bytes:
    """The content of a version."""
    return b" ".join((target, role, language, b"%d" % version))


def _part(asked: bytes, body: bytes, lines: list[Field]) -> tuple[int, list[Field], bytes]:
    """One range of ``body``, as 206, or 416."""
    first, _, last = asked.removeprefix(b"bytes=").partition(b"-")
    start = int(first or len(body) - int(last))
    end = min(int(last) + 1 if first and last else len(body), len(body))
    if start >= end:
        return 416, [*lines, (b"Content-Range", b"bytes */%d" % len(body))], b""
    return 206, [*lines, (b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, len(body)))], body[start:end]


class Exchange:
    """One request that the backend has been sent, by ``proxy``, on behalf of the client's request ``number``."""

    def __init__(self, backend: Backend, head: RequestHead) -> None:
        self.head = head
        self.number = int(head.fields.first(b"x-request-id") or b"0")
        self.role = (head.fields.first(b"authorization") or b"role anonymous").partition(b" ")[2]
        self.began = backend.world.now
        self.decided: float | None = None  # when its answer began to come, or there was none
        self.over = False
        self.result: Deferred[UpstreamResponse] = Deferred(self._cancelled)
        self._backend = backend
        self._body: Body | None = None

    @property
    def key(self) -> tuple[bytes, bytes]:
        return self.head.target, self.role

    def arrived(self) -> None:
        """The backend reads the request, and decides."""
        world, backend = self._backend.world, self._backend
        if self.over:
            return
        if self.head.method not in SAFE:
            backend.changed(self)
        how = backend.kind()
        if how == "silent":
            world.clock.callLater(BACKEND_SECONDS, self._fail, UpstreamTimeout("silent"))
        elif how == "gone":
            world.clock.callLater(world.delay(), self._fail, world.random.choice(_GONE))
        else:
            world.clock.callLater(world.delay(), self._answer, *self._decided(how))

    def _decided(self, how: str) -> tuple[int, list[Field], bytes, bool]:
        world, backend = self._backend.world, self._backend
        version = world.model.versions[self.head.target]
        language = self.head.fields.first(b"accept-language") or b"-"
        etag = b'"%b-%b-%d"' % (self.role, language, version)
        lines = [(b"Date", format_date(world.now)), (b"ETag", etag), backend.lifetime(how)]
        if self.head.target == b"/varied":
            lines.append((b"Vary", b"Accept-Language"))
        if self.head.target == b"/tagged":
            lines.append((b"Surrogate-Key", TAG + b" blue"))
        if how == "error":
            return 503, lines, b"trouble", False
        if etag in (self.head.fields.joined(b"if-none-match") or b""):
            return 304, lines, b"", False
        body = whole(self.head.target, self.role, language, version)
        if self.head.method == b"HEAD":
            lines.append((b"Content-Length", b"%d" % len(body)))
            return 200, lines, b"", False
        asked = self.head.fields.first(b"range")
        if asked is not None and (self.head.fields.first(b"if-range") or etag) == etag:
            return *_part(asked, body, lines), how == "cut"
        return 200, lines, body, how == "cut"

    def _answer(self, status: int, lines: list[Field], body: bytes, cut: bool) -> None:
        if self.over:
            return
        world = self._backend.world
        self.decided = world.now
        world.note(f"backend answers {self.number} with {status} {body.decode()}{' cut short' * cut}")
        self._backend.answered(self, status, lines, cut)
        if self.head.method != b"HEAD":
            lines.append((b"Content-Length", b"%d" % len(body)))
        head = HEADS.read(b"HTTP/1.1 %d OK\r\n%b\r\n" % (status, Fields(lines).encoded()))
        at_once = not cut and world.happens(0.5)
        if at_once or not body:
            self.over = True
            self.result.callback(UpstreamResponse(head, Body.of(body), len(body)))
            return
        self._body = arriving = Body(len(body), self)
        at = world.random.randrange(len(body))
        world.clock.callLater(world.delay(), self._feed, body[:at], body[at:], cut)
        self.result.callback(UpstreamResponse(head, arriving, len(body)))

    def _feed(self, first: bytes, rest: bytes, cut: bool) -> None:
        world = self._backend.world
        if self.over or self._body is None or not self._backend.alive:
            return
        if first:
            self._body.feed(first)
            world.clock.callLater(world.delay(), self._feed, b"", rest, cut)
            return
        self.over = True
        if cut:
            self._backend.loosened(self)
            self._body.fail(Failure(IncompleteBody("cut")))
        else:
            self._body.feed(rest)
            self._body.end()

    def _fail(self, error: UpstreamError) -> None:
        if not self.over:
            self.over = True
            self.decided = self._backend.world.now
            self._backend.world.note(f"backend fails {self.number}: {error}")
            self._backend.loosened(self)
            self.result.errback(Failure(error))

    def _cancelled(self, _: Deferred[UpstreamResponse]) -> None:
        self.over = True
        self.decided = self._backend.world.now
        self._backend.loosened(self)

    # -- the source of the body ----------------------------------------------------------------------

    def pause_body(self) -> None:
        """What comes is short: it is here already."""

    resume_body = pause_body

    def cancel_body(self) -> None:
        if not self.over:
            self.over = True
            self._backend.loosened(self)


_GONE = (UpstreamUnreachable("refused"), UpstreamProtocolError("ended within the head"))


@implementer(IUpstream)
class Backend:
    """The backend as one process of a proxy reaches it.

    ``on_loose`` hears of a target and role whose fetches need not be one: an answer that others may not have, or that
    never comes.
    """

    def __init__(self, world: World, on_fetch: Callable[[Exchange], None], on_loose: Callable[..., None]) -> None:
        self.world = world
        self.alive = True
        self.exchanges: list[Exchange] = []
        self._on_fetch = on_fetch
        self._on_loose = on_loose

    def fetch(self, request: Any, body: Any = None, on_interim: Any = None, peer: bytes = b"") -> Deferred[Any]:
        head = request if isinstance(request, RequestHead) else request.head
        exchange = Exchange(self, head)
        self.world.note(f"backend is asked {head.method.decode()} {head.target.decode()} for {exchange.number}")
        self._on_fetch(exchange)
        self.exchanges.append(exchange)
        self.world.clock.callLater(self.world.delay(), self._arrived, exchange)
        return exchange.result

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def die(self) -> None:
        """The process that asks is no more."""
        self.alive = False
        for exchange in self.exchanges:
            exchange.over = True

    def _arrived(self, exchange: Exchange) -> None:
        if exchange.over and exchange.head.method not in SAFE:
            self.changed(exchange)  # it was sent, though nobody waits for the answer
        exchange.arrived()

    # -- what exchanges ask --------------------------------------------------------------------------

    def kind(self) -> str:
        """What becomes of a request."""
        world = self.world
        return "fresh" if world.calm else world.random.choices(*world.odds.answers)[0]

    def lifetime(self, how: str) -> Field:
        if how == "error":
            return (b"Cache-Control", b"no-store")
        if how == "private":
            return (b"Cache-Control", b"private")
        if how == "short":
            return (b"Cache-Control", b"max-age=1, stale-while-revalidate=30")
        return (b"Cache-Control", b"max-age=600")

    def changed(self, exchange: Exchange) -> None:
        """The request changes what there is."""
        self.world.model.changed(exchange.head.target)

    def answered(self, exchange: Exchange, status: int, lines: list[Field], cut: bool) -> None:
        if exchange.head.method not in SAFE:
            self._on_loose(None, 0.0)  # an invalidation
        elif cut or status not in (200, 304) or exchange.head.method == b"HEAD":
            self._on_loose(exchange.key, 0.0)
        elif self.lifetime("fresh") not in lines:  # for one alone, or over before it is here: hit-for-miss
            self._on_loose(exchange.key, HIT_FOR_MISS_SECONDS)

    def loosened(self, exchange: Exchange) -> None:
        self._on_loose(exchange.key, 0.0)
