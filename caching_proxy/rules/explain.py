"""The fields by which the proxy explains an answer: ``Age``, ``X-Cache-*`` and ``Cache-Status``.

The full path and the hot path both take them from here, which is why the two answer byte for byte the same.
"""

from __future__ import annotations

import time
from functools import lru_cache

from caching_proxy.http.messages import Fields
from caching_proxy.rules import cache_status
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus

_CACHE_STATUS = b"cache-status"
_WITHOUT_CONTENT = frozenset((204, 304))
_WHOLE_HEAD = (
    b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nAge: %d\r\nX-Cache-Status: %b\r\n"
    b"X-Cache-Expires-In: %ds\r\nX-Cache-Expires-At: %b.%03dZ\r\n%b\r\n"
)
_EXPIRY = b"X-Cache-Expires-In: %ds\r\nX-Cache-Expires-At: %b\r\n"


_LAST_SECOND = 253402300799.0


def timestamp(moment: float) -> bytes:
    """ISO 8601 in UTC with milliseconds: ``2026-01-31T08:00:00.000Z``."""
    moment = max(0.0, min(moment, _LAST_SECOND))  # the year 9999 is where four digits end
    whole = int(moment)
    return b"%b.%03dZ" % (_to_the_second(whole), int((moment - whole) * 1000))


@lru_cache(64)
def _to_the_second(moment: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)).encode()


def expiry(entry: CacheEntry, now: float) -> bytes:
    """``X-Cache-Expires-In`` in seconds, never negative, and ``X-Cache-Expires-At``, as field lines."""
    lifetime, received_at = entry.lifetime - entry.initial_age, entry.received_at  # ``ttl`` and ``stale_at``
    return _EXPIRY % (max(0, lifetime - max(0, int(now - received_at))), timestamp(received_at + lifetime))


def fast_whole_lines(entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None) -> bytes | None:
    """The field lines of the whole of ``entry`` in answer to a GET; None where there is something particular about it.

    The general form is :func:`with_explanation`; ``tests/cache/test_responses.py`` compares the two.
    """
    head = entry.head
    if entry.status in _WITHOUT_CONTENT or (proxy_name is not None and _CACHE_STATUS in head.lower()):
        return None
    return b"%bContent-Length: %d\r\n%b" % (head, len(entry.body), _lines(entry, status, now, proxy_name, None))


def fast_whole_head(entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None) -> bytes | None:
    """The head of an answer with the :func:`fast_whole_lines`, as it stands on the wire.

    None as there, and where the end is beyond all dates. ``tests/rules/test_short_ways.py`` compares it with
    :func:`with_explanation`.
    """
    head = entry.head
    if entry.status in _WITHOUT_CONTENT or (proxy_name is not None and _CACHE_STATUS in head.lower()):
        return None
    received_at, lifetime = entry.received_at, entry.lifetime
    age = int(now - received_at)
    age = entry.initial_age + (age if age > 0 else 0)
    ttl, ends = lifetime - age, received_at + lifetime - entry.initial_age
    second = int(ends)
    if not 0 <= second < _LAST_SECOND:  # else ``timestamp``, at a frame less
        return None
    ours = b"" if proxy_name is None else _hit_line(proxy_name, ttl)
    return _WHOLE_HEAD % (
        entry.status, entry.reason, head, len(entry.body), age, status.token, ttl if ttl > 0 else 0,
        _to_the_second(second), int((ends - second) * 1000), ours,
    )  # fmt: skip


@lru_cache(1024)
def _hit_line(proxy_name: bytes, ttl: int) -> bytes:
    return b"Cache-Status: %b\r\n" % cache_status.member(proxy_name, hit=True, ttl=ttl)


def explanation(
    entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None, member: bytes | None = None
) -> bytes:
    """The field lines that explain an answer made from ``entry``; they end with the whole ``Cache-Status`` list.

    ``proxy_name`` None leaves ``Cache-Status`` off; ``member`` replaces the plain hit member.
    """
    if proxy_name is not None and has_cache_status(entry):
        member = member or cache_status.member(proxy_name, hit=True, ttl=entry.ttl(now))
        member = cache_status.append(entry.fields.all(_CACHE_STATUS), member)
    return _lines(entry, status, now, proxy_name, member)


def _lines(entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None, member: bytes | None) -> bytes:
    age, ours = entry.age(now), b""
    ttl = entry.lifetime - age
    if proxy_name is not None:
        ours = b"Cache-Status: %b\r\n" % (member or cache_status.member(proxy_name, hit=True, ttl=ttl))
    left = ttl if ttl > 0 else 0
    ends = timestamp(entry.received_at + entry.lifetime - entry.initial_age)
    return b"Age: %d\r\nX-Cache-Status: %b\r\n%b%b" % (age, status.token, _EXPIRY % (left, ends), ours)


def has_cache_status(entry: CacheEntry) -> bool:
    """Whether the origin sent ``Cache-Status``; true also where something else in the head only looks like it."""
    return _CACHE_STATUS in entry.head.lower()


def with_explanation(
    fields: Fields,
    entry: CacheEntry,
    status: CacheStatus,
    now: float,
    proxy_name: bytes | None,
    member: bytes | None = None,
) -> Fields:
    """``fields`` of an answer made from ``entry`` with its :func:`explanation`."""
    lines = explanation(entry, status, now, proxy_name, member)
    if proxy_name is not None and has_cache_status(entry):
        fields = fields.without((b"cache-status",))
    return fields.plus_lines(lines)


def with_member(fields: Fields, added: bytes, member: bytes | None, sent: Fields) -> Fields:
    """``fields`` of a relayed answer with the lines ``added``, and with our member at the end of the ``Cache-Status``
    list (RFC 9211 §2) unless it is None. ``sent`` is what the backend sent, where they are from."""
    existing = fields.all(b"cache-status") if member is not None and b"cache-status" in sent.index else None
    if existing and member is not None:
        fields = fields.without((b"cache-status",))
        member = cache_status.append(existing, member)
    return fields.plus_lines(member_lines(added, member))


def member_lines(added: bytes, member: bytes | None) -> bytes:
    """The lines ``added``, and one with ``member`` as the whole ``Cache-Status`` list unless that is None."""
    return added if member is None else b"%bCache-Status: %b\r\n" % (added, member)
