"""Response heads from a backend: what is mended, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.interfaces import UpstreamProtocolError
from caching_proxy.upstream.response_head import MAX_FIELDS, MAX_HEAD_BYTES, end_of_head, hopeless, parse_response_head

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("line", "status", "reason", "minor"),
    [
        pytest.param(b"HTTP/1.1 200 OK", 200, b"OK", 1, id="plain"),
        pytest.param(b"HTTP/1.0 200 OK", 200, b"OK", 0, id="http-1.0"),
        pytest.param(b"HTTP/1.1 200", 200, b"", 1, id="no-reason-no-space"),
        pytest.param(b"HTTP/1.1 200 ", 200, b"", 1, id="empty-reason"),
        pytest.param(b"HTTP/1.1 999 Odd", 999, b"Odd", 1, id="status-999"),
        pytest.param(b"HTTP/1.1 100 Continue", 100, b"Continue", 1, id="status-100"),
        pytest.param(b"HTTP/1.1 404 pas trouv\xe9", 404, b"pas trouv\xe9", 1, id="latin-1-reason"),
    ],
)
def test_status_line(line: bytes, status: int, reason: bytes, minor: int) -> None:
    assert parse_response_head(line + b"\r\n\r\n") == ResponseHead(status, reason, Fields(), minor)


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        pytest.param(b"", [], id="none"),
        pytest.param(
            b"A: b\r\nSet-Cookie: x\r\na:c\r\n", [(b"A", b"b"), (b"Set-Cookie", b"x"), (b"a", b"c")], id="order"
        ),
        pytest.param(b"A:  \t b c \t\r\nB:\r\nC: \r\n", [(b"A", b"b c"), (b"B", b""), (b"C", b"")], id="whitespace"),
        pytest.param(b"A: \xff\x80\x01:x\r\n", [(b"A", b"\xff\x80\x01:x")], id="odd-bytes"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")],
            id="both-framings",
        ),
    ],
)
def test_fields(lines: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert list(parse_response_head(OK + lines + b"\r\n").fields) == pairs


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        pytest.param(b"X: a\r\n b\r\n", [(b"X", b"a b")], id="one"),
        pytest.param(b"X: a \r\n \t b\r\n\tc\r\nY: d\r\n", [(b"X", b"a b c"), (b"Y", b"d")], id="several"),
        pytest.param(b"X:\r\n a\r\n", [(b"X", b"a")], id="value-on-next-line"),
        pytest.param(b"X: a\r\n \r\nY: b\r\n", [(b"X", b"a"), (b"Y", b"b")], id="empty-fold"),
    ],
)
def test_X8_obs_fold_becomes_a_space(lines: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert list(parse_response_head(OK + lines + b"\r\n").fields) == pairs


def test_X9_whitespace_before_the_colon_goes() -> None:
    head = parse_response_head(OK + b"A : b\r\nC\t :d\r\nE: f : g\r\n\r\n")
    assert list(head.fields) == [(b"A", b"b"), (b"C", b"d"), (b"E", b"f : g")]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(OK + b" \r\nA: b\r\n\r\n", id="whitespace-line-first"),
        pytest.param(OK + b" A: b\r\n\r\n", id="fold-first"),
        pytest.param(OK + b"A: b\rc\r\n\r\n", id="bare-cr"),
        pytest.param(OK + b"A: b\x00c\r\n\r\n", id="nul"),
        pytest.param(b"HTTP/1.1 200 O\rK\r\n\r\n", id="bare-cr-in-reason"),
        pytest.param(b"HTTP/1.1 200 O\x00K\r\n\r\n", id="nul-in-reason"),
    ],
)
def test_X9_refused(data: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        parse_response_head(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="empty-lines"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="leading-crlf"),
        pytest.param(b"ICY 200 OK\r\n\r\n", id="icy"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="http-2"),
        pytest.param(b"HTTP/1.2 200 OK\r\n\r\n", id="http-1.2"),
        pytest.param(b"http/1.1 200 OK\r\n\r\n", id="lower-case"),
        pytest.param(b"HTTP/1.1 099 x\r\n\r\n", id="status-099"),
        pytest.param(b"HTTP/1.1 1000 x\r\n\r\n", id="status-1000"),
        pytest.param(b"HTTP/1.1 20 x\r\n\r\n", id="status-20"),
        pytest.param(b"HTTP/1.1  200 x\r\n\r\n", id="two-spaces"),
        pytest.param(OK + b"no colon\r\n\r\n", id="no-colon"),
        pytest.param(OK + b": x\r\n\r\n", id="no-name"),
        pytest.param(OK + b"A(: x\r\n\r\n", id="name-no-token"),
        pytest.param(OK + b"A b: x\r\n\r\n", id="space-in-name"),
        pytest.param(OK + b"A: b", id="no-end"),
        pytest.param(OK + b"A: b\r\n", id="no-empty-line"),
        pytest.param(OK + b"A: b\r\nxx\r\n", id="last-line-not-empty"),
        pytest.param(OK + b"A: b\r\n\r\nB: c\r\n\r\n", id="two-ends"),
        pytest.param(OK + b"A: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", id="too-large"),
        pytest.param(OK + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", id="too-many-fields"),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        parse_response_head(data)


def test_as_many_fields_as_allowed() -> None:
    assert len(parse_response_head(OK + b"A: b\r\n" * MAX_FIELDS + b"\r\n").fields) == MAX_FIELDS


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"A", b"\x00", b"b", OK, b"HTTP/1.1 "])))
def test_any_bytes_parse_or_are_refused(parts: list[bytes]) -> None:
    for data in (b"".join(parts), OK + b"".join(parts), OK + b"".join(parts) + b"\r\n\r\n"):
        try:
            head = parse_response_head(data)
        except UpstreamProtocolError:
            continue
        for name, value in head.fields:
            assert name
            assert name.strip() == name
            assert value.strip(b" \t") == value
            assert not set(name + value) & set(b"\r\n\x00")


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True),
            st.from_regex(rb"([\x21-\x7e\x80-\xff]([\x20-\x7e]{0,9}[\x21-\x7e])?)?", fullmatch=True),
        ),
        max_size=20,
    )
)
@pytest.mark.slow
def test_what_was_written_is_read(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = Fields(pairs)
    assert parse_response_head(OK + fields.encoded() + b"\r\n").fields == fields


@pytest.mark.parametrize(
    ("data", "lost"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"HTT", False, id="beginning"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r", False, id="half-line"),
        pytest.param(b"<html>", True, id="html"),
        pytest.param(b"HX", True, id="other"),
        pytest.param(b"HTTP/1.1 200 OK\nA: b\n\n", False, id="lf-alone"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\rc", True, id="bare-cr"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\x00", True, id="nul"),
    ],
)
def test_hopeless_beginnings(data: bytes, lost: bool) -> None:
    assert hopeless(data) is lost


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200 OK\nA: b\nC: d\n\n", id="lf"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", id="mixed"),
        pytest.param(b"HTTP/1.1 200 OK\nA: b\r\nC: d\n\r\n", id="crlf-at-the-end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\n", id="lf-at-the-end"),
        pytest.param(b"HTTP/1.1 200 OK\nA:\n b\nC : d\n\n", id="folded"),
    ],
)
def test_lines_that_end_in_lf(data: bytes) -> None:
    for at in range(len(data)):
        assert end_of_head(data[:at]) == -1
    assert end_of_head(data + b"\n\nbody\r\n\r\n") == len(data)
    assert end_of_head(data, len(data) - 1) == len(data)
    assert parse_response_head(data).fields.index == {b"a": [b"b"], b"c": [b"d"]}
