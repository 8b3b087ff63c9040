"""Invariants 1 to 3: what is ambiguous never reaches the backend, and what does was written anew by us."""

from __future__ import annotations

import pytest
from support.whole_proxy import BACKEND, ok

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /p HTTP/%b\r\nHost: a\r\n%b\r\n%b" % (version, b"".join(line + b"\r\n" for line in fields), body)


def get(target: bytes, *fields: bytes, host: bytes = b"Host: a\r\n") -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, host, b"".join(line + b"\r\n" for line in fields))


TE = b"Transfer-Encoding"

REFUSED = {
    # CL.TE, TE.CL and TE.TE, and how they are dressed up
    "CL.TE": post(b"Content-Length: 6", TE + b": chunked", body=b"0\r\n\r\nG"),
    "TE.CL": post(TE + b": chunked", b"Content-Length: 4", body=CHUNKS),
    "TE.CL-0": post(TE + b": chunked", b"Content-Length: 0", body=CHUNKS),
    "TE-case-CL": post(b"tRANSFER-eNCODING: ChUnKeD", b"content-length: 3", body=CHUNKS),
    "TE.TE": post(TE + b": chunked", TE + b": identity", body=CHUNKS),
    "TE.TE-same": post(TE + b": chunked", TE + b": chunked", body=CHUNKS),
    "TE-list": post(TE + b": identity, chunked", body=CHUNKS),
    "TE-empty-member": post(TE + b": chunked,", body=CHUNKS),
    "TE-empty": post(TE + b":", b"Content-Length: 5", body=b"hello"),
    "TE-quoted": post(TE + b': "chunked"', body=CHUNKS),
    "TE-parameter": post(TE + b": chunked;q=1", body=CHUNKS),
    "TE-VT": post(TE + b": \x0bchunked", body=CHUNKS),
    "TE-FF": post(TE + b": chunked\x0c", body=CHUNKS),
    "TE-NUL": post(TE + b": chunked\x00", body=CHUNKS),
    "TE-NBSP": post(TE + b": \xa0chunked", body=CHUNKS),
    "TE-CR": post(TE + b": chunked\rX: y", body=CHUNKS),
    "TE-LF": post(b"X: y\n" + TE + b": chunked", body=CHUNKS),
    "TE-fold": post(TE + b":\r\n chunked", body=CHUNKS),
    "TE-space-colon": post(TE + b" : chunked", body=CHUNKS),
    "TE-tab-colon": post(TE + b"\t: chunked", body=CHUNKS),
    "TE-leading-space": post(b" " + TE + b": chunked", body=CHUNKS),
    "TE-underscore": post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"),
    "CL-underscore": post(b"Content_Length: 5", body=b"hello"),
    "TE-http10": post(TE + b": chunked", body=CHUNKS, version=b"1.0"),
    "TE-x": post(TE + b": xchunked", body=CHUNKS),
    "TE-cow": post(TE + b": cow, chunked", body=CHUNKS),
    "TE-gzip": post(TE + b": gzip, chunked", body=CHUNKS),
    "CL-CL": post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello"),
    "CL-CL-same": post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "CL-list": post(b"Content-Length: 5, 5", body=b"hello"),
    "CL-plus": post(b"Content-Length: +5", body=b"hello"),
    "CL-minus": post(b"Content-Length: -5", body=b"hello"),
    "CL-hex": post(b"Content-Length: 0x5", body=b"hello"),
    "CL-point": post(b"Content-Length: 5.0", body=b"hello"),
    "CL-space": post(b"Content-Length: 1 5", body=b"hello"),
    "CL-underscore-digits": post(b"Content-Length: 1_0", body=b"hello"),
    "CL-empty": post(b"Content-Length:", body=b"hello"),
    "CL-arabic": post("Content-Length: ٥".encode(), body=b"hello"),
    "CL-5000-digits": post(b"Content-Length: " + b"9" * 5000),
    "CL-5000-zeros-and-letters": post(b"Content-Length: " + b"0" * 5000 + b"x"),
    "CL-2**64": post(b"Content-Length: 18446744073709551621", body=b"hello"),
    "GET-CL.TE": get(b"/p", b"Content-Length: 4", TE + b": chunked"),
    # chunks
    "chunk-overflow": post(TE + b": chunked", body=b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    "chunk-wrap": post(TE + b": chunked", body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk-0x": post(TE + b": chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk-sign": post(TE + b": chunked", body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk-space-before": post(TE + b": chunked", body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk-LF": post(TE + b": chunked", body=b"5\nhello\r\n0\r\n\r\n"),
    "chunk-no-CRLF": post(TE + b": chunked", body=b"5\r\nhelloX0\r\n\r\n"),
    "chunk-too-long": post(TE + b": chunked", body=b"5\r\nhello!\r\n0\r\n\r\n"),
    "chunk-ext-LF": post(TE + b": chunked", body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk-ext-CR": post(TE + b": chunked", body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "chunk-ext-long": post(TE + b": chunked", body=b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n"),
    "trailer-folded": post(TE + b": chunked", body=b"0\r\nX: a\r\n b\r\n\r\n"),
    "trailer-LF": post(TE + b": chunked", body=b"0\r\nX: a\n\r\n"),
    "trailer-many": post(TE + b": chunked", body=b"0\r\n" + b"X: a\r\n" * 100 + b"\r\n"),
    # hosts
    "host-missing": get(b"/", host=b""),
    "host-two": get(b"/", host=b"Host: a\r\nHost: b\r\n"),
    "host-two-apart": get(b"/", b"X: y", b"host: a"),
    "host-empty": get(b"/", host=b"Host:\r\n"),
    "host-comma": get(b"/", host=b"Host: a, b\r\n"),
    "host-userinfo": get(b"/", host=b"Host: a@b\r\n"),
    "host-path": get(b"/", host=b"Host: a/b\r\n"),
    "host-query": get(b"/", host=b"Host: a?b\r\n"),
    "host-fragment": get(b"/", host=b"Host: a#b\r\n"),
    "host-space": get(b"/", host=b"Host: a b\r\n"),
    "host-port": get(b"/", host=b"Host: a:99999\r\n"),
    "host-backslash": get(b"/", host=b"Host: a\\b\r\n"),
    # targets
    "fragment": get(b"/a#b"),
    "authority-form": get(b"a:80"),
    "asterisk-form": get(b"*"),
    "no-slash": get(b"a/b"),
    "scheme-file": get(b"file:///etc/passwd"),
    "scheme-javascript": get(b"javascript:1"),
    "absolute-userinfo": get(b"http://internal@a/"),
    "absolute-no-host": get(b"http:///a"),
    "absolute-bad-port": get(b"http://a:x/"),
    "target-NUL": get(b"/a\x00b"),
    "target-tab": get(b"/a\tb"),
    "target-utf8": get("/ä".encode()),
    "target-high": get(b"/\x80"),
    "target-DEL": get(b"/\x7f"),
    "target-space": get(b"/a b"),
    # other protocols
    "http09": b"GET /p\r\n",
    "h2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http2-version": b"GET / HTTP/2\r\nHost: a\r\n\r\n",
    "http1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "http-lower": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "http-01.1": b"GET / HTTP/01.1\r\nHost: a\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bare-LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "mixed-LF": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "proxy-protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    # field lines
    "no-colon": get(b"/", b"nocolon"),
    "empty-name": get(b"/", b": x"),
    "name-space": get(b"/", b"X Y: z"),
    "name-high": get(b"/", b"X\xff: z"),
    "name-NUL": get(b"/", b"X\x00: z"),
    "value-NUL": get(b"/", b"X: \x00"),
    "value-CR": get(b"/", b"X: a\rHost: b"),
    "value-ESC": get(b"/", b"X: \x1b[2J"),
    "folded": get(b"/", b"X: a", b"\tb"),
    "nominates-auth": get(b"/", b"Authorization: Basic eDp5", b"Connection: authorization"),
    "nominates-cookie": get(b"/", b"Cookie: a=b", b"Connection: close, Cookie"),
    "nominates-host": get(b"/", b"Connection: host"),
    "huge-line": get(b"/" + b"a" * 20_000),
    "huge-field": get(b"/", b"X: " + b"a" * 40_000),
    "many-fields": get(b"/", *[b"X: y"] * 200),
}


PIECES = [
    *(pytest.param(attack, False, id=name) for name, attack in REFUSED.items()),
    # a length tells nothing more byte by byte
    *(pytest.param(attack, True, id=f"{name}-bytewise") for name, attack in REFUSED.items() if len(attack) < 4000),
]


@pytest.mark.parametrize(("attack", "bytewise"), PIECES)
def test_ambiguity_is_refused_and_ends_the_connection(make_whole, attack, bytewise):
    whole = make_whole(lambda message: ok(b"answer", b"Cache-Control: max-age=60"))
    client = whole.client()
    data = attack + SMUGGLED
    pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
    answers = [answer for piece in pieces for answer in client.ask(piece)]
    assert [answer.status // 100 for answer in answers] in ([4], [5])
    assert answers[0].status in (400, 413, 414, 431, 501, 505)
    assert answers[0].get("connection") == b"close"
    assert client.closed
    assert b"smuggled" not in whole.backend.bytes
    assert client.ask(SMUGGLED) == []
    assert len(whole.backend.requests) == 0, "nothing complete may have come through"
    assert whole.keys == []
    assert not [line for line in whole.logged if line.get("path") == "/smuggled"]


@pytest.mark.parametrize("length", [b"00005", b"5"])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        pytest.param([b"Content-Length: %b"], b"hello", id="length"),
        pytest.param([TE + b": CHUNKED"], CHUNKS, id="chunked-case"),
        pytest.param([TE + b":\tchunked"], CHUNKS, id="chunked-tab"),
        pytest.param(
            [TE + b": chunked"], b"5;a=b; c\r\nhello\r\n000\r\nContent-Length: 9\r\nHost: evil\r\n\r\n", id="trailers"
        ),
    ],
)
def test_what_is_clear_is_written_anew(make_whole, fields, body, length):
    """One framing field, one Host; trailers and extensions do not come through; what follows is a request."""
    whole = make_whole(lambda message: ok(message.body))
    lines = [field % length if b"%b" in field else field for field in fields]
    answers = whole.client().ask(post(*lines, body=body) + get(b"/next"))
    assert [answer.body for answer in answers] == [b"hello", b""]
    [sent, following] = whole.backend.requests
    assert (sent.body, following.target) == (b"hello", b"/next")
    assert sent.all("host") == [BACKEND]
    assert len(sent.all("content-length") + sent.all("transfer-encoding")) == 1
    assert sent.get("content-length") in (None, b"5")
    assert b"evil" not in whole.backend.bytes


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_body_stays_a_body_whatever_the_method(make_whole, method):
    """CL.0: a request in the body of a bodiless method is forwarded as a body, or not at all, but never run."""
    whole = make_whole(lambda message: ok(b""))
    raw = b"%b /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, len(SMUGGLED))
    whole.client().ask(raw + SMUGGLED + get(b"/next"), head=method == b"HEAD")
    assert whole.backend.targets == [b"/x", b"/next"]
    assert whole.backend.requests[0].body == SMUGGLED


def test_the_body_of_a_request_answered_from_the_cache_is_never_a_request(whole):
    """Invariant 2: hits and 304s drain what the client sends with them."""
    assert whole.get("/x").cache == "MISS"
    tag = [b"If-None-Match: *"]
    for fields in ([], tag):
        raw = get(b"/x", *fields, b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED
        whole.client().ask(raw + get(b"/x"))
    assert b"/smuggled" not in whole.backend.targets


def test_a_refused_admin_request_drains_its_body(make_whole):
    whole = make_whole(ADMIN_TOKEN="0123456789abcdef")
    raw = b"POST /invalidate HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    answers = whole.client().ask(raw + SMUGGLED)
    assert [answer.status for answer in answers] == [401]
    assert whole.backend.requests == []


def test_a_421_drains_its_body(make_whole):
    whole = make_whole(ALLOWED_HOSTS="good.test")
    raw = b"POST /x HTTP/1.1\r\nHost: evil.test\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    answers = whole.client().ask(raw + SMUGGLED + get(b"/y", host=b"Host: good.test\r\n"))
    assert [answer.status for answer in answers] == [421, 200]
    assert whole.backend.targets == [b"/y"]


def test_an_answer_before_the_body_ended_keeps_the_connections_apart(make_whole):
    """The backend answers early; the rest of that body must not become the next request on either connection."""
    whole = make_whole(lambda message: ok(b""), REQUEST_BUFFER_BYTES="1000")
    client = whole.client()
    client.send(post(b"Content-Length: 100000", body=b"x" * 1000))
    end = whole.backend.ends[0]
    end.transport.write(ok(b"early", b"Connection: close"))
    [answer] = client.ask(b"x" * 10)
    assert answer.body == b"early"
    client.ask(SMUGGLED * 3)
    assert whole.backend.targets == []


# -- invariant 3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "host", "target"),
    [
        (b"GET http://internal.test/x HTTP/1.1", b"proxy.test", b"/x"),
        (b"GET http://169.254.169.254/latest HTTP/1.1", b"169.254.169.254", b"/latest"),
        (b"GET https://internal.test:444/x HTTP/1.1", b"proxy.test", b"/x"),
        (b"GET http://[::1]:6379/ HTTP/1.1", b"a", b"/"),
        (b"GET /x HTTP/1.1", b"127.0.0.1:6379", b"/x"),
        (b"GET //internal.test/x HTTP/1.1", b"a", b"//internal.test/x"),
        (b"GET /@internal.test/x HTTP/1.1", b"a", b"/@internal.test/x"),
        (b"GET /http://internal.test/ HTTP/1.1", b"a", b"/http://internal.test/"),
        (b"GET /\\internal.test HTTP/1.1", b"a", b"/\\internal.test"),
        (b"GET /a/../x HTTP/1.1", b"a", b"/a/../x"),
        (b"GET /x?url=http://internal.test/ HTTP/1.1", b"a", b"/x?url=http://internal.test/"),
        (b"OPTIONS * HTTP/1.1", b"a", b"*"),
    ],
)
def test_no_request_chooses_where_it_goes(make_whole, line, host, target):
    asked = []
    whole = make_whole(lambda message: ok(b""))
    connect = whole.proxy.upstream._connect
    whole.proxy.upstream._connect = lambda make: asked.append(make) or connect(make)
    [answer] = whole.client().ask(line + b"\r\nHost: %b\r\n\r\n" % host)
    assert answer.status == 200
    [seen] = whole.backend.requests
    assert (seen.target, seen.all("host")) == (target, [BACKEND])
    assert len(asked) == 1  # the one connector knows one address, from BACKEND_URL


def test_a_base_path_cannot_be_left_by_form(make_whole):
    whole = make_whole(lambda message: ok(b""), BACKEND_URL="http://backend.test/base/")
    for line in (b"GET /x HTTP/1.1", b"GET http://b/y HTTP/1.1", b"GET //x HTTP/1.1"):
        whole.client().ask(line + b"\r\nHost: a\r\n\r\n")
    assert whole.backend.targets == [b"/base/x", b"/base/y", b"/base//x"]
