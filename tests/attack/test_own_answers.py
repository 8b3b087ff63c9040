"""Answers that are made here: each final one says when (RFC 9110 §6.6.1)."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

HEAD = b"%b HTTP/1.1\r\nHost: a\r\n%b\r\n"
DATE = b"Sun, 17 Mar 2030"


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        (b"GET /x", b"Cache-Control: only-if-cached\r\n", 504),
        (b"GET /x", b"Via: 1.1 caching-proxy\r\n", 508),
        (b"OPTIONS /x", b"Max-Forwards: 0\r\n", 204),
        (b"TRACE /x", b"Max-Forwards: 0\r\n", 405),
        (b"GET /stored", b"If-None-Match: *\r\n", 304),
        (b"GET /stored", b"Range: bytes=100-\r\n", 416),
        (b"GET /stored", b"Range: bytes=0-1\r\n", 206),
        (b"GET /stored", b"", 200),
        (b"HEAD /stored", b"", 200),
        (b"POST /x", b"Content-Length: 0\r\n", 502),
        (b"GET /broken", b"", 502),
        (b"GET /undated", b"", 200),
        (b"POST /undated", b"", 200),
        (b"GET /x", b"Host: b\r\n", 400),
        (b"CONNECT /x", b"", 501),
        (b"POST /x", b"Content-Length: 999\r\n", 413),
        (b"GET /keys", b"", 403),
        (b"GET /health", b"", 200),
        (b"DELETE /health", b"", 405),
    ],
)
def test_every_final_answer_has_one_date(make_whole, line, fields, status):
    def script(message):
        if message.target == b"/stored":
            return ok(b"content", b"Cache-Control: max-age=60", b'ETag: "a"')
        return ok(b"x", b"Cache-Control: no-store") if message.target == b"/undated" else b"nonsense\r\n\r\n"

    whole = make_whole(script, MAX_REQUEST_BODY_BYTES="100")
    whole.get("/stored")
    [answer] = whole.ask(HEAD % (line, fields), head=line.startswith(b"HEAD"))
    assert answer.status == status
    [date] = answer.all("date")
    assert date.startswith(DATE)


def test_a_misdirected_request_is_dated(make_whole):
    whole = make_whole(PRESERVE_HOST="true", ALLOWED_HOSTS="a.test")
    answer = whole.get("/x", b"Host: b.test")
    assert (answer.status, len(answer.all("date"))) == (421, 1)


def test_an_http_1_0_client_expects_nothing(whole):
    [answer] = whole.ask(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    assert answer.status == 200
    [request] = whole.backend.requests
    assert request.get("expect") is None
    assert request.body == b"hi"
