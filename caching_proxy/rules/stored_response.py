"""What a usable stored response says to one request: 304, one range or several, 416, or the whole.

The order of evaluation is that of RFC 9110 §13.2.2. ``Age`` and the fields that explain the cache are added by the
caller; ``Content-Length`` is that of the body really sent.
"""

from __future__ import annotations

from caching_proxy.http.messages import Field, RequestHead, ResponseHead
from caching_proxy.http.pieces import Content, Pieces
from caching_proxy.http.values import transient
from caching_proxy.rules.conditional import not_modified, not_modified_fields
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.ranges import RangeKind, Selection, boundary_of, content_range, cut, multipart, select

_ABOUT_PART = frozenset({b"content-range"})
_ABOUT_PARTS = frozenset({b"content-range", b"content-type"})
# A 416 says nothing about the representation; kept by someone downstream it must not outlive this exchange.
_NOT_IN_416 = frozenset(
    {b"cache-control", b"cdn-cache-control", b"expires", b"etag", b"last-modified", b"content-md5", b"set-cookie"}
)


@transient(slots=True)
class Answer:
    """A response head ready for a client but for ``Age``, and its body (empty for HEAD, 204 and 304)."""

    head: ResponseHead
    body: Content


def answer(request: RequestHead, entry: CacheEntry, now: float, salt: bytes = b"") -> Answer:
    """The answer of ``entry``, which may be used for ``request`` at ``now``.

    ``salt`` is a secret from which the boundary of a multipart answer is made.
    """
    index = request.fields.index
    if b"if-none-match" not in index and b"if-modified-since" not in index and b"range" not in index:
        return _whole(request, entry)
    if not_modified(request, entry, now):
        return Answer(ResponseHead(304, b"Not Modified", not_modified_fields(entry)), b"")
    selection = select(request, entry)
    if selection.kind is RangeKind.PARTS:
        return _parts(entry, selection, salt)
    if selection.kind is RangeKind.UNSATISFIABLE:
        return _unsatisfiable(entry)
    return _whole(request, entry)


def _length(body: Content) -> Field:
    return b"Content-Length", b"%d" % len(body)


def _whole(request: RequestHead, entry: CacheEntry) -> Answer:
    fields = entry.fields
    if entry.status not in (204, 304):  # RFC 9110 §8.6
        fields = fields.plus_lines(b"Content-Length: %d\r\n" % len(entry.body))
    body = b"" if request.method == b"HEAD" else entry.body
    return Answer(ResponseHead(entry.status, entry.reason, fields), body)


def _parts(entry: CacheEntry, selection: Selection, salt: bytes) -> Answer:
    body: Content
    if len(selection.spans) == 1:
        span = selection.spans[0]
        held = cut(entry, span)
        body = held if isinstance(held, bytes) else Pieces((held,))
        line: Field = (b"Content-Range", content_range(span, selection.total))
        fields = entry.fields.without(_ABOUT_PART).plus(line, _length(body))
    else:
        body, kind = multipart(entry, selection, boundary_of(entry, salt))
        fields = entry.fields.without(_ABOUT_PARTS).plus((b"Content-Type", kind), _length(body))
    return Answer(ResponseHead(206, b"Partial Content", fields), body)


def _unsatisfiable(entry: CacheEntry) -> Answer:
    line: Field = (b"Content-Range", b"bytes */%d" % len(entry.body))
    fields = not_modified_fields(entry).without(_NOT_IN_416).plus(line, _length(b""))
    return Answer(ResponseHead(416, b"Range Not Satisfiable", fields), b"")
