"""What the proxy says it did is what the backend saw: pipelined corpora of good and odd requests, sent in pieces.

Each request carries its number in its target. The backend, the client and the access log are then compared: every
request that the backend saw was answered by it and logged once, in order, with its very bytes of content; nothing else
reached it; and after the first refusal nothing did at all.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.whole_proxy import WholeProxy, ok

METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"X-FROB", b"get"])
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]
    ),
)
HARMLESS = st.sampled_from(
    [
        *(
            b"X: y",
            b"x-empty:",
            b"Accept: */*",
            b"X:no space",
            b"X: \xe9",
            b"Content-Type: text/plain",
            b"TE: trailers",
        ),
        *(
            b"Connection: keep-alive",
            b"Connection: X, keep-alive",
            b"Keep-Alive: 5",
            b"Upgrade: h2c",
            b"Max-Forwards: 3",
        ),
        *(b"Cache-Control: no-cache", b"Range: bytes=0-", b"If-None-Match: *", b"Cookie: a=b", b"Authorization: x"),
        *(b"Trailer: X", b"Via: 1.1 other", b"X-Forwarded-For: 1.2.3.4"),
    ]
)
ODD = st.sampled_from(
    [
        *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: +1", b"Transfer-Encoding: chunked"),
        *(
            b"Transfer-Encoding: x",
            b"Transfer-Encoding : chunked",
            b" X: folded",
            b"X : y",
            b"X",
            b"X: a\rb",
            b"X: \x00",
        ),
        *(b"Host: b", b"Host: a b", b"Connection: cookie", b"Connection: close", b"Content_Length: 3", b"X: a\nY: b"),
        b"Expect: 100-continue",
    ]
)


@attrs.frozen
class Sent:
    """A request: its pieces are put together by ``raw``."""

    method: bytes
    body: bytes
    chunked: int  # 0: Content-Length, else the size of chunks
    fields: tuple[bytes, ...]
    odd: tuple[bytes, ...]
    version: bytes
    tail: bytes  # bytes too many

    def raw(self, number: int) -> bytes:
        framing, body = b"Content-Length: %d\r\n" % len(self.body), self.body
        if not self.body and self.method == b"GET":
            framing = b""
        elif self.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
            pieces = [self.body[at : at + self.chunked] for at in range(0, len(self.body), self.chunked)]
            body = b"".join(b"%x;e=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nT: u\r\n\r\n"
        lines = b"".join(line + b"\r\n" for line in (*self.fields, *self.odd))
        return b"%b /%d HTTP/%b\r\nHost: a\r\n%b%b\r\n%b%b" % (
            *(self.method, number, self.version, framing, lines, body, self.tail),
        )


GOOD = st.builds(
    Sent,
    method=METHODS,
    body=BODIES,
    chunked=st.sampled_from([0, 0, 1, 7]),
    fields=st.lists(HARMLESS, max_size=3).map(tuple),
    odd=st.just(()),
    version=st.just(b"1.1"),
    tail=st.just(b""),
)
BAD = st.builds(
    Sent,
    method=METHODS,
    body=BODIES,
    chunked=st.sampled_from([0, 0, 3]),
    fields=st.lists(HARMLESS, max_size=2).map(tuple),
    odd=st.lists(ODD, min_size=1, max_size=2).map(tuple),
    version=st.sampled_from([b"1.1", b"1.1", b"1.0", b"1.2", b"2.0"]),
    tail=st.sampled_from([b"", b"", b"\r\n", b"x", b"\n", b"\x00"]),
)


def reflecting(message):
    """Its own name for each request, uncacheable, so that every one that is answered was seen."""
    return ok(b"%b %b %b" % (message.method, message.target, message.body), b"Cache-Control: no-store")


def exchange(data, step):
    """Sends ``data`` in pieces; the proxy afterwards, and the answers."""
    whole = WholeProxy(reflecting)
    client = whole.client()
    answers = []
    for at in range(0, len(data), step):
        answers += client.ask(data[at : at + step])
    whole.pass_time(1)
    return whole, client, answers


def compare(whole, answers):
    """What must hold whatever was sent; the requests that the backend saw."""
    seen = whole.backend.requests
    by_backend = [
        answer for answer in answers if answer.get("x-cache-status") in (b"N/A", b"BYPASS", b"MISS", b"REFRESH")
    ]
    assert [answer.body for answer in by_backend] == [
        b"%b %b %b" % (request.method, request.target, request.body) for request in seen
    ]
    logged = [(line["method"].encode(), line["path"].encode()) for line in whole.logged if line["status"] == 200]
    assert logged == [(request.method, request.target) for request in seen]
    refusals = [answer for answer in answers if answer not in by_backend]
    assert len(refusals) <= 1
    assert all(answer.status in (400, 413, 414, 431, 501, 505) for answer in refusals)
    assert refusals == answers[len(by_backend) :], "a refusal is the last thing said"
    for request in seen:
        assert len(request.all("content-length") + request.all("transfer-encoding")) <= 1
        assert len(request.all("host")) == 1
        assert not request.all("t"), "trailers stay behind"
    return seen


@settings(max_examples=150)
@given(st.lists(GOOD, min_size=1, max_size=8), st.integers(1, 400))
@pytest.mark.slow
def test_good_requests_all_arrive_just_as_they_were(requests, step):
    data = b"".join(request.raw(number) for number, request in enumerate(requests))
    whole, _, answers = exchange(data, step)
    seen = compare(whole, answers)
    assert [(request.method, request.target, request.body) for request in seen] == [
        (request.method, b"/%d" % number, request.body) for number, request in enumerate(requests)
    ]
    whole.stop()


@settings(max_examples=200)
@given(st.lists(st.one_of(GOOD, GOOD, BAD), min_size=2, max_size=8), st.integers(1, 400))
@pytest.mark.slow
def test_odd_ones_among_them_change_nothing_about_the_rest(requests, step):
    data = b"".join(request.raw(number) for number, request in enumerate(requests))
    whole, client, answers = exchange(data, step)
    seen = compare(whole, answers)
    numbers = [int(request.target[1:]) for request in seen]
    assert numbers == list(range(len(numbers))), "none left out, none invented, none twice"
    for number, request in zip(numbers, seen, strict=True):
        if not requests[number].odd:
            assert (request.method, request.body) == (requests[number].method, requests[number].body)
    clean = next((number for number, request in enumerate(requests) if request.odd or request.tail), len(requests))
    assert len(seen) >= clean, "what came before the first odd one was served"
    if answers and answers[-1].status >= 400:
        assert client.closed
    whole.stop()


@settings(max_examples=200)
@given(st.lists(GOOD, min_size=2, max_size=4), st.data())
@pytest.mark.slow
def test_damaged_bytes(requests, data):
    """Any bytes, in place of some: whatever is made of them, all three accounts agree."""
    raw = bytearray(b"".join(request.raw(number) for number, request in enumerate(requests)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\x00", b":", b"9", b"G"])
        )
    whole, _, answers = exchange(bytes(raw), data.draw(st.integers(1, 400)))
    compare(whole, answers)
    whole.stop()


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_hits_among_them(step):
    """Answers from the cache and from the backend on one connection keep the order of their requests."""
    whole = WholeProxy(lambda message: ok(message.target + b" " + message.body, b"Cache-Control: max-age=60"))
    data = b"".join(
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % (number % 3)
        + b"POST /p%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % (number, number)
        for number in range(9)
    )
    client = whole.client()
    answers = [answer for at in range(0, len(data), step) for answer in client.ask(data[at : at + step])]
    expected = [line for number in range(9) for line in (b"/%d " % (number % 3), b"/p%d %d" % (number, number))]
    assert [answer.body for answer in answers] == expected
    assert len(whole.backend.requests) == 3 + 9
    assert sorted(line["path"] for line in whole.logged) == sorted(line.split(b" ")[0].decode() for line in expected)
    whole.stop()
