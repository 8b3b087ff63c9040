"""The byte codec of stored entries: SPEC section 9, last line."""

from __future__ import annotations

from hashlib import blake2b

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.core.codec import MAGIC, VERSION, CodecError, UnknownVersion, decode, encode
from caching_proxy.core.entry import CacheEntry, Flag

KEY = b"cache:GET:anonymous:/x"
NAMES = [field.name for field in attrs.fields(CacheEntry) if field.init]
FULL = CacheEntry(
    key=KEY,
    status=206,
    reason=b"Partial Content",
    head=b'Content-Type: text/plain\r\nETag: "1"\r\n',
    body=b"hello",
    received_at=1_700_000_000.25,
    initial_age=1,
    lifetime=2,
    stale_while_revalidate=3,
    stale_if_error=4,
    keep=5,
    flags=Flag.NO_CACHE | Flag.PARTIAL,
    selecting=((b"accept-encoding", b"gzip"), (b"x-none", None), (b"x-empty", b"")),
    part=(10, 1000),
)


def values(entry: CacheEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in NAMES}


def signed(preamble: bytes, content: bytes) -> bytes:
    """A value whose checksum is right, whatever it holds."""
    return preamble + blake2b(preamble + content, digest_size=16).digest() + content


seconds = st.integers(0, 2**40)
positions = st.integers(0, 2**62)
entries = st.builds(
    CacheEntry,
    key=st.binary(max_size=40),
    status=st.integers(100, 999),
    reason=st.binary(max_size=20),
    head=st.binary(max_size=60),
    body=st.binary(max_size=200),
    received_at=st.floats(allow_nan=False, allow_infinity=False),
    initial_age=seconds,
    lifetime=seconds,
    stale_while_revalidate=seconds,
    stale_if_error=seconds,
    keep=seconds,
    flags=st.integers(0, 31).map(Flag),
    selecting=st.lists(st.tuples(st.binary(max_size=20), st.none() | st.binary(max_size=20)), max_size=4).map(tuple),
    part=st.none() | st.tuples(positions, st.none() | positions),
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(entries)
def test_round_trip(entry: CacheEntry) -> None:
    decoded = decode(encode(entry), entry.key)
    assert values(decoded) == values(entry)
    assert isinstance(decoded.flags, Flag)


def test_every_changed_bit_is_refused() -> None:
    data = encode(FULL)
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(CodecError):
                decode(bytes(changed), KEY)


def test_every_truncation_and_any_addition_is_refused() -> None:
    data = encode(FULL)
    for bad in [data[:size] for size in range(len(data))] + [data + b"\0", b"\0" + data, data + data]:
        with pytest.raises(CodecError):
            decode(bad, KEY)


@pytest.mark.parametrize(
    "key", [b"", KEY[:-1], KEY + b"y", b"cache:GET:admin:/x"], ids=["empty", "less", "more", "role"]
)
def test_another_key_is_refused(key: bytes) -> None:
    with pytest.raises(CodecError, match="another key"):
        decode(encode(FULL), key)


def test_another_version_is_told_apart() -> None:
    data = encode(FULL)
    newer = signed(MAGIC + bytes((VERSION + 1,)), data[20:])
    with pytest.raises(UnknownVersion):
        decode(newer, KEY)


def test_lengths_must_add_up_even_under_a_right_checksum() -> None:
    data = encode(FULL)
    for content in (data[20:] + b"x", data[20:-1]):
        with pytest.raises(CodecError, match="add up"):
            decode(signed(data[:4], content), KEY)


def test_key_and_checksum_stand_in_the_value() -> None:
    data = encode(FULL)
    assert KEY in data
    assert signed(data[:4], data[20:]) == data


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=200), st.binary(max_size=10))
def test_random_bytes_are_refused(data: bytes, key: bytes) -> None:
    for bad in (data, MAGIC + data, MAGIC + bytes((VERSION,)) + data):
        with pytest.raises(CodecError):
            decode(bad, key)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_forged_content_gives_an_entry_of_that_key_or_an_error(data: st.DataObject) -> None:
    """Even with the right checksum there is no other exception than ours."""
    good = encode(FULL)
    content = bytearray(good[20:])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    try:
        entry = decode(signed(good[:4], bytes(content[:cut])), KEY)
    except CodecError:
        return
    assert entry.key == KEY


@pytest.mark.parametrize(
    "change",
    [
        {"lifetime": 2**63},
        {"status": -1},
        {"status": 70000},
        {"part": (2**63, None)},
        {"selecting": ((b"n" * 65536, None),)},
    ],
    ids=["lifetime", "negative-status", "large-status", "part", "long-name"],
)
def test_what_does_not_fit_is_an_error_of_ours(change: dict[str, object]) -> None:
    with pytest.raises(CodecError, match="cannot be encoded"):
        encode(CacheEntry(**{**values(FULL), **change}))  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", [float("nan"), float("inf")])
def test_an_entry_needs_a_time(moment: float) -> None:
    with pytest.raises(CodecError, match="time"):
        decode(encode(CacheEntry(**{**values(FULL), "received_at": moment})), KEY)  # type: ignore[arg-type]
