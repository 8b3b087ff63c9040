"""Request heads: what is understood, what is refused and with which status (RFC 9112 §2–§5)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import Fields
from caching_proxy.server.limits import Limits
from caching_proxy.server.request_head import END, HeadParser, check_unfinished, parse_request_head
from caching_proxy.server.request_line import EMPTY_LINE


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes | None = b"Host: a.example") -> bytes:
    lines = [line, *([host] if host is not None else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def refusal(data: bytes, limits: Limits | None = None) -> int:
    with pytest.raises(BadMessage) as caught:
        HeadParser(limits or Limits()).parse(data)
    return caught.value.status


def test_fields_keep_order_spelling_and_bytes():
    parsed = parse_request_head(head(b"GET /a%7Eb?x HTTP/1.1", b"x-B:\t1,  2 \t", b"X-b: \xc3\xa9", b"Empty:"))
    assert parsed.target == b"/a%7Eb?x"
    assert parsed.fields == Fields(
        [(b"Host", b"a.example"), (b"x-B", b"1,  2"), (b"X-b", b"\xc3\xa9"), (b"Empty", b"")]
    )


@pytest.mark.parametrize("method", [b"GET", b"get", b"X-FROB", b"M-SEARCH", b"PRI", b"!#$%&'*+-.^_`|~"])
def test_any_token_is_a_method(method):
    assert parse_request_head(head(method + b" / HTTP/1.1")).method == method


@pytest.mark.parametrize(
    ("line", "target", "host"),
    [
        (b"GET http://b.example/x?y HTTP/1.1", b"/x?y", b"b.example"),
        (b"GET HTTPS://b.example:81 HTTP/1.1", b"/", b"b.example:81"),
        (b"GET http://b.example?y HTTP/1.1", b"/?y", b"b.example"),
        (b"OPTIONS http://b.example HTTP/1.1", b"*", b"b.example"),
        (b"OPTIONS * HTTP/1.1", b"*", b"a.example"),
        (b"GET //b.example/x HTTP/1.1", b"//b.example/x", b"a.example"),
        (b"GET /http://b.example/ HTTP/1.1", b"/http://b.example/", b"a.example"),
    ],
)
def test_X10_target_forms(line, target, host):
    parsed = parse_request_head(head(line))
    assert (parsed.target, parsed.fields.all(b"host")) == (target, [host])


def test_X10_absolute_form_without_host_in_http10():
    parsed = parse_request_head(head(b"GET http://b.example/ HTTP/1.0", host=None))
    assert parsed.fields.all(b"host") == [b"b.example"]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT a.example:443 HTTP/1.1", 501),
        (b"GET a.example:80 HTTP/1.1", 400),
        (b"GET x HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://b.example/ HTTP/1.1", 400),
        (b"GET http:///x HTTP/1.1", 400),
        (b"GET http://user@b.example/ HTTP/1.1", 400),
        (b"GET /#f HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET /\x01 HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET /", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/11", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"\xffGET / HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/3.0", 505),
    ],
)
def test_request_lines_refused(line, status):
    assert refusal(head(line)) == status


@pytest.mark.parametrize(
    ("fields", "minor"),
    [
        pytest.param([], 1, id="X10-missing"),
        pytest.param([b"Host: a", b"host: a"], 1, id="X10-repeated"),
        pytest.param([b"Host: a", b"Host: b"], 0, id="X10-repeated-1.0"),
        pytest.param([b"Host:"], 1, id="X10-empty"),
        pytest.param([b"Host: a, b"], 1, id="X10-list"),
        pytest.param([b"Host: a/b"], 1, id="X10-path"),
        pytest.param([b"Host: u@a"], 1, id="X10-userinfo"),
        pytest.param([b"Host: a b"], 1, id="X10-space"),
        pytest.param([b"Host: a:b"], 1, id="X10-port"),
        pytest.param([b"Host: a:65536"], 1, id="X10-port-range"),
        pytest.param([b"Host: a:1:2"], 1, id="X10-two-ports"),
        pytest.param([b"Host: [::1"], 1, id="X10-bracket"),
        pytest.param([b"Host: \xc3\xa9"], 1, id="X10-non-ascii"),
        pytest.param([b"Host : a"], 1, id="X9-space-before-colon"),
        pytest.param([b"Host: a", b"X\t: 1"], 1, id="X9-tab-before-colon"),
        pytest.param([b" Host: a"], 1, id="X9-space-line-after-start"),
        pytest.param([b"Host: a", b"X: 1", b" folded"], 1, id="X8-obs-fold"),
        pytest.param([b"Host: a", b"X: 1", b"\tfolded"], 1, id="X8-obs-fold-tab"),
        pytest.param([b"Host: a", b"X: a\rb"], 1, id="X9-bare-CR"),
        pytest.param([b"Host: a", b"X: a\nY: b"], 1, id="X9-bare-LF"),
        pytest.param([b"Host: a", b"X: a\x00"], 1, id="X9-NUL"),
        pytest.param([b"Host: a", b"X: a\x0b"], 1, id="X9-VT"),
        pytest.param([b"Host: a", b"X: a\x7f"], 1, id="X9-DEL"),
        pytest.param([b"Host: a", b": x"], 1, id="no-name"),
        pytest.param([b"Host: a", b"x"], 1, id="no-colon"),
        pytest.param([b"Host: a", b"X(: 1"], 1, id="name-no-token"),
        pytest.param([b"Host: a", b"X\xe9: 1"], 1, id="name-non-ascii"),
        pytest.param([b"Host: a", b"Connection: close, Authorization"], 1, id="nominates-authorization"),
        pytest.param([b"Host: a", b"Connection: HOST"], 1, id="nominates-host"),
        pytest.param([b"Host: a", b"Connection: x", b"Connection: cookie"], 1, id="nominates-cookie"),
        pytest.param([b"Host: a", b"Connection: content-length"], 1, id="nominates-content-length"),
        pytest.param([b"Host: a", b"Connection: transfer-encoding"], 1, id="nominates-transfer-encoding"),
        pytest.param([b"Host: a", b"Content-Length: 1", b"Transfer-Encoding: chunked"], 1, id="X1-both"),
        pytest.param([b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 1"], 1, id="X1-both-reversed"),
        pytest.param([b"Host: a", b"Content-Length: 5, 6"], 1, id="X2-list"),
        pytest.param([b"Host: a", b"Content-Length: 5", b"Content-Length: 5"], 1, id="X2-repeated"),
        pytest.param([b"Host: a", b"Content-Length: " + b"9" * 5000], 1, id="X2-5000-digits"),
        pytest.param([b"Host: a", b"Content-Length: \t+1"], 1, id="X2-sign"),
        pytest.param([b"Host: a", b"Transfer-Encoding: chunked, gzip"], 1, id="X3-chunked-first"),
        pytest.param([b"Host: a", b"Transfer-Encoding: gzip"], 1, id="X3-not-chunked"),
        pytest.param([b"Host: a", b"Transfer-Encoding: chunked"], 0, id="X3-http10"),
        pytest.param([b"Host: a", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: x"], 1, id="X3-lines"),
        pytest.param([b"Host: a", b"Transfer_Encoding: chunked"], 1, id="X3-underscore"),
    ],
)
def test_fields_refused_with_400(fields, minor):
    assert refusal(head(b"POST / HTTP/1.%d" % minor, *fields, host=None)) == 400


@pytest.mark.parametrize("coding", [b"zzz", b"gzip, chunked", b"xchunked"])
def test_X3_unknown_codings_are_501(coding):
    assert refusal(head(b"POST / HTTP/1.1", b"Transfer-Encoding: " + coding)) == 501


@pytest.mark.parametrize("host", [b"a", b"a:", b"a:8080", b"[::1]", b"[2001:db8::1]:80", b"a_b.c-d", b"1.2.3.4:65535"])
def test_X10_valid_hosts(host):
    assert parse_request_head(head(host=b"Host: " + host)).fields.all(b"host") == [host]


def test_bounds():
    limits = Limits(head_bytes=600, field_count=5, target_bytes=100)
    assert refusal(head(b"GET /%b HTTP/1.1" % (b"a" * 100)), limits) == 414
    assert refusal(head(b"GET /%b HTTP/1.1" % (b"a" * 1000)), limits) == 414
    assert refusal(head(b"GET / HTTP/1.1", b"X: " + b"a" * 600), limits) == 431
    assert refusal(head(b"GET / HTTP/1.1", *[b"X: 1"] * 5), limits) == 431
    assert parse_request_head(head(b"GET / HTTP/1.1", *[b"X: 1"] * 4), limits)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),
        (b"\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.1\nHost: a\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX", 400),
        (b"GET /" + b"a" * 700, 414),
        (b"GET /" + b"a" * 300, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 700, 431),
    ],
    ids=["tls", "empty-lines", "http09", "http2", "bare-lf", "bare-lf-later", "no-end", "long-target", "long-field"],
)
def test_hopeless_beginnings_are_refused_at_once(data, status):
    with pytest.raises(BadMessage) as caught:
        check_unfinished(data, Limits(head_bytes=600, target_bytes=100))
    assert caught.value.status == status


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60))
def test_beginnings_of_a_good_head_are_not_refused(first, second):
    data = head(b"GET /x HTTP/1.1", b"Accept: */*")[:-1]
    seen = min(first, len(data))
    check_unfinished(data[:seen], Limits())
    check_unfinished(data[: seen + second], Limits(), seen)


def test_the_memory_of_heads_is_bounded_and_exact():
    parser = HeadParser(Limits(), remembered=4000)
    assert parser.parse(head(b"GET /0 HTTP/1.1")) is not parser.parse(head(b"GET /0 HTTP/1.1"))
    first = parser.parse(head(b"GET /0 HTTP/1.1"))
    assert parser.parse(head(b"GET /0 HTTP/1.1")) is first
    assert parser.parse(head(b"GET /0 HTTP/1.1", b"X: 1")).head.fields.all(b"x") == [b"1"]
    for number in range(80):
        assert parser.parse(head(b"GET /%d HTTP/1.1" % (number // 2))).head.target == b"/%d" % (number // 2)
    assert parser.parse(head(b"GET /0 HTTP/1.1")) is not first


@pytest.mark.parametrize(
    ("line", "field", "plain"),
    [
        (b"GET / HTTP/1.1", b"X: 1", True),
        (b"HEAD / HTTP/1.1", b"X: 1", True),
        (b"POST / HTTP/1.1", b"X: 1", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive", False),
        (b"GET / HTTP/1.1", b"Connection: close", False),
        (b"GET / HTTP/1.1", b"Content-Length: 1", False),
        (b"GET / HTTP/1.1", b"Content-Length: 0", False),
        (b"GET / HTTP/1.1", b"Transfer-Encoding: chunked", False),
        (b"GET / HTTP/1.1", b"Expect: 100-continue", False),
        (b"GET / HTTP/1.1", b"Upgrade: websocket", False),
    ],
)
def test_what_the_hot_path_may_see(line, field, plain):
    assert HeadParser().parse(head(line, field)).plain is plain


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"]))
def test_garbage_is_refused_or_clean(garbage, prefix):
    status, text = None, b""
    try:
        parsed = parse_request_head(prefix + garbage.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")
        text = parsed.target + b"".join(name + value for name, value in parsed.fields)
    except BadMessage as problem:
        status = problem.status
    assert status in (None, 400, 414, 431, 501, 505)
    assert not set(text) & {0, 10, 13, 127}


LINES = [
    b"GET /a HTTP/1.1",
    b"POST /b HTTP/1.1",
    b"GET http://other/c HTTP/1.1",
    b"HEAD /d HTTP/1.0",
    b"OPTIONS * HTTP/1.1",
]
BLOCKS = [b"X: 1", b"Content-Length: 3", b"Connection: close", b"Expect: 100-continue", b"Upgrade: websocket"]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(BLOCKS)), max_size=12))
def test_what_is_remembered_of_other_heads_changes_nothing(heads):
    parser = HeadParser(Limits(), remembered=2000)
    for line, field in heads:
        remembering, fresh = parser.parse(head(line, field)), HeadParser().parse(head(line, field))
        assert (
            remembering.head,
            remembering.framing,
            remembering.keep_alive,
            remembering.plain,
            remembering.expects,
        ) == (*(fresh.head, fresh.framing, fresh.keep_alive, fresh.plain, fresh.expects),)


PIECES = [
    *(line + b"\r\n" for line in (*LINES, *BLOCKS, b"Host: a", b'If-None-Match: "1"', b"")),
    *(b"\n", b"\r", b"\0", b" ", b"X", b"Host: a\nX: 1\r\n", b"\r\n\r\n"),
]


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_a_head_that_came_alone_is_what_parsing_its_bytes_makes_of_it(pieces):
    data = b"".join(pieces) + END
    parser = HeadParser(Limits(head_bytes=200, field_count=4))
    for known in (parser.alone(data), parser.alone(data), parser.alone(data)):
        if data.find(END) + 4 < len(data) or data.startswith(EMPTY_LINE):
            assert known is None, "there is something before or behind it"
            continue
        try:
            parsed = HeadParser(Limits(head_bytes=200, field_count=4)).parse(data)
        except BadMessage:
            assert known is None, "to be refused by who says why"
            continue
        assert known is not None
        assert known.head == parsed.head
        assert (known.framing, known.keep_alive, known.plain) == (parsed.framing, parsed.keep_alive, parsed.plain)


@pytest.mark.parametrize(
    ("data", "alone"),
    [
        (head(b"GET / HTTP/1.1"), True),
        (head(b"POST / HTTP/1.1", b"Content-Length: 3"), True),
        (head(b"GET / HTTP/1.0"), True),
        (head(b"GET / HTTP/1.1")[:-1], False),
        (head(b"POST / HTTP/1.1", b"Content-Length: 3") + b"abc", False),
        (head(b"POST / HTTP/1.1", b"Content-Length: 4") + END, False),
        (head(b"GET / HTTP/1.1") * 2, False),
        (b"\r\n" + head(b"GET / HTTP/1.1"), False),
        (b"\n" + head(b"GET / HTTP/1.1"), False),
        (END, False),
        (b"", False),
        (head(b"GET / HTTP/1.1", b"X: \x01"), False),
    ],
)
def test_which_bytes_are_one_head_from_end_to_end(data, alone):
    parser = HeadParser()
    for _ in range(3):
        assert (parser.alone(data) is not None) is alone


def test_a_bad_request_line_is_refused_though_its_fields_are_known():
    parser = HeadParser(Limits(target_bytes=100))
    parser.parse(head(b"GET /fine HTTP/1.1"))
    for line, status in (
        (b"GET /\x01 HTTP/1.1", 400),
        (b"GET /%b HTTP/1.1" % (b"x" * 200), 414),
        (b"GET / HTTP/2.0", 505),
    ):
        with pytest.raises(BadMessage) as caught:
            parser.parse(head(line))
        assert caught.value.status == status
