"""The byte codec of stored entries: SPEC section 9, last line."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.codec import (
    MAGIC,
    VERSION,
    CodecError,
    UnknownVersion,
    decode,
    decode_outline,
    encode,
    outline_in,
)
from caching_proxy.rules.entry import Asked, CacheEntry, Flag
from caching_proxy.rules.variance import language_of, outline_of, variant_of

KEY = b"cache:GET:anonymous:/x"
NAMES = [field.name for field in attrs.fields(CacheEntry) if field.init and field.name != "missing"]
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
    selecting=((b"accept-encoding", b"gzip"), (b"x-empty", b""), (b"x-none", None)),
    part=(10, 1000),
    scope=b"/",
    asked=Asked(b"a,b", ((b"a", b"1"),)),
)


def values(entry: CacheEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in NAMES}


def signed(value: bytes, change: Callable[[bytearray], bytes], key: bytes = KEY) -> bytes:
    """``value`` with its content changed, and checksum and seal right all the same."""
    stop = 8 + int.from_bytes(value[4:8], "big")
    content = change(bytearray(value[stop:]))
    facts = blake2b(content, digest_size=16).digest() + value[8 + 32 : stop]
    return value[:8] + sealed(facts, key) + content


def sealed(facts: bytes, key: bytes = KEY) -> bytes:
    return blake2b(facts + key, digest_size=16).digest() + facts


TOKENS = st.text("abc-", min_size=1, max_size=20).map(str.encode)
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
    flags=st.integers(0, 63).map(Flag),
    selecting=st.lists(st.tuples(TOKENS, st.none() | st.binary(max_size=20)), max_size=4).map(tuple),
    part=st.none() | st.tuples(positions, st.none() | positions),
    scope=st.binary(max_size=10),
    asked=st.none()
    | st.builds(
        Asked,
        st.binary(max_size=10),
        st.lists(st.tuples(st.binary(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
    ),
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


@pytest.mark.parametrize("version", [1, VERSION + 1], ids=["older", "newer"])
def test_another_version_is_told_apart(version: int) -> None:
    with pytest.raises(UnknownVersion):
        decode(MAGIC + bytes((version,)) + encode(FULL)[4:], KEY)


@pytest.mark.parametrize("change", [lambda content: content + b"x", lambda content: content[:-1]], ids=["more", "less"])
def test_lengths_must_add_up_even_under_a_right_checksum(change: Callable[[bytearray], bytes]) -> None:
    with pytest.raises(CodecError, match="add up"):
        decode(signed(encode(FULL), change), KEY)


def test_key_and_checksums_stand_in_the_value() -> None:
    data = encode(FULL)
    assert KEY in data
    assert signed(data, bytes) == data


def test_an_outline_is_what_choosing_needs() -> None:
    data = encode(FULL)
    outline = decode_outline(outline_in(data), KEY)
    expected = outline_of(FULL)
    assert values(outline) == values(expected)
    assert (outline.missing, outline.length, outline.body) == (5, 5, b"")
    assert (variant_of(outline), language_of(outline)) == (variant_of(FULL), language_of(FULL))
    assert outline.selecting == ((b"accept-encoding", None), (b"x-empty", None), (b"x-none", None))


def test_an_outline_stays_small_whatever_the_request_sent() -> None:
    selecting = tuple((b"x-%02d" % number, b"v" * 8000) for number in range(32))
    large = attrs.evolve(FULL, selecting=selecting, head=b"".join(b"X-%d: %b\r\n" % (n, b"h" * 500) for n in range(60)))
    assert len(outline_in(encode(large))) < 600


def test_outlines_of_other_keys_and_damaged_ones_are_refused() -> None:
    outline = outline_in(encode(FULL))
    for bad in [outline[:size] for size in range(len(outline))] + [outline + b"\0"]:
        with pytest.raises(CodecError):
            decode_outline(bad, KEY)
    with pytest.raises(CodecError):
        decode_outline(outline, KEY + b"y")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_forged_outline_gives_an_entry_of_that_key_or_an_error(data: st.DataObject) -> None:
    facts = bytearray(outline_in(encode(FULL))[16:])
    for _ in range(data.draw(st.integers(1, 4))):
        facts[data.draw(st.integers(0, len(facts) - 1))] = data.draw(st.integers(0, 255))
    try:
        entry = decode_outline(sealed(bytes(facts)), KEY)
    except CodecError:
        return
    assert entry.key == KEY


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

    def change(content: bytearray) -> bytes:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
        return bytes(content[:cut])

    try:
        entry = decode(signed(good, change), KEY)
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
