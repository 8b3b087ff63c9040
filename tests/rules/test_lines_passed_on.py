"""What rules make of a request's lines one by one is what they make of its fields as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.forwarding import request_to_backend
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.relevance import READ
from caching_proxy.rules.request_traits import traits_of, traits_under
from caching_proxy.rules.scope import scope_of
from caching_proxy.rules.steering import Door, Steering
from caching_proxy.server.request_head import HeadParser

LINES = (
    *(b"Accept: */*", b"Accept:*/*", b"accept_language: x", b"Authorization: Basic eA==", b"Cache-Control: no-store"),
    *(b"Cache-Control: no-cache", b"Cache-Refresh: true", b"Connection: close, X-Own", b"Connection: keep-alive"),
    *(
        b"Cookie: session=1",
        b"Cookie: _ga=1",
        b"Forwarded: proto=https;host=x",
        b"Forwarded: for=1.2.3.4",
        b"TE: trailers",
    ),
    *(
        b"Front-End-Https: on",
        b"If-Match: x",
        b"If-None-Match: x",
        b"Max-Forwards: 3",
        b"Pragma: no-cache",
        b"Range: bytes=0-1",
    ),
    *(b"Upgrade: websocket", b"Via: 1.1 a", b"Via: 1.1 us", b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-For: 10.0.0.2"),
    *(b"X-Forwarded-Proto: https", b"X-Forwarded-Host: h", b"X-Original-URL: /x", b"X-Own: \t1 ", b"X-Request-ID: a b"),
    *(b"X-Request-ID: one", b"X-Request-ID: two", b"x_host: y", b"Proxy: x", b"X-Mine: 1", b"Expect: 100-continue"),
)
PARSER: HeadParser[None, None] = HeadParser()
POLICY = CachePolicy(proxy_name=b"us")
STEERING = (Steering(), Steering((b"x-mine", b"cookie")), Steering(underscores=True))
DOORS = [Door(steering) for steering in STEERING]
TRAITS = traits_under(POLICY)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from((b"GET", b"POST", b"OPTIONS")),
    st.booleans(),
    st.integers(0, len(DOORS) - 1),
)
@pytest.mark.slow
def test_the_same_by_lines_as_by_fields(lines: list[bytes], method: bytes, trusted: bool, which: int) -> None:
    data = b"%b /x/ HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, b"".join(line + b"\r\n" for line in lines))
    try:
        head = PARSER.parse(data).head
    except BadMessage:
        return
    whole = RequestHead(method, head.target, Fields(Fields.received(head.fields.lines or ()).pairs), head.minor)
    door = DOORS[which]
    by_lines, by_fields = door.admitted(head, trusted), door.admitted(whole, trusted)
    assert TRAITS(by_lines.fields) == traits_of(by_fields.fields, POLICY)
    for name in READ:
        assert by_lines.fields.first(name) == by_fields.fields.first(name), name
        assert by_lines.fields.all(name) == by_fields.fields.all(name), name
        assert (name in by_lines.fields) == (name in by_fields.fields), name
    scopes = [scope_of(b"/x/", one.fields, b"http", trusted) for one in (by_lines, by_fields)]
    assert scopes[0] == scopes[1]
    sent = [
        request_to_backend(
            one,
            host=b"backend",
            client_ip=b"192.0.2.1",
            scheme=b"http",
            request_id=b"new",
            proxy_name=b"us",
            trusted_peer=trusted,
            base_path=b"",
        )
        for one in (by_lines, by_fields)
    ]
    assert (sent[0].lines, sent[0].count) == (sent[1].lines, sent[1].count)
    assert sent[0].lines.count(b"\r\n") == sent[0].count
    assert list(by_lines.fields) == list(by_fields.fields)
