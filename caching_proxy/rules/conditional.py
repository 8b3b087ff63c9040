"""Answering a client's own conditions from the store: If-None-Match and If-Modified-Since (RFC 9110 §13).

Entity tags are opaque bytes. What is not formed as a tag matches only itself, byte for byte; nothing here raises.
"""

from __future__ import annotations

import re

from caching_proxy.http.dates import parse_date
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.rules.cache_status import forwarded_as
from caching_proxy.rules.entry import CacheEntry

_TAG = re.compile(rb'(?:W/)?"[^"]*"')
_LIST_MEMBER = re.compile(rb'[ \t]*((?:W/)?"[^"]*"[^,]*|[^,]+)')
_NOT_IN_304 = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"content-language", b"content-range"}
)


def has_precondition(fields: Fields) -> bool:
    """Whether a condition is present that only the backend may evaluate (RFC 9111 §4.3.2)."""
    return fields.told(_has_precondition)


def _has_precondition(fields: Fields) -> bool:
    return b"if-match" in fields or b"if-unmodified-since" in fields


def not_modified(request: RequestHead, entry: CacheEntry, now: float) -> bool:
    """Whether the client already has what ``entry`` holds, by its own conditions, so that a 304 answers it."""
    index = request.fields.index
    if b"if-none-match" not in index and b"if-modified-since" not in index:
        return False
    if not 200 <= entry.status < 300:  # RFC 9110 §13.2.1
        return False
    if b"if-none-match" in index:  # RFC 9110 §13.2.2: then If-Modified-Since is ignored
        return _none_match_fails(index[b"if-none-match"], entry.fields.first(b"etag"))
    return _unmodified_since(index[b"if-modified-since"], entry, now)


def as_not_modified(request: RequestHead, response: ResponseHead, now: float) -> ResponseHead | None:
    """The 304 that ``response``, just received, comes to under the conditions of ``request``; None if they fail."""
    entry = CacheEntry(b"", response.status, b"", response.fields.encoded(), b"", now)
    if not not_modified(request, entry, now):
        return None
    fields = forwarded_as(response.fields.without(_NOT_IN_304), response.status)
    return ResponseHead(304, b"Not Modified", fields, response.minor)


def not_modified_fields(entry: CacheEntry) -> Fields:
    """The fields of a 304: those stored, less the ones that describe a body (RFC 9110 §15.4.5)."""
    return entry.fields.without(_NOT_IN_304)


def entity_tags(values: list[bytes]) -> list[bytes]:
    """The members of an ``If-None-Match`` in order; malformed ones are kept as they stand."""
    return [match.group(1).rstrip(b" \t") for value in values for match in _LIST_MEMBER.finditer(value)]


def is_strong(tag: bytes | None) -> bool:
    """Whether there is a tag and it is not marked weak."""
    return tag is not None and tag != b"" and not tag.startswith(b"W/")


def weakly_equal(one: bytes, other: bytes) -> bool:
    """The weak comparison (RFC 9110 §8.8.3.2)."""
    return one == other or _opaque(one) == _opaque(other)


def _opaque(tag: bytes) -> bytes:
    return tag[2:] if tag.startswith(b"W/") and _TAG.fullmatch(tag) else tag


def _none_match_fails(values: list[bytes], stored: bytes | None) -> bool:
    if len(values) == 1 and values[0].strip(b" \t") == b"*":
        return True
    if stored is None:
        return False
    return any(weakly_equal(tag, stored) for tag in entity_tags(values)) or stored in values


def _unmodified_since(values: list[bytes], entry: CacheEntry, now: float) -> bool:
    """Last-Modified, else Date, else the time of receipt is not after the client's date (RFC 9111 §4.3.2)."""
    if len(values) != 1:
        return False
    since = parse_date(values[0], now)
    if since is None:
        return False
    for name in (b"last-modified", b"date"):
        value = entry.fields.first(name)
        moment = None if value is None else parse_date(value, now)
        if moment is not None:
            return moment <= since
    return int(entry.received_at) <= since
