"""Heads read by their lines are as the whole expression has them, and an ordinary one spares no rule."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caching_proxy.cache.responses import _only_relayed
from caching_proxy.http.framing import BadMessage, response_framing
from caching_proxy.http.hop_by_hop import fast_relayed_lines, relayed
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.interfaces import UpstreamProtocolError
from caching_proxy.rules.codec import encode
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.make_entry import _fields, _lines, make_entry
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import Verdict, judge
from caching_proxy.upstream.head_lines import HeadLines
from caching_proxy.upstream.response_head import MAX_HEAD_BYTES, delimited, keep_alive, parse_response_head, settled

NOW = 1_900_000_000.0
DATES = (b"Sun, 17 Mar 2030 17:46:40 GMT", b"Sunday, 17-Mar-30 17:46:40 GMT", b"yesterday", b"")
LINES = (
    *(b"Date: " + date for date in DATES),
    *(b"Content-Length: 5", b"Content-Length: 5", b"content-length:5", b"Content-Length: 05", b"Content-Length: 5, 5"),
    *(b"Content-Length: +5", b"Content-Length: " + b"9" * 17, b"Content-Length: 0", b"Content-Length:"),
    *(b"Connection: keep-alive", b"Connection: close", b"Connection: X-Own, Date", b"Connection: content-length"),
    *(b"Keep-Alive: timeout=5", b"Keep-Alive: max=3", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
    *(b"Server: x", b"X-Own:\t1 \t", b"Cache-Control: max-age=60", b'ETag: "1"', b"Set-Cookie: a=b", b"Vary: Accept"),
    *(b"Location: /x", b"Content-Location: /y", b"Cache-Status: a; hit", b"X-Cache-Status: HIT", b"Surrogate-Key: a b"),
    *(b"CDN-Cache-Control: max-age=9", b"Cache-Control: no-store", b"vary: *", b"Cache-Tag: a, b", b"Expires: 0"),
    *(b"Content-Type: text/event-stream", b"content-type: text/plain", b"Other-Control: no-store", b"Set-Cookie2: a"),
    *(b"Age: 3", b"Proxy-Authenticate: x", b"Upgrade: h2c", b"Trailer: x", b"X: \x01\xff", b"TE: x", b"X-Own: 2"),
    *(b"X: a\rb", b"X : 1", b" folded", b"\tfolded", b"no colon", b": 1", b"", b"X: \0", b"X: a\nY: b", b"X(: 1"),
)
STARTS = (b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 x", b"HTTP/1.1 304 x")
ODD = (
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 503 a  b ",
    b"HTTP/1.1 20 x",
    b"HTTP/2 200 x",
    b" HTTP/1.1 200",
    b"HTTP/1.1 099 x",
)
USUAL = (LINES[0], b"Content-Length: 5", b"Server: x", b"Connection: keep-alive")
READER = HeadLines()
"""One for all examples: what was seen before must make no difference."""

heads = st.builds(
    lambda start, usual, lines, end: b"\r\n".join((start, *usual, *lines)) + end,
    st.sampled_from((*STARTS, *STARTS, *ODD)),
    st.permutations(USUAL).flatmap(lambda lines: st.integers(0, 4).map(lambda count: tuple(lines[:count]))),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from((b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n\n")),
)


def in_general(data: bytes) -> ResponseHead | str:
    try:
        return parse_response_head(data)
    except UpstreamProtocolError as error:
        return str(error)


def by_lines(data: bytes) -> ResponseHead | str:
    try:
        return READER.read(data)
    except UpstreamProtocolError as error:
        return str(error)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(heads)
@example(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X: %d\r\n" % number for number in range(300)) + b"\r\n")
@example(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n")
@example(b"HTTP/1.1 200 " + b"x" * 100 + b"\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\n\r\n")
def test_the_same_as_in_general(data: bytes) -> None:
    assert by_lines(data) == in_general(data)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(heads, st.sampled_from((b"GET", b"POST", b"HEAD", b"DELETE")))
def test_what_is_ordinary_spares_no_rule(data: bytes, method: bytes) -> None:
    read, whole = by_lines(data), in_general(data)
    if isinstance(read, str) or isinstance(whole, str) or read.status < 200:
        return
    general = ResponseHead(whole.status, whole.reason, Fields(whole.fields.pairs), whole.minor)
    try:
        framing, reusable = response_framing(method, general)
    except BadMessage as error:
        assert read.ordinary is None, error
        return
    expected = settled(general, framing), framing, reusable, keep_alive(general.fields)
    assert delimited(method, read) == expected
    lines = fast_relayed_lines(read, NOW)
    if lines is not None:
        assert lines == relayed(general.fields, NOW).encoded()
        assert general.fields.index.keys().isdisjoint((b"location", b"content-location", b"cache-status"))
    for drop in (frozenset[bytes](), frozenset((b"etag",))):
        assert _lines(read, drop, NOW) == _fields(general.fields, drop, NOW).encoded()


ASKED = RequestHead(b"GET", b"/x", Fields([(b"Host", b"h"), (b"Accept", b"*/*")]))
POLICIES = tuple(
    CachePolicy(default_ttl=ttl, targets=targets, max_body=100)
    for ttl in (0, 60)
    for targets in ((), (b"cdn-cache-control",), (b"other-control", b"cdn-cache-control"))
)


def stored(head: ResponseHead, policy: CachePolicy) -> tuple[Verdict, CacheEntry | None]:
    verdict = judge(
        ASKED, head, policy=policy, established=True, has_body=False, requested_at=NOW - 1, received_at=NOW + 1
    )
    if verdict.refusal is not None:
        return verdict, None
    return verdict, make_entry(b"key", ASKED, head, b"12345", verdict, policy, NOW + 1)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(heads, st.sampled_from(POLICIES))
def test_what_is_told_by_its_lines_is_judged_as_in_general(data: bytes, policy: CachePolicy) -> None:
    read, whole = by_lines(data), in_general(data)
    if isinstance(read, str) or isinstance(whole, str) or read.status < 200:
        return
    general = ResponseHead(whole.status, whole.reason, Fields(whole.fields.pairs), whole.minor)
    if read.ordinary is None and len(whole.fields.all(b"content-length")) > 1:
        return  # mended before anybody judges it
    (verdict, entry), (expected, other) = stored(read, policy), stored(general, policy)
    assert verdict == expected
    assert (entry is None) == (other is None)
    if entry is not None and other is not None:
        assert encode(entry) == encode(other)
    assert _only_relayed(read.fields) == read.fields.told(_only_relayed) == _only_relayed(general.fields)


@pytest.mark.parametrize("missing", [None, *USUAL[:2]])
def test_most_heads_are_ordinary(missing: bytes | None) -> None:
    data = b"\r\n".join((b"HTTP/1.1 200 OK", *(line for line in USUAL if line != missing), b"\r\n"))
    found = HeadLines().read(data)
    assert (found.ordinary is not None) == (missing is None)
    if found.ordinary is not None:
        assert (found.ordinary.length, found.ordinary.date, found.ordinary.manner.persistent) == (5, DATES[0], True)
