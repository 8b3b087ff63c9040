"""The work of whatever reads bytes from a client or a backend grows in step with them, whatever they are."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest
from support.wire_bytes import CHUNKED, Late, get, post
from support.work import TOLERATED, growth, slow_spots, steps

import caching_proxy
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import connection_options
from caching_proxy.http.hop_by_hop import hop_by_hop
from caching_proxy.http.messages import Fields
from caching_proxy.rules.ranges import parse_range
from caching_proxy.server.limits import Limits
from caching_proxy.server.request_head import HeadParser
from caching_proxy.upstream.response_head import hopeless, parse_response_head

WIDE = Limits(head_bytes=1 << 24, field_count=1 << 20, target_bytes=1 << 24, pipeline_depth=1 << 20)


def request(lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines


HEADS = {
    "options": lambda n: request(b"Connection: " + b"a," * n + b"\r\n"),
    "distinct options": lambda n: request(b"Connection: " + b",".join(b"%d" % i for i in range(n)) + b"\r\n"),
    "fields": lambda n: request(b"A: b\r\n" * n),
    "distinct fields": lambda n: request(b"".join(b"A%d: b\r\n" % i for i in range(n))),
    "connection lines": lambda n: request(b"Connection: a\r\n" * n),
    "cookies": lambda n: request(b"Cookie: a=b\r\n" * n),
    "blanks": lambda n: request(b"A:" + b" " * n + b"b" + b" " * n + b"\r\n"),
    "hosts": lambda n: request(b"Host: a\r\n" * n),
    "codings": lambda n: request(b"Transfer-Encoding: " + b"chunked," * n + b"\r\n"),
    "length": lambda n: request(b"Content-Length: " + b"0" * n + b"\r\n"),
    "target": lambda n: b"GET /" + b"%2e/" * n + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "accept": lambda n: request(b"Accept-Language: " + b"a;q=0.1," * n + b"\r\n"),
    "directives": lambda n: request(b"Cache-Control: " + b"a=b," * n + b"\r\n"),
    "tags": lambda n: request(b"If-None-Match: " + b'"a",' * n + b"\r\n"),
    "via": lambda n: request(b"Via: " + b"1.1 a," * n + b"\r\n"),
    "ranges": lambda n: request(b"Range: bytes=" + b"0-0," * n + b"\r\n"),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_of_requests(head):
    def work(n):
        data = head(n)
        return lambda: HeadParser(WIDE).parse(data)

    assert growth(work, 500) <= TOLERATED


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_of_requests_that_come_in_small_parts(wire, head):
    """Bounded heads only: a head is looked at again from where the last look ended."""

    def work(n):
        data = head(n)

        def deliver():
            line = wire(Late(), limits=WIDE)
            for at in range(0, len(data), 64):
                line.channel.dataReceived(data[at : at + 64])

        return deliver

    assert growth(work, 200) <= TOLERATED


RESPONSES = {
    "fields": lambda n: b"A: b\r\n" * n,
    "blanks before a fold": lambda n: b"A: b" + b" " * n + b"\r\n c\r\n",
    "folds": lambda n: b"A: b" + b"\r\n c" * n + b"\r\n",
    "blanks before a colon": lambda n: b"A" + b" " * n + b": b\r\n",
    "many blanks before colons": lambda n: b"A  : b\r\n" * n,
    "lengths": lambda n: b"Content-Length: " + b"1," * n + b"1\r\n",
    "options": lambda n: b"Connection: " + b"a," * n + b"\r\n",
}


@pytest.mark.parametrize("lines", RESPONSES.values(), ids=RESPONSES)
def test_heads_of_responses(lines):
    def work(n):
        data = b"HTTP/1.1 200 OK\r\n" + lines(n) + b"\r\n"
        return lambda: (hopeless(data), parse_response_head(data))

    assert growth(work, 40) <= TOLERATED


BODIES = {
    "one-byte chunks": lambda n: b"1\r\nx\r\n" * n + b"0\r\n\r\n",
    "extensions": lambda n: b"1;a\r\nx\r\n" * n + b"0\r\n\r\n",
    "trailers": lambda n: b"0\r\n" + b"A: b\r\n" * min(n, 60) + b"\r\n",
}


@pytest.mark.parametrize("at_once", [7, 1 << 20])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_chunked_bodies(body, at_once):
    def work(n):
        data = body(n)

        def decode():
            decoder = ChunkedDecoder(overhead_bytes=1 << 30)
            for at in range(0, len(data), at_once):
                decoder.feed(data[at : at + at_once])

        return decode

    assert growth(work, 500) <= TOLERATED


@pytest.mark.parametrize("buffered", [0, 1 << 20])
def test_uploads_of_one_byte_chunks_that_nobody_reads_yet(wire, buffered):
    def work(n):
        def deliver():
            line = wire(Late(), limits=Limits(buffer_bytes=buffered))
            line.send(post(b"", CHUNKED))
            for _ in range(n):
                line.channel.dataReceived(b"1\r\nx\r\n")

        return deliver

    assert growth(work, 500) <= TOLERATED


def test_requests_that_wait_behind_one(wire):
    def work(n):
        def deliver():
            line = wire(Late(), limits=WIDE)
            for _ in range(n):
                line.channel.dataReceived(get())

        return deliver

    assert growth(work, 100) <= TOLERATED


@pytest.mark.parametrize("value", [b"a," * 2000, b",".join(b"%d" % i for i in range(2000)), b" ," * 2000])
def test_options_are_looked_at_once_each(value):
    fields = Fields([(b"Connection", value)])
    assert steps(lambda: (connection_options(fields), hop_by_hop(fields))) < 12 * 2000


def test_many_ranges_are_refused_early():
    assert growth(lambda n: lambda: parse_range(b"bytes=" + b"0-0," * n, 10), 1000) <= TOLERATED


# -- regular expressions, whose steps cannot be counted ------------------------------------------------


def patterns():
    for module in pkgutil.walk_packages(caching_proxy.__path__, "caching_proxy."):
        if module.name.split(".")[1] in ("server", "upstream", "transport"):
            loaded = importlib.import_module(module.name)
            source = inspect.getsource(loaded)
            for name, value in vars(loaded).items():
                if isinstance(value, re.Pattern):
                    searched = re.search(rf"\b{name}\.(sub|search|find|split)", source) is not None
                    yield pytest.param(value, searched, id=f"{module.name}.{name}")


@pytest.mark.parametrize(("pattern", "searched"), list(patterns()))
def test_no_pattern_reads_its_input_again_and_again(pattern, searched):
    assert slow_spots(pattern, searched) == []


@pytest.mark.parametrize(
    "pattern",
    [rb"[ \t]*\r\n", rb"a[ \t]*[^\r]*\r", rb"a(?:b+c*)+", rb"a([bc]+)[cd]*e", rb"x(?:[ab]+)+y", rb"a\s*(?:b?\s*)c"],
)
def test_slow_patterns_are_found(pattern):
    assert slow_spots(re.compile(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        rb"(?<![ \t])[ \t]*\r\n",
        rb"a[ \t]*+[^\r]*\r",
        rb"a(?:b,)*c*",
        rb"[a-z]{1,16}x",
        rb"a[ \t]*;[ \t]*b",
        rb"(?<=\n)([a-z]+):",
    ],
)
def test_quick_patterns_are_let_pass(pattern):
    assert slow_spots(re.compile(pattern)) == []


def test_quadratic_work_is_found():
    def work(n):
        def quadratic():
            total = b""
            for _ in range(n):
                total += b"x"
                for _ in total:
                    pass

        return quadratic

    assert growth(work, 20) > TOLERATED
