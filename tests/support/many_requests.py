"""Lines of requests and of answers of which some rule makes something, to be combined at random."""

from __future__ import annotations

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
