"""A request's head in the two spellings, and what is no head at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.http2.heads import check_trailers, request_head, response_fields, response_lines
from caching_proxy.server.request_head import parse_request_head

METHOD, SCHEME, AUTHORITY, PATH = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.example"),
    (b":path", b"/x?y=1"),
)
USUAL = (METHOD, SCHEME, AUTHORITY, PATH)
START = b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\n"


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ((), START),
        (((b"accept", b"*/*"), (b"x", b"")), START + b"accept: */*\r\nx: \r\n"),
        (((b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2")), START + b"x: 1\r\ncookie: a=1; b=2\r\n"),
        (((b"te", b"trailers"),), START),
        (((b"host", b"A.example"),), START),
    ],
)
def test_heads(fields: tuple[tuple[bytes, bytes], ...], head: bytes) -> None:
    assert request_head((*USUAL, *fields)) == head + b"\r\n"


def test_Host_stands_in_for_a_missing_authority() -> None:
    assert request_head((METHOD, SCHEME, PATH, (b"host", b"b"))) == b"GET /x?y=1 HTTP/1.1\r\nHost: b\r\n\r\n"


MALFORMED = [
    ((METHOD, SCHEME, PATH), 400),  # nobody is named
    ((METHOD, SCHEME, (b":authority", b""), PATH), 400),
    ((METHOD, AUTHORITY, PATH), 400),
    ((SCHEME, AUTHORITY, PATH), 400),
    ((METHOD, SCHEME, AUTHORITY), 400),
    ((*USUAL, METHOD), 400),
    ((*USUAL, (b":protocol", b"websocket")), 400),
    ((*USUAL, (b":status", b"200")), 400),
    ((METHOD, SCHEME, (b"x", b"1"), AUTHORITY, PATH), 400),
    ((METHOD, SCHEME, (b"cookie", b"1"), AUTHORITY, PATH), 400),
    ((METHOD, SCHEME, (b"host", b"a"), PATH), 400),
    ((METHOD, (b":scheme", b"ftp"), AUTHORITY, PATH), 400),
    (((b":method", b"G T"), SCHEME, AUTHORITY, PATH), 400),
    (((b":method", b""), SCHEME, AUTHORITY, PATH), 400),
    (((b":method", b"CONNECT"), AUTHORITY), 501),
    *[
        ((METHOD, SCHEME, AUTHORITY, (b":path", path)), 400)
        for path in (b"", b"x", b"http://b/", b"/ x", b"/\xc3", b"/\r\n")
    ],
    *[((*USUAL, (name, b"1")), 400) for name in (b"X", b"", b"a b", b"a:", b"\xc3", b"a\r\nb")],
    *[
        ((*USUAL, (name, b"x")), 400)
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te")
    ],
    *[((*USUAL, (b"x", value)), 400) for value in (b"a\r\nb: c", b"a\nb", b"a\rb", b"\x00", b" a", b"a\t")],
    *[((METHOD, SCHEME, (b":authority", name), PATH), 400) for name in (b"a\r\nx: y", b" a")],
    ((*USUAL, (b"host", b"b.example")), 400),
    ((*USUAL, (b"host", b"a.example"), (b"host", b"a.example")), 400),
]


@pytest.mark.parametrize(("fields", "status"), MALFORMED)
def test_malformed(fields: tuple[tuple[bytes, bytes], ...], status: int) -> None:
    with pytest.raises(BadMessage) as raised:
        request_head(fields)
    assert raised.value.status == status


@pytest.mark.parametrize("name", [b"u@a", b"a,b", b"a/b", b"a:99999"])
def test_strange_authorities_are_refused_by_the_parser(name: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_request_head(request_head((METHOD, SCHEME, (b":authority", name), PATH)))


_anything = st.binary(max_size=12)
_names = st.one_of(_anything, st.sampled_from((b"x", b"cookie", b"host", b":path", b"te")))


@given(st.lists(st.tuples(_names, _anything), max_size=5))
def test_no_value_becomes_another_line(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever comes is refused, or is a head of at most as many lines as there were fields."""
    try:
        head = request_head((*USUAL, *fields))
        parsed = parse_request_head(head)
    except BadMessage:
        return
    assert parsed.target == b"/x?y=1"
    assert head.count(b"\r\n\r\n") == 1
    assert len(parsed.fields) <= len(fields) + 1
    assert {name for name, _ in parsed.fields} <= {b"Host", *(name for name, _ in fields)}


def test_trailers() -> None:
    check_trailers([(b"x", b"1")])
    for bad in [(b":path", b"/"), (b"X", b"1"), (b"x", b"a\r\n"), (b"transfer-encoding", b"chunked")]:
        with pytest.raises(BadMessage):
            check_trailers([bad])


def test_responses() -> None:
    told = [(b":status", b"200"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    fields = [(b"Set-Cookie", b"a"), (b"Connection", b"close"), (b"Set-Cookie", b"b"), (b"Keep-Alive", b"x")]
    assert response_fields(200, fields) == told
    lines = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nConnection: close\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked"
    assert response_lines(lines) == told
