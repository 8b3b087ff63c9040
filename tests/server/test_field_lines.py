"""Lines are understood one by one: with another parser's result, whatever was seen before, in bounded memory."""

from __future__ import annotations

import sys

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http import field_lines
from caching_proxy.http.field_lines import FieldLines, Malformed
from caching_proxy.http.framing import BadMessage
from caching_proxy.rules.relevance import OWN, is_read
from caching_proxy.server.request_head import HeadParser


class Collector:
    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value.rstrip(b" \t")))


def split_by_llhttp(lines: bytes) -> list[tuple[bytes, bytes]] | None:
    """The fields as Node.js would read them, None where it refuses them."""
    collector = Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(b"GET / HTTP/1.1\r\n" + lines)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return collector.pairs


def split_by_us(parser: HeadParser, lines: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return list(parser.parse(b"GET / HTTP/1.1\r\n" + lines).head.fields)
    except BadMessage:
        return None


GOOD = (b"X: 1", b"Accept:*/*", b"a-B_c:\t x y \t", b"Empty:", b"Utf: \xc3\xa9", b"Cookie: a=b", b"X-Request-ID: 1")
BAD = (b"X : 1", b" X: 1", b"\tX: 1", b": 1", b"X", b"X: a\rb", b"X: a\nY: b", b"X: \0", b"X(: 1", b"\xc3\xa9: 1", b"")
DAMAGE = st.tuples(st.integers(0, 200), st.integers(0, 2), st.binary(max_size=2))
PARSER = HeadParser()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from((*GOOD, *GOOD, *BAD)), max_size=5), st.lists(DAMAGE, max_size=2))
@pytest.mark.slow
def test_what_is_accepted_is_what_llhttp_reads(lines, damage):
    block = b"Host: a\r\n" + b"".join(line + b"\r\n" for line in lines)
    for at, size, new in damage:
        at = at % len(block)
        block = block[:at] + new + block[at + size :]
    block = block.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n\r\n"
    ours = split_by_us(PARSER, block)
    assert ours == split_by_us(HeadParser(), block) == split_by_us(PARSER, block), "whatever is remembered"
    if ours is not None:
        assert ours == split_by_llhttp(block)


@pytest.mark.parametrize("line", GOOD)
def test_llhttp_reads_good_lines_alike(line):
    block = b"Host: a\r\n" + line + b"\r\n\r\n"
    assert split_by_us(PARSER, block) == split_by_llhttp(block) is not None


@pytest.mark.parametrize("line", BAD)
def test_a_malformed_line_is_refused_every_time(line):
    lines = FieldLines(OWN, is_read)
    for _ in range(2):
        with pytest.raises(Malformed):
            lines.read([b"X: 1", line])


def test_what_lines_are_told_by():
    lines = FieldLines(OWN, is_read)
    sent = [b"Host: a", b"Accept: */*", b"COOKIE: a=b ", b"X-Request-ID:7", b"Connection: close"]
    for _ in range(2):
        counting, own = lines.read(sent)
        assert counting == (b"Host: a", b"cookie", b"x-request-id", b"Connection: close")
        assert own == [(b"cookie", b"a=b"), (b"x-request-id", b"7")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        lambda n: b"X: %d" % n,
        lambda n: b"X-Forwarded-Host: %d" % n,
        lambda n: b"X-%d: 1" % n,
        lambda n: b"X: %d" % n + b"x" * 8000,
        lambda n: b"Cookie: %d" % n + b"x" * 8000,
        lambda n: b"X%d" % n + b"x" * 8000 + b": 1",
    ],
    ids=["value", "value-that-counts", "name", "long-value", "long-cookie", "long-name"],
)
def test_memory_is_bounded(line):
    lines = FieldLines(OWN, is_read)
    for n in range(12_000):
        lines.read([line(n)])
    held = [*lines, *lines._older, *lines._names]
    places = sys.getsizeof(lines) + sys.getsizeof(lines._older) + sys.getsizeof(lines._names)
    assert sum(map(sys.getsizeof, held)) + places < 2 * field_lines.MAX_BYTES
    assert max(map(len, held), default=0) <= field_lines.MAX_LINE


def test_a_name_that_always_differs_does_not_push_out_the_others():
    lines = FieldLines(OWN, is_read)
    lines.read([b"Accept: */*"])
    for n in range(20_000):
        lines.read([b"Referer: /%d" % n])
        lines.read([b"Accept: */*"])
        assert not lines.news


@pytest.mark.slow
def test_whole_heads_that_never_repeat_are_not_kept():
    parser = HeadParser(remembered=100_000)
    for n in range(3000):
        parser.parse(b"GET /%d HTTP/1.1\r\nHost: a%d\r\nX-Forwarded-Host: %d\r\nX: %d\r\n\r\n" % (n, n, n, n))
    assert len(parser._meanings) <= parser.MEANINGS
    assert not parser._heads.held
    assert parser._request_lines.held == 3000
    for n in range(10_000):
        parser.parse(b"GET /%d%b HTTP/1.1\r\nHost: a\r\n\r\n" % (n, b"x" * 900))
    assert parser._request_lines.held < 10_000
