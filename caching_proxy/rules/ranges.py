"""Byte ranges over a stored response (RFC 9110 §14, RFC 9111 §3.3 and §3.4).

Positions are inclusive and count from the start of the representation. A stored part may hold fewer bytes than its
``Content-Range`` claims: it is sliced by what it holds, and what is sent is labelled as what it is.
"""

from __future__ import annotations

import enum
import hashlib
import re
from itertools import pairwise

import attrs

from caching_proxy.http.dates import parse_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.pieces import SHARED_BYTES, Content, Pieces, window
from caching_proxy.rules.conditional import is_strong
from caching_proxy.rules.entry import CacheEntry, Flag

Span = tuple[int, int]
"""First and last position, both included."""

MAX_RANGES = 32
"""A request for more ranges than this gets the whole (RFC 9110 §14.2)."""

_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_HUGE = 10**18
_BLANK = b" \t"


class RangeKind(enum.Enum):
    """How a stored response answers a request as far as ranges go."""

    WHOLE = "whole"
    PARTS = "parts"
    UNSATISFIABLE = "unsatisfiable"  # 416
    OUTSIDE = "outside"  # a stored part that does not hold what is asked for


@attrs.frozen(slots=True)
class Selection:
    """The ``spans`` to send of a representation of ``total`` bytes (None: not known)."""

    kind: RangeKind
    spans: tuple[Span, ...] = ()
    total: int | None = None


WHOLE = Selection(RangeKind.WHOLE)
_OUTSIDE = Selection(RangeKind.OUTSIDE)


def parse_range(value: bytes, size: int) -> tuple[Span, ...] | None:
    """The satisfiable spans of a ``Range`` over ``size`` bytes, in request order; empty: 416; None: ignore it.

    Ignored are unknown units, bad syntax, overlapping spans and more than :data:`MAX_RANGES` of them.
    """
    specs = _specs(value)
    if specs is None:
        return None
    spans = tuple(span for span in (_span(first, last, size) for first, last in specs) if span is not None)
    ordered = sorted(spans)
    if any(later[0] <= earlier[1] for earlier, later in pairwise(ordered)):
        return None
    return spans


def parse_content_range(value: bytes) -> tuple[int, int, int | None] | None:
    """``(first, last, total or None)`` of a valid ``bytes`` Content-Range that names a span, else None."""
    match = _CONTENT_RANGE.fullmatch(value.strip(_BLANK))
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == b"*" else int(match[3])
    if last < first or (total is not None and total <= last):  # RFC 9110 §14.4
        return None
    return first, last, total


def select(request: RequestHead, entry: CacheEntry) -> Selection:
    """What of ``entry`` answers ``request``; conditions other than ``If-Range`` have been evaluated already."""
    if Flag.PARTIAL in entry.flags:
        return _select_in_part(request, entry)
    values = request.fields.index.get(b"range")
    if values is None or request.method != b"GET" or entry.status != 200 or len(values) != 1:
        return WHOLE
    size = len(entry.body)
    spans = parse_range(values[0], size) if size else None  # no Content-Range can describe nothing
    if spans is None or not _if_range_holds(request.fields, entry):
        return WHOLE
    return Selection(RangeKind.PARTS if spans else RangeKind.UNSATISFIABLE, spans, size)


def can_answer_part(request: RequestHead, entry: CacheEntry) -> bool:
    """Whether the stored part ``entry`` holds the range that ``request`` asks for."""
    return select(request, entry).kind is RangeKind.PARTS


def cut(entry: CacheEntry, span: Span) -> bytes | memoryview:
    """The bytes of ``span``, which :func:`select` gave for ``entry``; a long one is a window on the body."""
    start = entry.part[0] if entry.part is not None else 0
    return window(entry.body, span[0] - start, span[1] + 1 - start)


def content_range(span: Span, total: int | None) -> bytes:
    """The value of ``Content-Range`` for ``span``."""
    return b"bytes %d-%d/%b" % (*span, b"*" if total is None else b"%d" % total)


def boundary_of(entry: CacheEntry, salt: bytes) -> bytes:
    """What separates the ranges of ``entry``: whoever made the body could not know it, as nobody knows ``salt``.

    It does not depend on the bytes of the body: reading ten megabytes for a request of a few bytes would be work that
    a client gets for nothing.
    """
    made = b"%d %.6f " % (len(entry.body), entry.received_at) + entry.key
    return hashlib.blake2b(made, digest_size=16, key=salt).hexdigest().encode()


def multipart(entry: CacheEntry, selection: Selection, mark: bytes) -> tuple[Content, bytes]:
    """The body of several spans, separated by the boundary ``mark``, and its ``Content-Type`` (RFC 9110 §14.6)."""
    kind = entry.fields.first(b"content-type")
    label = b"" if kind is None else b"Content-Type: %b\r\n" % kind
    pieces: list[bytes | memoryview] = []
    before = b""
    for span in selection.spans:
        pieces.append(
            b"%b--%b\r\n%bContent-Range: %b\r\n\r\n" % (before, mark, label, content_range(span, selection.total))
        )
        pieces.append(cut(entry, span))
        before = b"\r\n"
    pieces.append(b"\r\n--%b--\r\n" % mark)
    content = Pieces(pieces)
    short = len(content) < SHARED_BYTES
    return bytes(content) if short else content, b"multipart/byteranges; boundary=" + mark


def missing_rest(part: CacheEntry, limit: int) -> int | None:
    """The position from which ``part``, a prefix of a representation of known size, is to be completed.

    None if it is no such prefix, does not hold the bytes that it claims, or if the whole would exceed ``limit`` bytes.
    """
    claimed = _exact_part(part)
    if claimed is None or claimed[0] != 0 or claimed[2] is None or claimed[2] > limit or claimed[1] + 1 >= claimed[2]:
        return None
    return claimed[1] + 1


def combine(stored: CacheEntry, newer: CacheEntry) -> CacheEntry | None:
    """Two parts of one representation as one entry, complete if they cover it; None if they must not be joined.

    Both need the same strong entity tag and every byte that they claim, and they must touch or overlap
    (RFC 9111 §3.4). Times and lifetime are those of ``newer``, whose fields replace the stored ones.
    """
    one, two = _exact_part(stored), _exact_part(newer)
    tag = newer.fields.first(b"etag")
    if one is None or two is None or not is_strong(tag) or stored.fields.first(b"etag") != tag:
        return None
    totals = {total for total in (one[2], two[2]) if total is not None}
    if len(totals) > 1 or one[0] > two[1] + 1 or two[0] > one[1] + 1:
        return None
    first, last = min(one[0], two[0]), max(one[1], two[1])
    before = stored.body[: max(0, two[0] - one[0])]
    after = stored.body[two[1] + 1 - one[0] :] if one[1] > two[1] else b""
    total = totals.pop() if totals else None
    if total is not None and total <= last:
        return None
    return _joined(stored, newer, before + newer.body + after, (first, last), total)


def _joined(stored: CacheEntry, newer: CacheEntry, body: bytes, span: Span, total: int | None) -> CacheEntry:
    replaced = {*newer.fields.index, b"content-range"}
    fields = stored.fields.without(replaced).plus(*newer.fields.without({b"content-range"}))
    flags = (stored.flags | newer.flags) & ~(Flag.PARTIAL | Flag.IMMUTABLE)
    flags |= stored.flags & newer.flags & Flag.IMMUTABLE
    if span == (0, (total or 0) - 1):
        head = fields.encoded()
        return attrs.evolve(newer, status=200, reason=b"OK", head=head, body=body, flags=flags, part=None)
    line: Field = (b"Content-Range", content_range(span, total))
    head = fields.plus(line).encoded()
    return attrs.evolve(newer, head=head, body=body, flags=flags | Flag.PARTIAL, part=(span[0], total))


def _exact_part(entry: CacheEntry) -> tuple[int, int, int | None] | None:
    """The Content-Range of a stored part that holds exactly the bytes it claims."""
    if Flag.PARTIAL not in entry.flags:
        return None
    claimed = parse_content_range(entry.fields.first(b"content-range") or b"")
    if claimed is None or claimed[1] - claimed[0] + 1 != len(entry.body):
        return None
    return claimed


def _specs(value: bytes) -> list[tuple[int | None, int | None]] | None:
    """The members of a byte range set as (first, last), (first, None) or (None, suffix length)."""
    unit, equals, text = value.strip(_BLANK).partition(b"=")
    if not equals or unit.lower() != b"bytes":
        return None
    members = [member for member in (raw.strip(_BLANK) for raw in text.split(b",")) if member]
    if not members or len(members) > MAX_RANGES:
        return None
    specs: list[tuple[int | None, int | None]] = []
    for member in members:
        match = _SPEC.fullmatch(member)
        if match is None or member == b"-":
            return None
        first, last = _number(match[1]), _number(match[2])
        if first is not None and last is not None and last < first:
            return None
        specs.append((first, last))
    return specs


def _number(digits: bytes) -> int | None:
    """Any number of digits; saturates far beyond the size of any body."""
    if not digits:
        return None
    return int(digits) if len(digits) <= 18 else _HUGE


def _span(first: int | None, last: int | None, size: int) -> Span | None:
    """One member over ``size`` bytes: clamped, or None when it is unsatisfiable."""
    if first is None:
        length = min(last or 0, size)
        return (size - length, size - 1) if length else None
    if first >= size:
        return None
    return first, size - 1 if last is None else min(last, size - 1)


def _if_range_holds(fields: Fields, entry: CacheEntry) -> bool:
    """RFC 9110 §13.1.5: an identical strong tag, or the date of a Last-Modified that is a strong validator."""
    values = fields.index.get(b"if-range")
    if values is None:
        return True
    if len(values) != 1:
        return False
    value = values[0].strip(_BLANK)
    tag = entry.fields.first(b"etag")
    if is_strong(tag) and value == tag:
        return True
    now = entry.received_at  # only decides the century of two-digit years
    date, modified = parse_date(value, now), parse_date(entry.fields.first(b"last-modified") or b"", now)
    if date is None or modified is None or date != modified:
        return False
    made = parse_date(entry.fields.first(b"date") or b"", now)
    return modified + 1 <= (int(now) if made is None else made)  # RFC 9110 §8.8.2.2


def _select_in_part(request: RequestHead, entry: CacheEntry) -> Selection:
    """A part answers one range that lies wholly inside what it claims to hold, and nothing else."""
    values = request.fields.all(b"range")
    claimed = parse_content_range(entry.fields.first(b"content-range") or b"")
    if len(values) != 1 or request.method != b"GET" or claimed is None or not _if_range_holds(request.fields, entry):
        return _OUTSIDE
    specs = _specs(values[0])
    if specs is None or len(specs) != 1 or not entry.length:
        return _OUTSIDE
    span = _span_in_part(*specs[0], claimed, entry.length)
    return _OUTSIDE if span is None else Selection(RangeKind.PARTS, (span,), claimed[2])


def _span_in_part(first: int | None, last: int | None, claimed: tuple[int, int, int | None], size: int) -> Span | None:
    start, claimed_end, total = claimed
    at_end = total is not None and claimed_end == total - 1
    held_end = start + size - 1
    if first is None:  # a suffix, counted from the end of the bytes held
        length = last or 0
        if not at_end or not length or (start and length > claimed_end - start + 1):
            return None
        return max(start, held_end + 1 - length), held_end
    if last is None or (total is not None and last >= total):
        last = claimed_end if at_end else None
    if last is None or first < start or last > claimed_end or first > held_end:
        return None
    return first, min(last, held_end)
