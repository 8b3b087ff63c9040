"""Where bodies end (RFC 9112 §6): requests are refused in doubt, responses made the best of."""

from __future__ import annotations

import pytest

from caching_proxy.http.framing import (
    CHUNKED,
    CLOSE,
    NONE,
    BadMessage,
    Framing,
    keeps_alive,
    request_framing,
    response_framing,
)
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead

CL, TE = b"Content-Length", b"Transfer-Encoding"


def request(*pairs: tuple[bytes, bytes], minor: int = 1) -> RequestHead:
    return RequestHead(b"POST", b"/", Fields(pairs), minor)


@pytest.mark.parametrize(
    ("pairs", "framing"),
    [
        ((), NONE),
        (((CL, b"0"),), Framing.of(0)),
        (((CL, b"0007"),), Framing.of(7)),
        (((TE, b"chunked"),), CHUNKED),
        (((b"transfer-ENCODING", b"CHUNKED"),), CHUNKED),
    ],
    ids=["none", "zero", "leading-zeros", "chunked", "case"],
)
def test_request_framing(pairs, framing):
    assert request_framing(request(*pairs)) == framing


@pytest.mark.parametrize(
    ("pairs", "minor", "status"),
    [
        pytest.param([(TE, b"chunked"), (CL, b"3")], 1, 400, id="X1-both"),
        pytest.param([(CL, b"3"), (TE, b"gzip")], 1, 400, id="X1-both-odd-coding"),
        pytest.param([(CL, b"+3")], 1, 400, id="X2-sign"),
        pytest.param([(CL, b"-3")], 1, 400, id="X2-negative"),
        pytest.param([(CL, b"0x3")], 1, 400, id="X2-hex"),
        pytest.param([(CL, b"3 4")], 1, 400, id="X2-space"),
        pytest.param([(CL, b"")], 1, 400, id="X2-empty"),
        pytest.param([(CL, b"\xb2")], 1, 400, id="X2-superscript-digit"),
        pytest.param([(CL, b"5, 6")], 1, 400, id="X2-list"),
        pytest.param([(CL, b"5"), (CL, b"6")], 1, 400, id="X2-differing-lines"),
        pytest.param([(CL, b"5"), (CL, b"5")], 1, 400, id="X2-identical-lines"),
        pytest.param([(CL, b"9" * 5000)], 1, 413, id="X2-5000-digits"),
        pytest.param([(TE, b"gzip")], 1, 400, id="X3-not-chunked"),
        pytest.param([(TE, b"chunked, gzip")], 1, 400, id="X3-chunked-not-last"),
        pytest.param([(TE, b"identity")], 1, 400, id="X3-identity"),
        pytest.param([(TE, b"zzz")], 1, 501, id="X3-unknown"),
        pytest.param([(TE, b"gzip, chunked")], 1, 501, id="X3-unsupported-below-chunked"),
        pytest.param([(TE, b"chunked"), (TE, b"chunked")], 1, 400, id="X3-twice"),
        pytest.param([(TE, b"chunked"), (TE, b"identity")], 1, 400, id="X3-chunked-then-identity"),
        pytest.param([(TE, b"")], 1, 400, id="X3-empty"),
        pytest.param([(TE, b",chunked")], 1, 400, id="X3-empty-member"),
        pytest.param([(TE, b'"chunked"')], 1, 400, id="X3-quoted"),
        pytest.param([(TE, b"chunked;q=1")], 1, 400, id="X3-parameter"),
        pytest.param([(TE, b"xchunked")], 1, 501, id="X3-prefix"),
        pytest.param([(TE, b"\x0bchunked")], 1, 400, id="X3-control"),
        pytest.param([(TE, b"chunked")], 0, 400, id="X3-http10"),
        pytest.param([(b"Transfer_Encoding", b"chunked")], 1, 400, id="X3-underscore"),
        pytest.param([(b"content_length", b"3")], 1, 400, id="X2-underscore"),
    ],
)
def test_request_framing_refused(pairs, minor, status):
    with pytest.raises(BadMessage) as caught:
        request_framing(request(*pairs, minor=minor))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("method", "status", "pairs", "framing", "reusable"),
    [
        pytest.param(b"GET", 200, [(CL, b"5")], Framing.of(5), True, id="length"),
        pytest.param(b"GET", 200, [(CL, b"5, 5"), (CL, b"05")], Framing.of(5), True, id="X2-identical"),
        pytest.param(b"GET", 200, [(CL, b"0" * 5000 + b"5")], Framing.of(5), True, id="X2-zeros"),
        pytest.param(b"GET", 200, [(CL, b"0" * 5000)], Framing.of(0), True, id="X2-nothing-but-zeros"),
        pytest.param(b"GET", 200, [(TE, b"chunked")], CHUNKED, True, id="chunked"),
        pytest.param(b"GET", 200, [(TE, b"chunked"), (CL, b"5")], CHUNKED, False, id="X1-both"),
        pytest.param(b"GET", 200, [(TE, b"zzz")], CLOSE, False, id="X4-unknown"),
        pytest.param(b"GET", 200, [(TE, b"zzz"), (CL, b"5")], CLOSE, False, id="X4-unknown-with-length"),
        pytest.param(b"GET", 200, [(TE, b"identity")], CLOSE, False, id="X4-identity"),
        pytest.param(b"GET", 200, [], CLOSE, False, id="close-delimited"),
        pytest.param(b"HEAD", 200, [(CL, b"5")], NONE, True, id="X7-head"),
        pytest.param(b"HEAD", 200, [(TE, b"chunked")], NONE, True, id="X7-head-chunked"),
        pytest.param(b"GET", 304, [(CL, b"5")], NONE, True, id="X7-304"),
        pytest.param(b"GET", 204, [], NONE, True, id="X7-204"),
        pytest.param(b"GET", 204, [(CL, b"0")], NONE, True, id="X7-204-length-zero"),
        pytest.param(b"GET", 204, [(CL, b"5")], NONE, False, id="X7-204-with-length"),
        pytest.param(b"GET", 204, [(TE, b"chunked")], NONE, False, id="X7-204-chunked"),
        pytest.param(b"GET", 103, [(CL, b"5")], NONE, False, id="X7-1xx"),
        pytest.param(b"GET", 200, [(CL, b"5"), (b"Connection", b"x, Close")], Framing.of(5), False, id="close"),
    ],
)
def test_response_framing(method, status, pairs, framing, reusable):
    assert response_framing(method, ResponseHead(status, b"", Fields(pairs))) == (framing, reusable)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(CL, b"5, 6")], id="X2-list"),
        pytest.param([(CL, b"5"), (CL, b"6")], id="X2-lines"),
        pytest.param([(CL, b"5x")], id="X2-not-digits"),
        pytest.param([(CL, b"5,")], id="X2-empty-member"),
        pytest.param([(CL, b"9" * 5000)], id="X2-5000-digits"),
        pytest.param([(TE, b"gzip, chunked")], id="X4-several"),
        pytest.param([(TE, b"gzip")], id="X4-known"),
        pytest.param([(TE, b"Deflate"), (CL, b"5")], id="X4-known-with-length"),
        pytest.param([(TE, b"chunked, chunked")], id="X4-twice"),
        pytest.param([(TE, b"chun ked")], id="X4-no-token"),
    ],
)
def test_response_framing_refused(pairs):
    with pytest.raises(BadMessage) as caught:
        response_framing(b"GET", ResponseHead(200, b"", Fields(pairs)))
    assert caught.value.status == 502


def test_chunked_from_http10_is_not_reused():
    fields = Fields([(TE, b"chunked"), (b"Connection", b"keep-alive")])
    assert response_framing(b"GET", ResponseHead(200, b"", fields, 0)) == (CHUNKED, False)


@pytest.mark.parametrize(
    ("minor", "lines", "kept"),
    [
        (1, [], True),
        (1, [b"close"], False),
        (1, [b"keep-alive", b"foo ,\tCLOSE"], False),
        (0, [], False),
        (0, [b"Keep-Alive"], True),
        (0, [b"keep-alive, close"], False),
        (1, [b"closed"], True),
        (1, [b", ".join([b"x" * 30] * 3) + b", close"], False),
    ],
    ids=["1.1", "1.1-close", "1.1-close-in-a-list", "1.0", "1.0-keep-alive", "1.0-both", "1.1-other", "1.1-long"],
)
def test_keeps_alive(minor, lines, kept):
    assert keeps_alive(minor, Fields((b"Connection", line) for line in lines)) is kept
