"""Whatever requests say, in whatever order they come: the hot path writes what the full path would have written."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hot_and_full import Served

from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers

LINES = (
    *("Accept-Encoding: gzip", "accept-encoding:br", "Accept-Encoding: gzip, br", "Accept-Language: de, en;q=0.5"),
    *("User-Agent: a", "X-Request-ID: one", "X-Request-ID: a b", "X-Request-ID: two", "traceparent: 00-1"),
    *("X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 192.0.2.8", "X-Forwarded-Proto: https", "X-Forwarded-Port: 81"),
    *("Forwarded: for=192.0.2.7", "Forwarded: for=192.0.2.8;proto=https", "X-Forwarded-Host: other.test"),
    *('If-None-Match: "a"', 'If-None-Match: "b", W/"a"', 'If-None-Match: "b"', "If-None-Match: *"),
    *("If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT", "If-Modified-Since: Tue, 01 Jan 2019 00:00:00 GMT"),
    *("Range: bytes=0-3", "Range: bytes=2-", "Range: bytes=-2", "Range: bytes=0-1,4-5", "Range: bytes=90-", "Range: x"),
    *('If-Range: "a"', 'If-Range: "b"', "Cookie: _ga=1", "Cookie: _ga=2; _gat=x", "Cookie: sid=1", "Cookie:"),
    *("Authorization: role admin", "Authorization: role user", "Authorization: none", "Authorization: Basic eDp5"),
    *("Cache-Control: max-age=1", "Cache-Control: no-cache", "Cache-Control: x", "Pragma: no-cache", "Pragma: x"),
    *("If-Match: x", "Via: 1.1 other", "Via: 1.1 caching-proxy", "Connection: keep-alive", "Connection: foo", "Foo: 1"),
    *("Connection: if-none-match", "TE: trailers", "Cache-Refresh: true", "Host_: x", "X_Forwarded_Host: y"),
)
ANSWERS = (
    ("Cache-Control: max-age=9", 'ETag: "a"', "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"),
    ("Cache-Control: max-age=9", 'ETag: W/"a"', "Vary: Accept-Encoding"),
    ("Cache-Control: max-age=9", 'ETag: "b"', "Vary: accept-language, Foo", "Content-Language: de"),
    ("Cache-Control: public, max-age=3", 'ETag: "a"', "Vary: X-Request-ID"),
    ("Cache-Control: max-age=2, stale-while-revalidate=9", "Content-Type: text/html"),
    ("Cache-Control: max-age=9", 'ETag: "a"', "Content-Type: text/html", "Accept-Ranges: bytes"),
    ("Cache-Control: max-age=9", 'ETag: W/"a"', "Content-Type: application/json", "Vary: Accept-Language"),
)
CODINGS = ((), (), (b"gzip",), (b"br", b"gzip"))

RULES = (
    (),
    ({"match": "^/x", "share": "everyone", "mode": "override", "ttl": 5},),
    ({"match": "^/x", "share": "token"}, {"match": "^/y", "ignore_params": ["z"]}),
    ({"match": "^/x/$", "share": "none"}, {"match": "^/x", "vary": ["Accept-Language", "Foo"], "collapse": False}),
    ({"match": r"\?z", "share": "none"}, {"match": "^/", "ttl": 1, "stale_while_revalidate": 3}),
)

NEAR = (ip_network("192.168.1.0/24"),)

requests = st.tuples(
    st.sampled_from(("GET", "GET", "GET", "HEAD")),
    st.sampled_from(("/x", "/x", "/x", "/x/", "/y?z", "/y/..//x", "http://proxy.test/x")),
    st.sampled_from(("Host: proxy.test", "Host: proxy.test", "Host: Other.test:81")),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from((0, 0, 0, 0.4, 1, 2.5)),
)


def text(method: str, target: str, *lines: str) -> str:
    return "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "", ""))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(requests, min_size=2, max_size=12),
    st.sampled_from(ANSWERS),
    st.booleans(),
    st.sampled_from((HostPolicy(), HostPolicy(frozenset((b"proxy.test", b"other.test")), preserve=True))),
    st.booleans(),
    st.sampled_from(RULES),
    st.sampled_from(RULES),
    st.sampled_from(CODINGS),
)
@pytest.mark.slow
def test_hot_and_full_are_alike(sent, answer, trusting, hosts, cookies, rules, later, codings):
    peers = TrustedPeers(NEAR if trusting else ())
    pair = [
        Served(
            hot,
            hosts=hosts,
            peers=peers,
            ignored_cookies=(b"_ga*",),
            cookie_bypass=cookies,
            compress=codings,
        )
        for hot in (True, False)
    ]
    for served in pair:
        served.proxy.says(*answer, body=b"0123456789" * (30 if codings else 1))
        served.ruled(*rules)
    for at, (method, target, host, lines, wait) in enumerate(sent):
        if at == len(sent) // 2:
            for served in pair:
                served.ruled(*later)
        for _ in range(3):  # once each for the store, for the first time in a second, and from what was kept
            written = [served.send(text(method, target, host, *lines)) for served in pair]
            assert written[0] == written[1]
        for served in pair:
            served.proxy.advance(wait)
    for served in pair:
        served.access.flush()
    assert pair[0].log.getvalue() == pair[1].log.getvalue()
    assert pair[0].proxy.count == pair[1].proxy.count
    for served in pair:
        served.close()


def test_what_differs_in_every_request_does_not_decline():
    served = Served(True, peers=TrustedPeers(NEAR), ignored_cookies=(b"_ga*",))
    served.proxy.says("Cache-Control: max-age=900", 'ETag: "a"', "Vary: Accept-Encoding")
    for n in range(20):
        lines = (
            *(f"X-Request-ID: id-{n}", f"traceparent: 00-{n}", f"X-Forwarded-For: 192.0.2.{n}", f"Cookie: _ga={n}"),
            *(f"X-New-{n}: {n}", f'If-None-Match: "{n}"', f"User-Agent: {n}", f"Forwarded: for=192.0.2.{n}"),
        )
        for accepted in ("gzip", "br"):
            served.send(
                text("GET", "/x", "Host: a", "X-Forwarded-Proto: https", f"Accept-Encoding: {accepted}", *lines)
            )
    assert served.answered == 38
    served.access.flush()
    assert '"requestId":"id-19"' in served.log.getvalue().splitlines()[-1], "as the trusted proxy has it"
    served.close()
