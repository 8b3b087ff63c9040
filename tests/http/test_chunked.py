"""The chunked coding (RFC 9112 §7.1), whole, split anywhere, and broken."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import Fields


def decode(*parts: bytes, **limits: int) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder(**limits)
    return b"".join(piece for part in parts for piece in decoder.feed(part)), decoder


@pytest.mark.parametrize(
    ("data", "content", "rest", "trailers"),
    [
        (b"0\r\n\r\n", b"", b"", []),
        (b"5\r\nhello\r\n0\r\n\r\nGET /", b"hello", b"GET /", []),
        (b"00000000000000a\r\n0123456789\r\n000\r\n\r\n", b"0123456789", b"", []),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"", []),
        (b'5;x=1\r\nhello\r\n1 ;\ty="a;b"\r\n!\r\n0;z\r\n\r\n', b"hello!", b"", []),
        (b"1\r\nx\r\n0\r\nX-T:  1 \r\nY:\r\n\r\nrest", b"x", b"rest", [(b"X-T", b"1"), (b"Y", b"")]),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b"", []),
    ],
    ids=["empty", "rest", "leading-zeros", "upper-case", "extensions", "trailers", "content-of-crlf"],
)
def test_X11_decoding(data, content, rest, trailers):
    for parts in ([data], [data[at : at + 1] for at in range(len(data))]):
        got, decoder = decode(*parts)
        assert (got, decoder.done, decoder.rest, decoder.trailers) == (content, True, rest, Fields(trailers))


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b";x\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX T: 1\r\n\r\n",
        b"0\r\nX: 1\r\n folded\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\n\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("status", [400, 502])
def test_X11_malformed(data, status):
    decoder = ChunkedDecoder(status)
    with pytest.raises(BadMessage) as caught:
        decoder.feed(data)
    assert caught.value.status == status
    slow = ChunkedDecoder(status)
    with pytest.raises(BadMessage):
        list(map(slow.feed, [data[at : at + 1] for at in range(len(data))]))


def test_an_unfinished_body_is_not_done():
    content, decoder = decode(b"ffffffffffffffff\r\nabc")
    assert (content, decoder.done) == (b"abc", False)


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (b"5;" + b"x" * 100, {"line_bytes": 64}),
        (b"1;" + b"x" * 100 + b"\r\n", {"line_bytes": 64}),
        (b"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\ny\r\n" * 40, {"overhead_bytes": 512}),
        (b"0\r\n" + b"A: b\r\n" * 20, {"trailer_bytes": 64}),
        (b"0\r\nA: " + b"b" * 100, {"trailer_bytes": 64}),
        (b"0\r\n" + b"A: b\r\n" * 5, {"trailer_count": 4}),
    ],
    ids=["endless-line", "long-line", "overhead", "trailers", "endless-trailer", "trailer-count"],
)
def test_X11_bounds(data, limits):
    with pytest.raises(BadMessage):
        ChunkedDecoder(**limits).feed(data)


def test_many_small_chunks_are_no_overhead():
    content, decoder = decode(b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert (len(content), decoder.done) == (50_000, True)


def test_large_chunks_are_not_copied_needlessly():
    piece = b"x" * 65536
    decoder = ChunkedDecoder()
    decoder.feed(b"100000\r\n")
    assert decoder.feed(piece)[0] is piece


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=20), st.data())
def test_any_split_decodes_alike(chunks, rest, data):
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: v\r\n\r\n" + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)))
    parts = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    content, decoder = decode(*parts)
    assert (content, decoder.rest, decoder.trailers) == (b"".join(chunks), rest, Fields([(b"T", b"v")]))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=80), st.integers(1, 10))
def test_garbage_is_refused_or_waits(garbage, step):
    decoder = ChunkedDecoder(line_bytes=32)
    status = None
    try:
        for at in range(0, len(garbage), step):
            decoder.feed(garbage[at : at + step])
    except BadMessage as problem:
        status = problem.status
    assert status in (None, 400)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from([b"", b";x", b" ;y=1"])), max_size=12),
    st.data(),
)
@settings(max_examples=80)
@pytest.mark.slow
def test_runs_of_short_chunks_are_decoded_as_single_ones(chunks, data):
    whole = b"".join(b"%x%b\r\n%b\r\n" % (len(content), more, content) for content, more in chunks) + b"0\r\n\r\nrest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    parts = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    got, decoder = decode(*parts)
    assert (got, decoder.done, decoder.rest) == (b"".join(content for content, _ in chunks), True, b"rest")


@pytest.mark.parametrize("data", [b"", b"5", b"5\r\nhe", b"5\r\nhello", b"5\r\nhello\r\n0\r\nA: b", b"0\r\n\r\n"])
def test_nothing_is_left_to_the_cycle_collector(data: bytes) -> None:
    """Wherever it is given up: a body may be large."""
    gc.collect()
    gc.disable()
    try:
        ChunkedDecoder().feed(data)
        assert gc.collect() == 0
    finally:
        gc.enable()
