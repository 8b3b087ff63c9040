"""Whatever changes say, and whatever the backend answers: the short way does what the general way would have done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import pytest
from support.many_requests import LINES
from support.whole_proxy import START, Client, Message, WholeProxy, cacheable
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from caching_proxy.cache.requests import ClientRequest
from caching_proxy.http.dates import format_date
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.web.fast_pass import FastPass, Passage
from caching_proxy.web.hot_path import HotPath

DATE = b"Date: " + format_date(START)
PLAIN = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 5\r\n\r\nhello" % DATE
LONG = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 70000\r\n\r\n%b" % (DATE, b"x" * 70000)


def with_lines(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\nContent-Length: 5\r\n%b\r\nhello" % (
        status,
        DATE,
        b"".join(line + b"\r\n" for line in lines),
    )


ANSWERS = (
    *(PLAIN, b"", LONG, PLAIN[:-2], PLAIN[:30], PLAIN + b"more"),
    *(with_lines(status=status) for status in (b"201 Created", b"302 Found", b"404 Not Found", b"500 Oh", b"999")),
    with_lines(b"Location: http://backend.test:8080/y", status=b"201 Created"),
    with_lines(b"Location: /y"),
    with_lines(b"Content-Location: /x", b"Cache-Control: max-age=60"),
    with_lines(b"Connection: close"),
    with_lines(b"Connection: foo", b"Foo: 1"),
    with_lines(b"Keep-Alive: timeout=1", b"Surrogate-Key: a", b"X-Cache-Status: HIT", b"Proxy-Authenticate: x"),
    with_lines(b"Cache-Status: inner; hit", b"Age: 7", b"Link: /./x"),
    with_lines(b"Link: </./x>", b"A: /./x", b"Set-Cookie: a=b", b"Set-Cookie: c=d", b"TE: x", b"Upgrade: h2c"),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n" + PLAIN,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % DATE,
    b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 0\r\n\r\n" % DATE,
    b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % DATE,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n%b\r\nContent-Length: 5\r\n\r\nhello" % DATE,
    b"nonsense\r\n\r\n",
)
RULES = [
    {"methods": ["POST"], "post_path_regex": "^/(x)", "invalidate_patterns": ["cache:GET:*:/y*"]},
    {
        "methods": ["PUT", "DELETE"],
        "post_path_regex": "^/(x)",
        "invalidate_patterns": ["cache:GET:/y", "cache:GET:anonymous:/$1", "cache:GET:*:/$1/*"],
        "invalidate_tags": ["for-$1", "y"],
        "soft": True,
    },
]
AROUND: tuple[dict[str, str], ...] = (
    {},
    {"rule": ""},
    {"TRUSTED_PROXIES": "192.0.2.0/24"},
    {"TRUSTED_PROXIES": "192.0.2.0/24", "STEERING_FIELDS": "x-own", "UNDERSCORES_IN_HEADERS": "on", "rule": ""},
    {"CACHE_RULES": "", "JWT_SECRET": "a secret that is long enough, or nearly so"},
    {"siblings": "0"},
    {"siblings": "0.9", "rule": "", "TRUSTED_PROXIES": "192.0.2.0/24"},
    {"ALLOWED_HOSTS": "proxy.test", "PRESERVE_HOST": "on"},
    {"ALLOWED_HOSTS": "proxy.test"},
    {"STEERING_FIELDS": "x-own,foo,if-match,if-unmodified-since", "UNDERSCORES_IN_HEADERS": "on"},
    {"STEERING_FIELDS": "via"},
    {"REWRITE_LOCATION": "off", "MAX_REQUEST_BODY_BYTES": "100"},
    {"REQUEST_BUFFER_BYTES": "100"},
    {"REQUEST_BUFFER_BYTES": "0"},
)
ODD_LINES = (
    *(*LINES, "Expect: 100-continue", "Upgrade: websocket", "Max-Forwards: 0", "X-Own: 1", "Connection: close"),
    *("Cache-Control: no-store", "Pragma: no-cache", "If-Unmodified-Since: x", "Authorization: Bearer a, b"),
    *("Connection: upgrade", "HTTP2-Settings: x", "Proxy: y", "a:  b\t", "Via: 1.0 x (y), 1.1 z", "X_Own: 2"),
)
SEVERAL_LINES = (
    ("Authorization: a", "Authorization: b"),
    ("Cache-Control: no-store", "If-Match: x", "Cookie: a=b"),
    ('If-None-Match: "a"', "Cookie: sid=1", "Cookie: b=c", "Range: bytes=0-3"),
    ("X-Forwarded-For: 203.0.113.1, 192.0.2.7", "X-Forwarded-For:", "x-forwarded-for:\t198.51.100.1 "),
    ("X-Request-ID: a b", "X-Request-ID: one", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
    ("X-Forwarded-Host: other.test", "Via: 1.1 a", "X-Forwarded-For: unknown", "Forwarded: for=_x"),
)
ODD_TARGETS = (
    "/z/?a=b",
    "/x/1?a=%2e",
    "/../x",
    "/a/..%2f..",
    "/_cache/x",
    "/invalidate",
    "/keys?x",
    "*",
    "http://other.test/x",
)


BOUNDARY = re.compile(rb"[0-9a-f]{32}")

PARTS: tuple[tuple[Any, ...], ...] = (
    ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD", "post"),
    ("/x", "/y", "/z", *ODD_TARGETS),
    ("Host: proxy.test", "Host: other.test:81", "hOsT:proxy.test"),
    ((), *((line,) for line in ODD_LINES), *SEVERAL_LINES),
    (b"body", b"", b"x" * 200, b"x" * 5000),
    ("whole", "ahead", "late", "chunked", "1.0", "in pieces", "late chunked", "half"),
    ANSWERS,
    ("wait", "leave", "end", "drain", "silence"),
)
CHANGE = tuple(part[0] for part in PARTS)
"""A request; each part of it has other values, most of them odd."""

PERSONAL = ("GET", "/z", CHANGE[2], ("Cookie: sid=1",), b"", *CHANGE[5:])


def one_by_one(usual: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Requests that are odd in one part, then those whose answer comes late or never while something happens."""
    for at, part in enumerate(PARTS):
        for value in part:
            yield (*usual[:at], value, *usual[at + 1 :])
    for answer in ANSWERS:
        for then in PARTS[-1][1:-1]:
            yield (*usual[:-2], answer, then)


def mixed(draw: Random, usual: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = zip(PARTS, usual, strict=True)
    return tuple(draw.choice(part) if draw.random() < 0.2 else value for part, value in parts)


def bytes_of(method: str, target: str, host: str, lines: list[str], body: bytes, manner: str) -> list[bytes]:
    """A request in the parts that it comes in."""
    version, chunked = "1.0" if manner == "1.0" else "1.1", "chunked" in manner
    framing = ["Transfer-Encoding: chunked"] if body and chunked else []
    if body and not framing:
        framing = [f"Content-Length: {len(body)}"]
    head = "\r\n".join((f"{method} {target} HTTP/{version}", host, *lines, *framing, "", "")).encode()
    if body and chunked:
        body = b"%x\r\n%b\r\n0\r\nA: b\r\n\r\n" % (len(body), body)
    if manner == "half":
        return [head + body[: len(body) // 2]]
    if manner == "in pieces":
        return [head, body[:50], body[50:100], body[100:]]
    return [head + body[:2], body[2:]] if "late" in manner else [head + body]


class Sibling:
    """Another worker, which takes its time and never has anything stored."""

    clock: Clock
    seconds = 0.0

    def __init__(self) -> None:
        self.said: list[Invalidation] = []
        self._waiting: list[Deferred[None]] = []
        self._left = 0

    def announce(self, invalidation: Invalidation, on_removed: Callable[[set[bytes]], object]) -> None:
        self.said.append(invalidation)
        self._left += 1
        self.clock.callLater(self.seconds, self._done, on_removed)

    def reached(self) -> Deferred[None]:
        if not self._left:
            return succeed(None)
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def _done(self, on_removed: Callable[[set[bytes]], object]) -> None:
        on_removed(set())
        self._left -= 1
        waiting, self._waiting = ([], self._waiting) if self._left else (self._waiting, [])
        for each in waiting:
            each.callback(None)


class Side:
    """A proxy, and all that can be seen of it from outside."""

    def __init__(self, fast: bool, around: dict[str, str]) -> None:
        self.answer = b""
        slow = around.pop("siblings", "")
        self.siblings = Sibling() if slow else None
        self.whole = WholeProxy(self.script, self.siblings, ADMIN_TOKEN="s3cret", **around)
        if self.siblings is not None:
            self.siblings.clock, self.siblings.seconds = self.whole.clock, float(slow)
        self.short = 0
        site = self.whole.proxy.site
        way = site.passing
        assert isinstance(way, FastPass)

        def counted(ask: Callable[..., Passage | None]) -> Callable[..., Passage | None]:
            def counting(*asked: Any) -> Passage | None:
                passage = ask(*asked)
                self.short += passage is not None
                return passage

            return counting

        hot = site.hot
        assert isinstance(hot, HotPath)
        site.passing, hot.past = (counted(way), counted(way.past)) if fast else (None, None)
        self.invalidated: list[object] = []
        tell = way.passing._observe
        assert tell is not None

        def observe(what: bytes, request: ClientRequest, count: int | None) -> None:
            head = request.head
            said = (head.method, head.target, head.fields.pairs, request.client_ip, request.peer, request.request_id)
            also = (request.scheme, request.trusted, request.port, request.steered)
            self.invalidated.append((what, said, also, count))
            tell(what, request, count)

        way.passing._observe = observe
        happenings = way.recorder._happenings
        assert happenings is not None
        self.happened = happenings.recent
        self.client: Client = self.whole.client()
        self.seen: list[object] = []

    def script(self, message: Message) -> bytes | None:
        if message.method == b"GET" and message.target in (b"/x", b"/y"):
            return cacheable(message)
        return self.answer or None

    def ask(self, request: tuple[Any, ...]) -> None:
        *parts, self.answer, then = request
        if self.client.closed:
            self.client = self.whole.client()
        sent = bytes_of(*parts)
        for part in [sent[0] * 2] if parts[-1] == "ahead" else sent:
            if part and not self.client.closed:
                self.seen.append(BOUNDARY.sub(b"a secret", self.client.send(part)))
        self.happens(then)
        self.whole.pump()
        if self.siblings is not None:
            self.seen.append(self.client.take())
            self.whole.pass_time(2)
        self.seen.append((self.client.take(), self.client.closed))
        self.whole.proxy.site.connections.draining = False
        for target in (b"/x", b"/y"):
            self.seen.append(self.whole.ask(b"GET %b HTTP/1.1\r\nHost: proxy.test\r\n\r\n" % target))

    def happens(self, then: str) -> None:
        """What happens while the answer is waited for."""
        if then == "leave":
            self.client.close()
        elif then == "end":
            for end in self.whole.backend.ends:
                if not end.lost:
                    end.transport.loseConnection()  # type: ignore[union-attr]
        elif then == "drain":
            self.whole.proxy.site.connections.draining = True
            for end in self.whole.backend.ends:
                if not end.lost:
                    end.transport.write(PLAIN)  # type: ignore[union-attr]
        elif then == "silence":
            self.whole.pass_time(70)

    def close(self) -> None:
        backend, proxy = self.whole.backend, self.whole.proxy
        self.seen += [
            self.invalidated,
            self.happened(),
            self.siblings and self.siblings.said,
            backend.bytes,
            len(backend.ends),
            [end.lost for end in backend.ends],
            self.whole.logged,
        ]
        self.seen.append(proxy.site.uploads.left)
        self.seen.append((proxy.upstream.connections, proxy.upstream.idle, proxy.upstream._line._held))
        self.seen.append(proxy.metrics.requests.totals())
        self.seen.append(
            [
                line
                for line in proxy.metrics.render(None)[0].splitlines()
                if b"process" not in line and b"python" not in line
            ]
        )
        self.whole.stop()


def compare(sent: Iterable[tuple[Any, ...]], around: dict[str, str]) -> int:
    """How many requests took the short way."""
    fast, general = (Side(way, {**around}) for way in (True, False))
    for request in sent:
        for side in (fast, general):
            side.seen.clear()
            side.ask(request)
        assert fast.seen == general.seen, request
    for side in (fast, general):
        side.close()
    assert fast.seen == general.seen
    assert not general.short
    return fast.short


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND)
def test_both_ways_are_alike(tmp_path, around):
    if "CACHE_RULES" in around:
        path = tmp_path / "cache-rules.json"
        path.write_text(json.dumps([{"match": "^/z", "share": "none"}, {"match": "/x", "share": "everyone"}]))
        around = {**around, "CACHE_RULES": str(path)}
    if "rule" in around:
        path = tmp_path / "rules.json"
        path.write_text(json.dumps(RULES))
        around = {**around, "INVALIDATION_CONFIG": str(path)}
        del around["rule"]
    draw, never = Random(1), around.get("STEERING_FIELDS") == "via"
    for usual in (CHANGE, PERSONAL):
        short = compare(one_by_one(usual), around)
        assert (short > 50) is not never
        compare((mixed(draw, usual) for _ in range(100)), around)
