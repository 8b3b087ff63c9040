"""Whatever a miss says, whatever the backend answers, and whatever happens meanwhile: the short way does what the
general way would have done, to everybody who can tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import attrs
import pytest
from support.many_requests import LINES
from support.whole_proxy import START, Client, Message, WholeProxy, ok

from caching_proxy.http.dates import format_date
from caching_proxy.web.hot_path import HotPath

DATE = b"Date: " + format_date(START)
FRESH = b"Cache-Control: max-age=60"


def with_lines(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"hello") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        len(body),
        b"".join(line + b"\r\n" for line in lines),
        body,
    )


PLAIN = with_lines(DATE, FRESH)
ANSWERS = (
    *(PLAIN, with_lines(DATE, FRESH, body=b"x" * 70000), with_lines(DATE, FRESH, body=b"")),
    *(PLAIN[:-2], PLAIN[:30], PLAIN + b"more"),
    *(
        with_lines(DATE, FRESH, status=status)
        for status in (b"201 Created", b"203 Odd", b"301 Moved", b"404 Not Found", b"500 Oh", b"503 No", b"429 Slow")
    ),
    *(
        b"HTTP/1.1 304 Not Modified\r\n%b\r\n\r\n" % DATE,
        b"HTTP/1.1 204 No Content\r\n%b\r\n%b\r\n\r\n" % (DATE, FRESH),
    ),
    *(with_lines(DATE), with_lines(FRESH), with_lines(b"Date: x", FRESH), with_lines(DATE, DATE, FRESH)),
    with_lines(b"Date: " + format_date(START - 50), FRESH),
    with_lines(b"Date: " + format_date(START - 90), FRESH),
    with_lines(b"Date: Friday, 15-Mar-30 17:46:40 GMT", FRESH),
    *(
        with_lines(DATE, b"Cache-Control: " + value)
        for value in (
            b"no-store",
            b"private",
            b"no-cache",
            b"max-age=0",
            b"max-age=x",
            b"public, s-maxage=9, immutable",
        )
    ),
    with_lines(DATE, b"Cache-Control: max-age=5, stale-while-revalidate=7, stale-if-error=8", b'ETag: "a"'),
    with_lines(DATE, FRESH, b"CDN-Cache-Control: max-age=7"),
    *(
        with_lines(DATE, FRESH, line)
        for line in (
            *(b"Age: 7", b"Vary: Accept-Encoding", b"Vary: *", b"Vary: X-Forwarded-Host", b"Set-Cookie: a=b"),
            *(b"Surrogate-Key: one two", b"Cache-Tag: one", b"Cache-Status: inner; hit", b"Proxy-Authenticate: x"),
            *(b"Location: http://backend.test:8080/y", b"Content-Type: text/event-stream", b"X-Cache-Status: HIT"),
            *(b"Connection: close", b"Connection: foo", b"Keep-Alive: timeout=1", b"Content-Type:  text/plain\t"),
            *(b"Link: </./x>", b"A: /./x", b"Expires: 0", b"TE: x", b"A" * 600 + b": b", b"Content-Length: 5"),
        )
    ),
    b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n" + PLAIN,
    b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % (DATE, FRESH),
    b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel" % (DATE, FRESH),
    b"HTTP/1.0 200 OK\r\n%b\r\n%b\r\nContent-Length: 5\r\n\r\nhello" % (DATE, FRESH),
    b"HTTP/1.1 200 OK\r\n%b\r\n%b\r\n\r\nhello" % (DATE, FRESH),
    *(b"", b"nonsense\r\n\r\n"),
)
RULES = [
    {"match": "/tagged", "tags": ["one"]},
    {"match": "/alone", "collapse": False},
    {"match": "/over", "mode": "override", "ttl": 20},
    {"match": "/vary", "vary": ["accept-language"]},
    {"match": "/none", "share": "none"},
    {"match": "/all", "share": "everyone", "ttl": 30},
]
AROUND: tuple[dict[str, str], ...] = (
    {},
    {"rules": ""},
    {"TRUSTED_PROXIES": "192.0.2.0/24"},
    {"TRUSTED_PROXIES": "192.0.2.0/24", "STEERING_FIELDS": "x-own", "rules": "", "UNDERSCORES_IN_HEADERS": "on"},
    {"ALLOWED_HOSTS": "proxy.test", "PRESERVE_HOST": "on"},
    {"ALLOWED_HOSTS": "proxy.test", "CACHE_TTL_SECONDS": "0"},
    {"STEERING_FIELDS": "x-own,foo", "UNDERSCORES_IN_HEADERS": "on", "COOKIE_POLICY": "ignore"},
    {"STEERING_FIELDS": "via"},
    {"REWRITE_LOCATION": "off", "MAX_CACHEABLE_BYTES": "1000", "HOT_CACHE_MAX_ENTRIES": "0"},
    {"STALE_WHILE_REVALIDATE_SECONDS": "5", "STALE_IF_ERROR_SECONDS": "9", "CACHE_STATUS_NAME": "off"},
)
ODD_LINES = (  # but for several ranges: the parts of such an answer are set apart by a secret
    *(
        *(line for line in LINES if "," not in line or "Range" not in line),
        "Upgrade: websocket",
        "Max-Forwards: 0",
        "X-Own: 1",
        "Connection: close",
        "X-Forwarded-Host: evil.test",
    ),
    *("Connection: upgrade", "Proxy: y", "a:  b\t", "Via: 1.0 x (y), 1.1 z", "X_Own: 2", "Cookie: a=b", "Expect: x"),
    *("Cache-Control: no-store", "Cache-Control: only-if-cached", "Content-Length: 0", "Forwarded: for=1.2.3.4"),
)
SEVERAL_LINES = (
    ("Authorization: a", "Authorization: b"),
    ("X-Forwarded-For: 203.0.113.1, 192.0.2.7", "X-Forwarded-For:", "x-forwarded-for:\t198.51.100.1 "),
    ("X-Request-ID: a b", "X-Request-ID: one", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"),
    ("X-Forwarded-Host: other.test", "Via: 1.1 a", "X-Forwarded-For: unknown", "Forwarded: for=_x"),
)
KINDS = ("", "tagged", "alone", "over", "vary", "none", "all", "%7ex", "../x", "a/?b=/../", "_cache/")
MEANWHILE = (
    *("nothing", "leave", "end", "drain", "silence", "change", "pattern", "tag", "stored", "pause"),
    *("follow", "follow, leave", "follow, both leave", "follow, change", "follow, end", "follow, silence"),
    *("follow otherwise", "follow otherwise, leave"),
    *("in two parts", "follow, in two parts", "in two parts, leave", "byte by byte", "in two parts, change"),
)
PARTS: tuple[tuple[Any, ...], ...] = (
    ("GET", "HEAD"),
    KINDS,
    ("Host: proxy.test", "Host: other.test:81", "hOsT:proxy.test"),
    ((), *((line,) for line in ODD_LINES), *SEVERAL_LINES),
    ("whole", "ahead", "1.0"),
    ANSWERS,
    MEANWHILE,
)


def one_by_one() -> Iterator[tuple[Any, ...]]:
    """Requests that are odd in one part."""
    usual = tuple(part[0] for part in PARTS)
    for at, part in enumerate(PARTS):
        for value in part:
            yield (*usual[:at], value, *usual[at + 1 :])


def one_after_another() -> Iterator[tuple[Any, ...]]:
    """Each answer with whatever happens before it."""
    usual = tuple(part[0] for part in PARTS)
    for answer in ANSWERS:
        for meanwhile in MEANWHILE[1:]:
            yield (*usual[:-2], answer, meanwhile)


def mixed(draw: Random) -> tuple[Any, ...]:
    return tuple(draw.choice(part) if draw.random() < 0.25 else part[0] for part in PARTS)


class Side:
    """A proxy, and all that can be seen of it from outside and in its tiers."""

    def __init__(self, fast: bool, around: dict[str, str]) -> None:
        self.answer: bytes | None = None
        self.whole = WholeProxy(lambda message: self.script(message), ADMIN_TOKEN="s3cret", **around)
        path = self.whole.proxy.site.hot
        assert isinstance(path, HotPath)
        hits = path._hits
        assert hits is not None
        way = hits.misses
        assert way is not None
        self.hot, self.state = path._hot, way._key_state
        self.short = 0

        def counted(*args: Any) -> bool:
            begun = way(*args)
            self.short += begun
            return begun

        hits.misses = counted if fast else None  # type: ignore[assignment]
        self.client: Client = self.whole.client()
        self.seen: list[object] = []
        self.rounds = 0

    def script(self, message: Message) -> bytes | None:
        if message.method != b"GET":
            return ok(b"done")
        return self.answer

    def ask(self, request: tuple[Any, ...]) -> None:
        method, kind, host, lines, manner, answer, meanwhile = request
        self.rounds += 1
        target = f"/{self.rounds}/{kind}"
        version = "1.0" if manner == "1.0" else "1.1"
        head = "\r\n".join((f"{method} {target} HTTP/{version}", host, *lines, "", "")).encode()
        if self.client.closed:
            self.client = self.whole.client()
        self.answer = answer or None if meanwhile == "nothing" else None
        self.seen.append(self.client.send(head * 2 if manner == "ahead" else head))
        if meanwhile != "nothing":
            self.happen(meanwhile, target.encode(), head, answer)
        whole = self.whole
        whole.proxy.site.connections.draining = False
        self.answer = PLAIN
        self.seen.append((self.client.take(), self.client.closed))
        self.seen.append(self.tell_once(head))
        self.seen.append(self.tell_once(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode()))
        self.look(b"/%d/" % self.rounds)

    def tell_once(self, data: bytes, host: str = "192.0.2.9") -> bytes:
        """What a client gets that sends ``data`` and then leaves."""
        client = self.whole.client(host)
        answer = client.send(data)
        client.close()
        return answer

    def happen(self, meanwhile: str, target: bytes, head: bytes, answer: bytes) -> None:
        whole, follower = self.whole, None
        if "follow" in meanwhile:
            follower = whole.client("192.0.2.2")
            other = b"\r\nAccept-Encoding: zstd\r\n\r\n" if "otherwise" in meanwhile else b"\r\n\r\n"
            self.seen.append(follower.send(head.replace(b"\r\n\r\n", other)))
        half = len(answer) - 2
        if "parts" in meanwhile:
            self.tell(answer[:half])
            self.seen.append(self.client.take())
        if "byte" in meanwhile:
            for at in range(min(half, 500)):
                self.tell(answer[at : at + 1])
            half = min(half, 500)
        if "leave" in meanwhile:
            self.client.close()
        if "both" in meanwhile and follower is not None:
            follower.close()
        self.change(meanwhile, target)
        if "end" in meanwhile or "silence" in meanwhile:
            self.no_answer(meanwhile)
        elif "parts" in meanwhile or "byte" in meanwhile:
            self.tell(answer[half:])
        else:
            self.tell(answer)
        self.answer = PLAIN
        whole.pump()
        if follower is not None:
            self.seen.append((follower.take(), follower.closed))
            follower.close()

    def change(self, meanwhile: str, target: bytes) -> None:
        whole = self.whole
        if "drain" in meanwhile:
            whole.proxy.site.connections.draining = True
        if "change" in meanwhile:
            self.seen.append(self.tell_once(b"DELETE %b HTTP/1.1\r\nHost: a\r\n\r\n" % target))
        what = {"pattern": {"pattern": "cache:GET:*:/*"}, "tag": {"tags": ["one"]}}.get(meanwhile)
        if what is not None:
            body = json.dumps(what).encode()
            self.seen.append(
                self.tell_once(
                    b"POST /invalidate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nContent-Length: %d\r\n"
                    b"\r\n%b" % (len(body), body)
                )
            )
        if meanwhile == "stored":  # by who asks for a fresh one
            before, self.answer = self.answer, with_lines(DATE, b"Cache-Control: max-age=99", body=b"other")
            head = b"GET %b HTTP/1.1\r\nHost: proxy.test\r\nCache-Control: no-cache\r\n\r\n"
            self.seen.append(self.tell_once(head % target))
            self.answer = before
        if meanwhile == "pause":
            whole.pass_time(3)

    def tell(self, data: bytes) -> None:
        """Let the backend say ``data`` on whatever connection waits for an answer."""
        for end in self.whole.backend.ends:
            if not end.lost and data:
                connection = end.transport.peer.protocol  # type: ignore[union-attr]
                if connection._exchange is not None or connection._body is not None:
                    end.transport.write(data)  # type: ignore[union-attr]
        self.whole.pump()

    def no_answer(self, meanwhile: str) -> None:
        if "silence" in meanwhile:
            self.whole.pass_time(70)
            return
        for end in self.whole.backend.ends:
            if not end.lost:
                end.transport.loseConnection()  # type: ignore[union-attr]
        self.whole.pump()

    def look(self, target: bytes) -> None:
        """What was sent and logged, what the tiers hold of ``target``, and whether anything goes on."""
        whole, proxy, state = self.whole, self.whole.proxy, self.state
        # In the general way what was sent ahead may be answered before the answer that let it be is told of.
        self.seen += [whole.backend.bytes, sorted(whole.logged, key=json.dumps)]
        self.seen += [len(whole.backend.ends), [end.lost for end in whole.backend.ends]]
        whole.backend.bytes = b""
        whole._log.seek(0)
        whole._log.truncate()
        whole.backend.ends[:] = [end for end in whole.backend.ends if not end.lost]
        whole.wires[:] = [wire for wire in whole.wires if wire.client.connected or wire.server.connected]
        now = whole.clock.seconds()
        records = [self.hot.peek(key, now) for key in self.hot.all_keys() if target in key]
        self.seen.append(
            [attrs.astuple(entry, recurse=False) for record in records if record for entry in record.entries]
        )
        self.seen.append((self.hot.entries, self.hot.bytes, self.hot.hits, self.hot.misses))
        slots = [slot for key, slot in proxy.store._slots.items() if target in key]
        self.seen.append([(slot.variants, slot.expires_at, slot.tags, slot.stale) for slot in slots])
        self.seen.append((list(state.records), list(state.hit_for_miss.until), state.collapsed))
        self.seen.append((proxy.upstream.connections, proxy.upstream.idle, dict(proxy.upstream._line._held)))

    def close(self) -> None:
        proxy = self.whole.proxy
        self.seen.append(proxy.metrics.requests.totals())
        lines = proxy.metrics.render(None)[0].splitlines()
        self.seen.append([line for line in lines if b"process" not in line and b"python" not in line])
        self.whole.stop()


def compare(sent: Iterable[tuple[Any, ...]], around: dict[str, str]) -> int:
    """How many requests took the short way."""
    fast, general = (Side(way, around) for way in (True, False))
    for request in sent:
        for side in (fast, general):
            side.seen.clear()
            side.ask(request)
        for one, other in zip(fast.seen, general.seen, strict=True):
            assert one == other, request
    for side in (fast, general):
        side.seen.clear()
        side.close()
    assert fast.seen == general.seen
    assert not general.short
    return fast.short


def environment(around: dict[str, str], place: Any) -> dict[str, str]:
    if "rules" not in around:
        return around
    path = place / "rules.json"
    path.write_text(json.dumps(RULES))
    return {**{name: value for name, value in around.items() if name != "rules"}, "CACHE_RULES": str(path)}


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND)
def test_both_ways_are_alike(tmp_path, around):
    around = environment(around, tmp_path)
    short = compare(one_by_one(), around)
    never = around.get("STEERING_FIELDS") == "via"
    assert (short > 50) is not never
    draw = Random(1)
    compare((mixed(draw) for _ in range(400)), around)


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND[:2])
def test_both_ways_are_alike_whatever_happens_before_the_answer(tmp_path, around):
    assert compare(one_after_another(), environment(around, tmp_path)) > 500
