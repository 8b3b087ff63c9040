"""What a backend sends never costs more than in proportion to its length."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.upstream_net import Net
from support.worst_case import assert_linear

from caching_proxy.http.body import Body
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import connection_options, response_framing
from caching_proxy.http.hop_by_hop import response_to_client
from caching_proxy.http.messages import Fields
from caching_proxy.upstream.response_head import end_of_head, hopeless, keep_alive, parse_response_head

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK\r\n"
Make = Callable[[int], bytes]

HEADS: list[tuple[str, Make]] = [
    ("blanks-before-a-fold", lambda n: OK + b"A: b" + b" " * n + b"\r\n c\r\n\r\n"),
    ("blanks-in-a-value", lambda n: OK + b"A:" + b" " * n + b"\r\n\r\n"),
    ("blanks-before-a-bare-cr", lambda n: OK + b"A:" + b" " * n + b"\rb\r\n\r\n"),
    ("blanks-before-a-nul", lambda n: OK + b"A:" + b" " * n + b"\x00\r\n\r\n"),
    ("blanks-before-a-colon", lambda n: OK + b"A" + b" " * n + b": b\r\n\r\n"),
    ("blanks-and-no-colon", lambda n: OK + b"A" + b" " * n + b"b\r\n\r\n"),
    ("blanks-at-the-end", lambda n: OK + b"A: b" + b"\t " * (n // 2) + b"\r\n\r\n"),
    ("many-folds", lambda n: OK + b"A: b\r\n" + b" c\r\n" * (n // 4) + b"\r\n"),
    ("folds-of-nothing", lambda n: OK + b"A: b\r\n" + b" \r\n" * (n // 3) + b"\r\n"),
    ("long-name", lambda n: OK + b"a" * n + b": b\r\n\r\n"),
    ("long-name-and-no-colon", lambda n: OK + b"a" * n + b"\r\n\r\n"),
    ("lines-of-lf", lambda n: OK + b"a:b\n" * (n // 4) + b"\n"),
    ("crs", lambda n: OK + b"\r" * n + b"\r\n\r\n"),
    ("lfs", lambda n: OK + b"a: b" + b"\n \n" * (n // 3) + b"\r\n\r\n"),
    ("reason", lambda n: b"HTTP/1.1 200 " + b" " * n + b"\r\n\r\n"),
    ("colons", lambda n: OK + b":" * n + b"\r\n\r\n"),
]


@pytest.mark.parametrize("make", [make for _, make in HEADS], ids=[name for name, _ in HEADS])
@pytest.mark.parametrize("parse", [parse_response_head, hopeless, end_of_head], ids=lambda parse: parse.__name__)
def test_heads(parse: Callable[[bytes], object], make: Make) -> None:
    assert_linear(parse, make, 12_000)


def _arriving(data: bytes) -> None:
    net = Net()
    net.fetch()
    for at in range(0, len(data), 16):
        net.peers[0].send(data[at : at + 16])
        net.pump()


@pytest.mark.parametrize("name", ["blanks-before-a-fold", "many-folds", "lines-of-lf", "crs"])
def test_heads_that_arrive_in_pieces(name: str) -> None:
    assert_linear(_arriving, dict(HEADS)[name], 3000)


def _field(name: bytes) -> Callable[[bytes], object]:
    def everything(value: bytes) -> None:
        head = parse_response_head(OK + name + b": " + value + b"\r\nContent-Length: 0\r\n\r\n")
        connection_options(head.fields)
        keep_alive(head.fields)
        response_to_client(head)
        response_framing(b"GET", head)

    return everything


@pytest.mark.parametrize("name", [b"Connection", b"Transfer-Encoding", b"Keep-Alive", b"Content-Length", b"Upgrade"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: b"a," * (n // 2) + b"b", id="members"),
        pytest.param(lambda n: b",".join(b"a%d" % k for k in range(n // 6)), id="different-members"),
        pytest.param(lambda n: b"," * n, id="commas"),
        pytest.param(lambda n: b" ," * (n // 2), id="blanks"),
        pytest.param(lambda n: b"1" * n, id="digits"),
        pytest.param(lambda n: b'"' * n, id="quotes"),
    ],
)
def test_fields(name: bytes, make: Make) -> None:
    assert_linear(_field(name), make, 12_000)


def test_a_field_named_by_connection_very_often() -> None:
    def parse(data: bytes) -> None:
        fields = Fields([(b"Connection", data), *((b"X-%d" % n, b"v") for n in range(200))])
        response_to_client(type(parse_response_head(OK + b"\r\n"))(200, b"OK", fields))

    assert_linear(parse, lambda n: b"x-1," * (n // 4), 12_000)


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: b"1\r\nx\r\n" * (n // 6) + b"0\r\n\r\n", id="tiny-chunks"),
        pytest.param(lambda n: b"1;" + b"a" * 3000 + b"\r\nx\r\n" + b"ff" * (n // 2), id="extension"),
        pytest.param(lambda n: b"%x\r\n" % n + b"x" * n + b"\r\n0\r\n\r\n", id="one-chunk"),
        pytest.param(lambda n: b"1" + b" " * 4000 + b"\r\n" * n, id="blanks"),
        pytest.param(lambda n: b"0\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n", id="trailers"),
    ],
)
def test_chunked(step: int, make: Make) -> None:
    def decode(data: bytes) -> None:
        decoder = ChunkedDecoder(502, lenient=True)
        for at in range(0, len(data), step):
            decoder.feed(data[at : at + step])

    assert_linear(decode, make, 6000)


def test_a_body_fed_in_tiny_pieces_before_anybody_reads() -> None:
    def feed(data: bytes) -> None:
        body = Body(None)
        for at in range(len(data)):
            body.feed(data[at : at + 1])
        body.end()
        body.take()

    assert_linear(feed, lambda n: b"x" * n, 10_000)
