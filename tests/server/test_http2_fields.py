"""Fields of responses in HPACK, as ``hpack`` reads them, whatever the table's size is said to be."""

from __future__ import annotations

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.server.http2.fields import MAX_LINES, StaticEncoder, _lines, field, integer

NAMES = st.sampled_from([b":status", b"date", b"etag", b"x-a", b"content-type", b"n" * 300]) | st.binary(min_size=1)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"200", b"404", b"v" * 20_000]) | st.binary()), max_size=12)


def decoded(decoder: Decoder, block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


@given(st.lists(FIELDS, max_size=4))
def test_a_reader_gets_what_was_written(heads: list[list[tuple[bytes, bytes]]]) -> None:
    encoder, decoder = StaticEncoder(), Decoder(max_header_list_size=1 << 20)
    for head in heads:
        assert decoded(decoder, encoder.encode(head)) == head
    assert decoder.header_table.dynamic_entries == type(decoder.header_table.dynamic_entries)()


@pytest.mark.parametrize(
    ("first", "bits", "value", "written"),
    [(0, 5, 10, b"\x0a"), (0, 5, 1337, b"\x1f\x9a\x0a"), (0, 8, 42, b"\x2a"), (0x80, 7, 127, b"\xff\x00")],
)
def test_integers_of_the_rfc(first: int, bits: int, value: int, written: bytes) -> None:
    """RFC 7541 appendix C.1, and the first number that does not fit."""
    assert integer(first, bits, value) == written


def test_what_the_static_table_has() -> None:
    assert field(b":status", b"200") == b"\x88"
    assert field(b":status", b"418") == b"\x08\x03418"
    assert field(b"age", b"7") == b"\x0f\x06\x017"
    assert field(b"x", b"y") == b"\x00\x01x\x01y"
    assert field(b"set-cookie", b"y") == b"\x1f\x28\x01y"  # never indexed, by whoever sends it on


@pytest.mark.parametrize("sizes", [[0], [4096, 100], [100, 4096], [0, 4096], [65536]])
def test_changes_of_the_table_are_acknowledged(sizes: list[int]) -> None:
    """A reader that lowered the size refuses a block that does not say so (RFC 7541 §4.2)."""
    encoder, decoder = StaticEncoder(), Decoder()
    for size in sizes:
        encoder.header_table_size = size
        decoder.max_allowed_table_size = size
    for _ in range(2):
        assert decoded(decoder, encoder.encode([(b":status", b"200"), (b"a", b"b")])) == [
            (b":status", b"200"),
            (b"a", b"b"),
        ]


def test_what_never_repeats_is_not_kept() -> None:
    encoder = StaticEncoder()
    for number in range(4 * MAX_LINES):
        encoder.encode([(b"x-id", b"%d" % number), (b"x-long", b"v" * 1000)])
    assert len(_lines) <= MAX_LINES
    assert not any(len(value) > 256 for _, value in _lines)
