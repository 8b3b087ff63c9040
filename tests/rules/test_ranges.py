"""Byte ranges over stored responses (HTTP-CACHING.md section 9)."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.pieces import Pieces
from caching_proxy.rules.entry import NO_FLAGS, CacheEntry, Flag
from caching_proxy.rules.ranges import (
    MAX_RANGES,
    RangeKind,
    boundary_of,
    combine,
    content_range,
    cut,
    multipart,
    parse_content_range,
    parse_range,
    select,
)

T = 1_900_000_000.0
BODY = b"abcdefghijkl"
ETAG = (b"ETag", b'"a"')


def whole(*pairs: Field, body: bytes = BODY, status: int = 200) -> CacheEntry:
    return CacheEntry(b"k", status, b"OK", Fields(pairs).encoded(), body, T, lifetime=900, keep=900)


def part(label: bytes, body: bytes, *pairs: Field, received_at: float = T, flags: Flag = NO_FLAGS) -> CacheEntry:
    claimed = parse_content_range(label)
    assert claimed is not None
    head = Fields([(b"Content-Range", label), *pairs]).encoded()
    place = (claimed[0], claimed[2])
    return CacheEntry(
        b"k", 206, b"", head, body, received_at, lifetime=900, keep=900, flags=flags | Flag.PARTIAL, part=place
    )


def ranged(value: bytes, *pairs: Field, method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, b"/", Fields([(b"Range", value), *pairs]))


def bodies(request: RequestHead, entry: CacheEntry) -> list[bytes]:
    return [cut(entry, span) for span in select(request, entry).spans]


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        pytest.param(b"bytes=0-2", ((0, 2),), id="R1-first"),
        pytest.param(b"bytes=9-", ((9, 11),), id="R1-open"),
        pytest.param(b"bytes=-1", ((11, 11),), id="R1-suffix"),
        pytest.param(b"bytes=9-99", ((9, 11),), id="R1-clamped"),
        pytest.param(b"bytes=0-" + b"9" * 5000, ((0, 11),), id="R1-huge"),
        pytest.param(b"bytes=-99", ((0, 11),), id="R1-oversized-suffix"),
        pytest.param(b" Bytes=0-2 ", ((0, 2),), id="R1-case"),
        pytest.param(b"bytes=12-", (), id="R3-behind"),
        pytest.param(b"bytes=-0", (), id="R3-empty-suffix"),
        pytest.param(b"bytes=12-, 99-100", (), id="R3-all-behind"),
        pytest.param(b"bytes=9-10, 0-1 ,,-1", ((9, 10), (0, 1), (11, 11)), id="R3-request-order"),
        pytest.param(b"bytes=0-1, 50-60", ((0, 1),), id="R3-one-left"),
        pytest.param(b"bytes=0-5, 5-6", None, id="R3-overlapping"),
        pytest.param(b"bytes=" + b",".join([b"0-0"] * (MAX_RANGES + 1)), None, id="R3-too-many"),
        pytest.param(b"lines=0-2", None, id="R3-unit"),
        pytest.param(b"bytes=2-0", None, id="R3-backwards"),
        pytest.param(b"bytes=", None, id="R3-empty"),
        pytest.param(b"bytes=-", None, id="R3-dash"),
        pytest.param(b"bytes=a-b", None, id="R3-letters"),
        pytest.param(b"bytes = 0-2", None, id="R3-spaces"),
        pytest.param(b"bytes=0-2, x", None, id="R3-one-bad"),
        pytest.param(b"0-2", None, id="R3-no-unit"),
    ],
)
def test_R1_R3_range(value: bytes, spans: tuple[tuple[int, int], ...] | None) -> None:
    assert parse_range(value, len(BODY)) == spans


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(b"bytes 0-4/10", (0, 4, 10), id="known"),
        pytest.param(b" BYTES 0-4/* ", (0, 4, None), id="unknown-total"),
        pytest.param(b"bytes 4-3/10", None, id="last-before-first"),
        pytest.param(b"bytes 0-10/10", None, id="beyond-total"),
        pytest.param(b"bytes */10", None, id="unsatisfied"),
        pytest.param(b"lines 0-4/10", None, id="unit"),
        pytest.param(b"bytes 0-4", None, id="no-total"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_R5_content_range(value: bytes, found: tuple[int, int, int | None] | None) -> None:
    assert parse_content_range(value) == found


@pytest.mark.parametrize(
    ("value", "body"), [(b"bytes=0-2", b"abc"), (b"bytes=9-", b"jkl"), (b"bytes=-1", b"l"), (b"bytes=-50", BODY)]
)
def test_R1_slices(value: bytes, body: bytes) -> None:
    assert bodies(ranged(value), whole()) == [body]


@pytest.mark.parametrize(
    ("request_", "entry"),
    [
        pytest.param(RequestHead(b"GET", b"/"), whole(), id="no-range"),
        pytest.param(ranged(b"bytes=0-2", method=b"HEAD"), whole(), id="head"),
        pytest.param(ranged(b"bytes=0-2"), whole(status=404), id="not-200"),
        pytest.param(ranged(b"bytes=0-2"), whole(body=b""), id="empty-body"),
        pytest.param(ranged(b"bytes=0-2", (b"Range", b"bytes=0-2")), whole(), id="two-lines"),
        pytest.param(ranged(b"items=0-2"), whole(), id="unit"),
    ],
)
def test_R3_range_is_ignored(request_: RequestHead, entry: CacheEntry) -> None:
    assert select(request_, entry).kind is RangeKind.WHOLE


def test_R3_unsatisfiable() -> None:
    found = select(ranged(b"bytes=12-"), whole())
    assert (found.kind, found.total) == (RangeKind.UNSATISFIABLE, 12)


LM = format_date(T - 5000)


@pytest.mark.parametrize(
    ("value", "pairs", "kind"),
    [
        pytest.param(b'"a"', [ETAG], RangeKind.PARTS, id="same-tag"),
        pytest.param(b'"b"', [ETAG], RangeKind.WHOLE, id="other-tag"),
        pytest.param(b'W/"a"', [(b"ETag", b'W/"a"')], RangeKind.WHOLE, id="weak"),
        pytest.param(b'"a"', [(b"ETag", b'W/"a"')], RangeKind.WHOLE, id="stored-weak"),
        pytest.param(b'"a"', [], RangeKind.WHOLE, id="no-tag"),
        pytest.param(LM, [(b"Last-Modified", LM), (b"Date", format_date(T))], RangeKind.PARTS, id="same-date"),
        pytest.param(
            LM, [(b"Last-Modified", LM), (b"Date", format_date(T - 4999))], RangeKind.PARTS, id="second-older"
        ),
        pytest.param(LM, [(b"Last-Modified", LM), (b"Date", LM)], RangeKind.WHOLE, id="date-too-young"),
        pytest.param(
            format_date(T), [(b"Last-Modified", LM), (b"Date", format_date(T))], RangeKind.WHOLE, id="later-date"
        ),
        pytest.param(b"junk", [(b"Last-Modified", b"junk")], RangeKind.WHOLE, id="no-date"),
    ],
)
def test_R4_if_range(value: bytes, pairs: list[Field], kind: RangeKind) -> None:
    assert select(ranged(b"bytes=0-2", (b"If-Range", value)), whole(*pairs)).kind is kind


def test_R4_if_range_before_unsatisfiable() -> None:
    assert select(ranged(b"bytes=99-", (b"If-Range", b'"b"')), whole(ETAG)).kind is RangeKind.WHOLE


@pytest.mark.parametrize(
    ("value", "body"),
    [(b"bytes=0-4", b"abcde"), (b"bytes=1-3", b"bcd")],
    ids=["identical", "inside"],
)
@pytest.mark.parametrize("total", [b"10", b"*"])
def test_R6_inside_a_part(value: bytes, body: bytes, total: bytes) -> None:
    assert bodies(ranged(value), part(b"bytes 0-4/" + total, b"abcde")) == [body]


@pytest.mark.parametrize(
    ("value", "body", "label"),
    [
        (b"bytes=12-14", b"cde", b"bytes 12-14/20"),
        (b"bytes=12-", b"cdefghi", b"bytes 12-18/20"),
        (b"bytes=12-500", b"cdefghi", b"bytes 12-18/20"),
        (b"bytes=-2", b"hi", b"bytes 17-18/20"),
        (b"bytes=-9", b"abcdefghi", b"bytes 10-18/20"),
    ],
)
def test_R7_part_with_fewer_bytes_than_claimed(value: bytes, body: bytes, label: bytes) -> None:
    held = part(b"bytes 10-19/20", b"abcdefghi")
    found = select(ranged(value), held)
    assert bodies(ranged(value), held) == [body]
    assert [content_range(span, found.total) for span in found.spans] == [label]


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        pytest.param(RequestHead(b"GET", b"/"), b"bytes 0-4/10", id="no-range"),
        pytest.param(ranged(b"bytes=0-2", method=b"HEAD"), b"bytes 0-4/10", id="head"),
        pytest.param(ranged(b"bytes=3-7"), b"bytes 0-4/10", id="beyond"),
        pytest.param(ranged(b"bytes=3-"), b"bytes 0-4/10", id="open"),
        pytest.param(ranged(b"bytes=3-"), b"bytes 0-4/*", id="open-unknown-total"),
        pytest.param(ranged(b"bytes=-2"), b"bytes 0-4/10", id="suffix-elsewhere"),
        pytest.param(ranged(b"bytes=-6"), b"bytes 5-9/10", id="suffix-too-long"),
        pytest.param(ranged(b"bytes=-0"), b"bytes 5-9/10", id="suffix-of-none"),
        pytest.param(ranged(b"bytes=4-6"), b"bytes 5-9/10", id="before"),
        pytest.param(ranged(b"bytes=0-1,3-4"), b"bytes 0-4/10", id="several"),
        pytest.param(ranged(b"bytes=99-"), b"bytes 5-9/10", id="behind-the-end"),
        pytest.param(ranged(b"bytes=0-1", (b"If-Range", b'"b"')), b"bytes 0-4/10", id="if-range-fails"),
        pytest.param(ranged(b"junk"), b"bytes 0-4/10", id="bad-syntax"),
    ],
)
def test_R8_outside_a_part(request_: RequestHead, label: bytes) -> None:
    assert select(request_, part(label, b"abcde", ETAG)).kind is RangeKind.OUTSIDE


def test_R3_multipart() -> None:
    held = whole((b"Content-Type", b"text/plain"))
    body, kind = multipart(held, select(ranged(b"bytes=9-10, 0-1"), held), b"XX")
    assert kind == b"multipart/byteranges; boundary=XX"
    assert body == (
        b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-10/12\r\n\r\njk\r\n"
        b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/12\r\n\r\nab\r\n--XX--\r\n"
    )


def test_R3_multipart_boundary_of_its_own() -> None:
    one = boundary_of(whole(), b"secret")
    assert one != boundary_of(whole(), b"another secret")
    assert one != boundary_of(attrs.evolve(whole(), received_at=T + 1), b"secret")
    assert re.fullmatch(rb"[0-9a-f]{32}", one)


def test_R3_a_boundary_costs_the_same_whatever_the_body() -> None:
    assert boundary_of(whole(body=BODY.upper()), b"secret") == boundary_of(whole(), b"secret")  # it is not read


def test_R3_long_ranges_are_windows_on_the_stored_body() -> None:
    held = whole(body=bytes(100_000))
    content, _ = multipart(held, select(ranged(b"bytes=0-39999,50000-99999"), held), b"XX")
    assert isinstance(content, Pieces)
    assert sum(len(part) for part in content.parts if isinstance(part, memoryview)) == 90_000
    assert all(part.obj is held.body for part in content.parts if isinstance(part, memoryview))
    single = cut(held, (10, 99_999))
    assert isinstance(single, memoryview)
    assert single.obj is held.body


# -- R10 -----------------------------------------------------------------------------------------


def test_R10_full_coverage_makes_a_complete_response() -> None:
    first = part(b"bytes 0-4/10", b"abcde", ETAG, (b"A", b"1"), (b"B", b"1"))
    second = part(b"bytes 5-9/10", b"fghij", ETAG, (b"A", b"2"), received_at=T + 5)
    for one, other in ((first, second), (second, first)):
        joined = combine(one, other)
        assert joined is not None
        assert (joined.status, joined.body, joined.part) == (200, b"abcdefghij", None)
        assert Flag.PARTIAL not in joined.flags
        assert b"content-range" not in joined.fields
        assert joined.received_at == other.received_at
        assert joined.fields.all(b"a") == other.fields.all(b"a")
        assert joined.fields.all(b"b") == [b"1"]


def test_R10_overlap_and_holes_at_the_ends() -> None:
    joined = combine(part(b"bytes 2-5/10", b"cdef", ETAG), part(b"bytes 4-7/*", b"EFGH", ETAG))
    assert joined is not None
    assert (joined.status, joined.body, joined.part) == (206, b"cdEFGH", (2, 10))
    assert joined.fields.all(b"content-range") == [b"bytes 2-7/10"]
    inside = combine(part(b"bytes 2-7/10", b"cdefgh", ETAG), part(b"bytes 4-5/10", b"EF", ETAG))
    assert inside is not None
    assert inside.body == b"cdEFgh"


def test_R10_restrictions_of_either_stay() -> None:
    strict = part(b"bytes 0-4/10", b"abcde", ETAG, flags=Flag.STRICT | Flag.IMMUTABLE)
    joined = combine(strict, part(b"bytes 5-9/10", b"fghij", ETAG))
    assert joined is not None
    assert joined.flags == Flag.STRICT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            part(b"bytes 0-4/10", b"abcde", ETAG), part(b"bytes 5-9/10", b"fghij", (b"ETag", b'"b"')), id="other-tag"
        ),
        pytest.param(
            part(b"bytes 0-4/10", b"abcde", (b"ETag", b'W/"a"')),
            part(b"bytes 5-9/10", b"fghij", (b"ETag", b'W/"a"')),
            id="weak",
        ),
        pytest.param(part(b"bytes 0-4/10", b"abcde"), part(b"bytes 5-9/10", b"fghij"), id="no-tag"),
        pytest.param(part(b"bytes 0-3/10", b"abcd", ETAG), part(b"bytes 5-9/10", b"fghij", ETAG), id="gap"),
        pytest.param(part(b"bytes 0-4/10", b"abcde", ETAG), part(b"bytes 5-9/11", b"fghij", ETAG), id="totals"),
        pytest.param(part(b"bytes 0-4/8", b"abcde", ETAG), part(b"bytes 5-9/*", b"fghij", ETAG), id="past-total"),
        pytest.param(part(b"bytes 0-4/10", b"abcd", ETAG), part(b"bytes 5-9/10", b"fghij", ETAG), id="R7-short"),
        pytest.param(whole(ETAG), part(b"bytes 5-9/12", b"fghij", ETAG), id="complete"),
    ],
)
def test_R10_not_combined(one: CacheEntry, other: CacheEntry) -> None:
    assert combine(one, other) is None


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=30) | st.text("bytes=-0123456789, ", max_size=30).map(str.encode), st.integers(0, 30))
def test_no_bytes_raise(value: bytes, size: int) -> None:
    parse_content_range(value)
    select(ranged(value, (b"If-Range", value)), part(b"bytes 3-8/20", b"defghi", ETAG))
    for first, last in parse_range(b"bytes=" + value, size) or ():
        assert 0 <= first <= last < size


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(0, 20), st.integers(1, 12), st.text("-0123456789", max_size=5))
def test_R6_a_part_answers_as_the_whole_would(start: int, length: int, spec: str) -> None:
    """Whatever a complete stored part agrees to answer is what the whole representation answers."""
    data = bytes(range(65, 65 + 32))
    held = part(content_range((start, start + length - 1), 32), data[start : start + length])
    request = ranged(b"bytes=" + spec.encode())
    if select(request, held).kind is RangeKind.PARTS:
        assert bodies(request, held) == bodies(request, whole(body=data))
