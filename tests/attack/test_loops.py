"""The work of the whole proxy grows in step with a message, whatever it repeats; and no loop is left out of that.

Each case is one kind of message of which a piece is repeated, through the composed proxy: fetched, and asked for
again on conditions. Every function with a loop has to take part in one of them, or to be named in
``support/bounded_loops.py`` with the reason.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import attrs
import pytest
from support.bounded_loops import BOUNDED, BOUNDED_FUNCTIONS
from support.loops import functions_with_loops, steps_by_function
from support.whole_proxy import WholeProxy, ok
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from caching_proxy.auth.jwks import BadKeySet, parse_key_set
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import BadMessage, request_framing
from caching_proxy.http.hop_by_hop import switched, switching_to_client
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.negotiation import preferred_language
from caching_proxy.http.request_directives import parse_request_control
from caching_proxy.interfaces import UpstreamProtocolError
from caching_proxy.rules.bus_message import Invalidation, decode, encode
from caching_proxy.rules.cache_status import forwarded_as
from caching_proxy.rules.cookies import names_session
from caching_proxy.rules.encodings import preferred, varying
from caching_proxy.rules.entry import Asked, CacheEntry
from caching_proxy.rules.listing import take
from caching_proxy.rules.locations import client_origin, for_client
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.ranges import combine
from caching_proxy.rules.role import UnclearRoles, role_of
from caching_proxy.rules.tag_index import ByTag
from caching_proxy.rules.tags import fit
from caching_proxy.rules.terms_by_target import as_understood
from caching_proxy.rules.validation import (
    client_named,
    conditions,
    freshen,
    head_update,
    selected,
    updated,
    vary_fields,
)
from caching_proxy.rules.variance import equals_own, language_asked
from caching_proxy.server.http2.heads import check_trailers, request_head, response_fields, response_lines
from caching_proxy.server.limits import Limits
from caching_proxy.server.request_head import parse_request_head
from caching_proxy.server.site import ProxySite
from caching_proxy.upstream.response_head import parse_response_head

ROOMS = ("http", "rules", "server", "web", "auth", "upstream")
SIZE = 50
TOLERATED = 6
"""Times the steps for four times the message; linear work is four times as much, quadratic sixteen."""

PIECES = (b"a,", b"a=b;", b'"a",', b"a;q=0.1,", b"1-2,", b"a.b ", b"(", b"no-cache,")
REQUEST_FIELDS = (
    *(b"Accept", b"Accept-Charset", b"Accept-Encoding", b"Accept-Language", b"Authorization", b"Cache-Control"),
    *(b"Connection", b"Cookie", b"Expect", b"Forwarded", b"From", b"If-Match", b"If-Modified-Since"),
    *(b"If-None-Match", b"If-Range", b"Max-Forwards", b"Pragma", b"Range", b"TE", b"Trailer", b"Upgrade", b"Via"),
    *(b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Request-ID", b"X-Other"),
)
RESPONSE_FIELDS = (
    *(b"Age", b"Cache-Control", b"Cache-Status", b"CDN-Cache-Control", b"Connection", b"Content-Language"),
    *(b"Content-Location", b"Content-Range", b"Content-Type", b"Date", b"ETag", b"Expires", b"Last-Modified"),
    *(b"Location", b"Set-Cookie", b"Vary", b"Warning", b"WWW-Authenticate", b"X-Other"),
)
USUAL = (b"Cache-Control: max-age=60",)


@attrs.frozen
class Case:
    """``request`` and ``answer`` of a size: the lines of the one beside Host, of the other beside its length.

    ``target`` is the request's, ``method`` too; ``status`` is the answer's. ``trusted``: what is no GET comes from a
    trusted proxy as well.
    """

    name: str
    request: Callable[[int], tuple[bytes, ...]] = lambda n: ()
    answer: Callable[[int], tuple[bytes, ...]] = lambda n: USUAL
    target: Callable[[int], bytes] = lambda n: b""
    method: bytes = b"GET"
    status: bytes = b"200 OK"
    trusted: bool = False


def _cases() -> Iterator[Case]:
    for name in REQUEST_FIELDS:
        vary = (*USUAL, b"Vary: " + name)
        for piece in PIECES:
            yield Case(
                f"{name!r} {piece!r}",
                request=lambda n, name=name, piece=piece: (name + b": " + piece * n,),
                answer=lambda n, vary=vary: vary,
            )
        yield Case(f"{name!r} lines", request=lambda n, name=name: (name + b": a=b",) * n)
    for name in RESPONSE_FIELDS:
        for piece in PIECES:
            yield Case(
                f"answer {name!r} {piece!r}",
                answer=lambda n, name=name, piece=piece: (*USUAL, name + b": " + piece * n),
            )
        yield Case(f"answer {name!r} lines", answer=lambda n, name=name: (*USUAL, *((name + b": a",) * n)))
    for piece in (b"/a", b"/..", b"//", b"%41", b"?a", b"a=b&", b"&", b";a", b"\\", b"utm_x=1&"):
        yield Case(f"target {piece!r}", target=lambda n, piece=piece: b"/" + piece * n)
        yield Case(f"query {piece!r}", target=lambda n, piece=piece: b"?" + piece * n)
        yield Case(f"POST {piece!r}", target=lambda n, piece=piece: b"/" + piece * n, method=b"POST")
        yield Case(
            f"Location {piece!r}",
            answer=lambda n, piece=piece: (*USUAL, b"Location: /" + piece * n),
            status=b"301 Moved Permanently",
        )
    for name in (b"Authorization", b"Connection", b"Via", b"X-Other"):
        for piece in PIECES:
            yield Case(
                f"POST {name!r} {piece!r}",
                request=lambda n, name=name, piece=piece: (name + b": " + piece * n,),
                method=b"POST",
            )
        yield Case(f"POST {name!r} lines", request=lambda n, name=name: (name + b": a=b",) * n, method=b"POST")
    for name in (b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded", b"X-Request-ID"):
        lines = {"a list": lambda n, name=name: (name + b": " + b"10.0.0.1, " * n,)}
        lines["lines"] = lambda n, name=name: (name + b": 10.0.0.1",) * n
        for way, request in lines.items():
            yield Case(f"POST of a proxy, {name!r}, {way}", request=request, method=b"POST", trusted=True)
    yield Case("distinct fields", request=lambda n: tuple(b"X-%d: 1" % i for i in range(n)))
    yield Case("distinct fields of an answer", answer=lambda n: (*USUAL, *(b"X-%d: 1" % i for i in range(n))))
    yield Case("an error", request=lambda n: (b"X: " + b"a" * n,), answer=lambda n: USUAL, status=b"404 Not Found")


CASES = {case.name: case for case in _cases()}
CONDITIONS = b'If-None-Match: "x"\r\nRange: bytes=0-1,3-5\r\n'
NUMBERS = count()
PROXY, NOBODY = "192.0.2.1", "203.0.113.9"
"""Peers: one of TRUSTED_PROXIES, and one whom nobody trusts."""
REMEMBERING = [
    value
    for name, module in list(sys.modules.items())
    if name.startswith("caching_proxy.")
    for value in vars(module).values()
    if hasattr(value, "cache_clear")
]


class Played:
    """A proxy that a case is played on, with everything on that looks into messages."""

    def __init__(self) -> None:
        self.lines: tuple[bytes, ...] = USUAL
        self.status = b"200 OK"
        self.proxy = WholeProxy(
            lambda message: ok(b"x" * 40, *self.lines, status=self.status),
            TRUSTED_PROXIES="192.0.2.0/24",
            CACHE_KEY_SORT_QUERY="true",
            CACHE_KEY_IGNORE_PARAMS="utm_*",
            COOKIE_IGNORE="_ga*",
            MAX_HEADER_FIELDS="2000",
            REWRITE_LOCATION="on",
        )
        self.client = self.proxy.client()

    def play(self, case: Case, size: int) -> Counter[str]:
        self.lines, self.status = case.answer(size), case.status
        path = b"/%d" % next(NUMBERS)  # never the same target: what is remembered would hide work
        lines = b"".join(line + b"\r\n" for line in case.request(size))
        data = b"%b %b%b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (case.method, path, case.target(size), lines)

        steps: Counter[str] = Counter()
        for more in (b"", CONDITIONS if case.name.startswith("answer") else b""):
            self._forget()
            if self.client.closed:
                self.client = self.proxy.client()
            whole = data.removesuffix(b"\r\n") + more + b"\r\n"
            client = self.client if case.method == b"GET" else self.proxy.client(PROXY if case.trusted else NOBODY)
            steps += steps_by_function(lambda whole=whole, client=client: client.send(whole))
            if client is not self.client:
                client.close()
        return steps

    def _forget(self) -> None:
        """Forget what was understood before: of short messages more is remembered than of long ones."""
        site = self.proxy.proxy.site
        site.heads = type(site.heads)(site.limits)
        for cache in REMEMBERING:
            cache.cache_clear()


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    played = Played()
    yield played
    played.client.close()
    played.proxy.pass_time(1)
    played.proxy.stop()


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """The functions that took part in some case so far."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_work_grows_in_step(played: Played, seen: set[str], name: str) -> None:
    case = CASES[name]
    small, large = played.play(case, SIZE), played.play(case, 4 * SIZE)
    seen |= {*small, *large}
    assert large.total() <= TOLERATED * small.total(), (large - small).most_common(3)


def _entry(n: int, **more: Any) -> CacheEntry:
    head = b'ETag: "x"\r\nLast-Modified: a\r\nDate: b\r\n' + b"X: a\r\n" * n
    return CacheEntry(b"cache:GET:anonymous:/a", 200, b"OK", head, b"body", 0.0, 0, 60, **more)


def _fields(n: int, *lines: tuple[bytes, bytes]) -> Fields:
    return Fields([*lines, *((b"X", b"a") for _ in range(n))])


def _chunked(n: int, at_once: int) -> Callable[[], object]:
    data = b"3;x=y\r\nabc\r\n" * n + b"1\r\nx\r\n" * n + b"0\r\n" + b"A: b\r\n" * min(n, 60) + b"\r\n"

    def decode() -> None:
        decoder = ChunkedDecoder(overhead_bytes=1 << 30)
        for at in range(0, len(data), at_once):
            decoder.feed(data[at : at + at_once])

    return decode


def _get(*lines: tuple[bytes, bytes], n: int = 0) -> RequestHead:
    return RequestHead(b"GET", b"/a", _fields(n, *lines))


def _not_modified(n: int, *lines: tuple[bytes, bytes]) -> ResponseHead:
    return ResponseHead(304, b"", _fields(n, *lines))


def _tagged(n: int) -> None:
    tags, index = [b"%d" % number for number in range(n)], ByTag()
    fit(tags)
    for key in (b"a", b"b"):
        index.add(key, tags)
    for key in (b"a", b"b"):
        index.discard(key, tags)
    index.add(b"a", tags)
    index.take(tags)


def _together(n: int) -> Callable[[], object]:
    channel = ProxySite(Resource(), Clock(), hot=lambda parsed, channel: b"x").buildProtocol(None)
    assert channel is not None
    channel.makeConnection(StringTransport())
    data = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * n
    return lambda: channel.dataReceived(data)


PSEUDO = ((b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https"), (b":authority", b"a"))
ETAG, NAMES = (b"ETag", b'W/"x"'), (b"accept-language", b"x")
WAITING = tuple(b"/%d" % number for number in range(4000))

DIRECT: dict[str, Callable[[int], Callable[[], object]]] = {
    "chunks at once": lambda n: _chunked(n, 1 << 20),
    "chunks in bits": lambda n: _chunked(n, 5),
    "codings": lambda n: lambda: request_framing(_get((b"Transfer-Encoding", b"chunked," * n))),
    "upgrade": lambda n: (
        lambda: switched(
            _get((b"Connection", b"upgrade"), (b"Upgrade", b"websocket")),
            ResponseHead(101, b"", Fields([(b"Upgrade", b"a")] * n)),
        )
    ),
    "upgraded": lambda n: lambda: switching_to_client(Fields([(b"Upgrade", b"websocket")] * n)),
    "language": lambda n: lambda: preferred_language(b"a;q=0.1," * n + b"b"),
    "coding": lambda n: lambda: preferred([b"a;q=0.1," * n + b"gzip"], (b"gzip", b"br")),
    "Vary of codings": lambda n: lambda: varying(Fields([(b"Vary", b"a," * n)] * 2)),
    "language asked": lambda n: (
        lambda: language_asked(Fields([(b"Accept-Language", b"a;q=0.1," * n + b"b")]), NAMES, b"")
    ),
    "absolute target": lambda n: (
        lambda: parse_request_head(
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n" + b"X: a\r\n" * n + b"\r\n",
            Limits(field_count=1 << 20, head_bytes=1 << 24),
        )
    ),
    "refresh": lambda n: lambda: parse_request_control(Fields([(b"Cache-Refresh", b"a")] * n), True),
    "bus": lambda n: lambda: decode(encode(b"o" * 16, Invalidation(targets=WAITING[:n]))),
    "forwarded": lambda n: lambda: client_origin(Fields([(b"Forwarded", b"a=b;" * n)]), b"http", True),
    "marked": lambda n: lambda: for_client(_fields(n, (b"Location", b"/./a")), b"http", b"h"),
    "cache status": lambda n: lambda: forwarded_as(Fields([(b"Cache-Status", b"a; fwd=miss")] * n), 304),
    "target of rules": lambda n: lambda: as_understood(b"/%41//../;a" * n),
    "conditions": lambda n: lambda: conditions(_entry(n), [_entry(n)] * 4),
    "vary of entries": lambda n: lambda: vary_fields(_entry(0, selecting=((b"x", b"a"),) * n)),
    "304 by tag": lambda n: lambda: selected([_entry(n)] * 4, _not_modified(n, ETAG)),
    "304 by date": lambda n: lambda: selected([_entry(n)] * 4, _not_modified(n, (b"Last-Modified", b"a"))),
    "304 of clients": lambda n: lambda: client_named(_get((b"If-None-Match", b'"a",' * n)), _not_modified(n, ETAG)),
    "304 merged": lambda n: lambda: updated(_entry(n), _not_modified(n, ETAG)),
    "304 freshens": lambda n: (
        lambda: freshen(
            _entry(n), _get(n=n), _not_modified(n, (b"Cache-Control", b"max-age=9")), CachePolicy(), 0.0, 1.0
        )
    ),
    "HEAD updates": lambda n: (
        lambda: head_update(_entry(n), _get(n=n), ResponseHead(200, b"OK", _fields(n, ETAG)), CachePolicy(), 0.0, 1.0)
    ),
    "equal in what Vary names": lambda n: (
        lambda: equals_own(Asked(b"x,accept", ((b"x", b"a"),)), _fields(n), (b"x",) * n)
    ),
    "parts": lambda n: lambda: combine(_entry(n, part=(0, 8)), _entry(n, part=(4, 8))),
    "roles": lambda n: lambda: role_of({"roles": [f"r{number}" for number in range(n)]}),
    "unclear roles": lambda n: lambda: role_of({"roles": [1] * n}),
    "nested roles": lambda n: lambda: role_of({"a": {"b": {"c": ["x"] * n}}}, "a.b.c"),
    "key set": lambda n: lambda: parse_key_set(json.dumps({"keys": [{"kty": "RSA"}] * n}).encode()),
    "cookies of a request": lambda n: lambda: names_session([b"a=b; c"] * n, CachePolicy()),
    "mended answer": lambda n: (
        lambda: parse_response_head(b"HTTP/1.1 200 OK\r\n" + b"A : b\r\n c\r\n" * min(n, 200) + b"\r\n")
    ),
    "HTTP/2 request": lambda n: lambda: request_head([*PSEUDO, *((b"x", b"a"),) * n, *((b"cookie", b"a=b"),) * n]),
    "HTTP/2 trailers": lambda n: lambda: check_trailers([(b"x", b"a")] * n),
    "HTTP/2 answer": lambda n: lambda: response_fields(200, [(b"X", b"a")] * n),
    "HTTP/2 answer of lines": lambda n: lambda: response_lines(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * n),
    "tags": lambda n: lambda: _tagged(n),
    "heads together": lambda n: _together(n),
    "listing": lambda n: lambda: take(WAITING[:n], b"", 10),
}


def _quietly(call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with suppress(BadMessage, UpstreamProtocolError, BadKeySet, UnclearRoles, ValueError):
            call()

    return run


@pytest.mark.parametrize("name", DIRECT)
def test_work_of_what_few_messages_reach(seen: set[str], name: str) -> None:
    small, large = (steps_by_function(_quietly(DIRECT[name](size))) for size in (SIZE // 2, 2 * SIZE))
    seen |= {*small, *large}
    assert small.total()
    assert large.total() <= TOLERATED * small.total(), (large - small).most_common(3)


@pytest.mark.slow
def test_no_loop_is_left_out(seen: set[str]) -> None:
    if len(seen) < 100:
        pytest.skip("the cases did not run before")
    left = functions_with_loops(*ROOMS) - seen - set(BOUNDED_FUNCTIONS)
    assert sorted(name for name in left if not name.startswith(tuple(BOUNDED))) == []


@pytest.mark.slow
def test_what_is_bounded_is_there() -> None:
    names = functions_with_loops(*ROOMS)
    assert set(BOUNDED_FUNCTIONS) <= names
    assert [prefix for prefix in BOUNDED if not any(name.startswith(prefix) for name in names)] == []
