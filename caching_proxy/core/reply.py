"""The fields by which the proxy explains an answer: ``Age``, ``X-Cache-*`` and ``Cache-Status``.

The full path and the hot path both take them from here, which is why the two answer byte for byte the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from caching_proxy.core import cache_status
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.messages import Field, Fields
from caching_proxy.core.outcome import CacheStatus


def timestamp(moment: float) -> bytes:
    """ISO 8601 in UTC with milliseconds: ``2026-01-31T08:00:00.000Z``."""
    moment = max(0.0, min(moment, 253402300799.0))  # the year 9999 is where four digits end
    whole = int(moment)
    return b"%b.%03dZ" % (_to_the_second(whole), int((moment - whole) * 1000))


@lru_cache(64)
def _to_the_second(moment: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)).encode()


def expiry(entry: CacheEntry, now: float) -> tuple[Field, Field]:
    """``X-Cache-Expires-In`` in seconds, never negative, and ``X-Cache-Expires-At``."""
    return (
        (b"X-Cache-Expires-In", b"%ds" % max(0, entry.ttl(now))),
        (b"X-Cache-Expires-At", timestamp(entry.stale_at)),
    )


def stored_answer(
    entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None, member: bytes | None = None
) -> tuple[Field, ...]:
    """What is added to an answer made from ``entry``; its ``Cache-Status`` lines must be taken out before.

    ``proxy_name`` None leaves ``Cache-Status`` off; ``member`` replaces the plain hit member.
    """
    added: tuple[Field, ...] = ((b"Age", b"%d" % entry.age(now)), (b"X-Cache-Status", status.value))
    added += expiry(entry, now)
    if proxy_name is not None:
        ours = member or cache_status.member(proxy_name, hit=True, ttl=entry.ttl(now))
        added += ((b"Cache-Status", cache_status.append(entry.fields.all(b"cache-status"), ours)),)
    return added


def without_cache_status(fields: Fields, proxy_name: bytes | None) -> Fields:
    """``fields`` less the origin's ``Cache-Status``, which :func:`stored_answer` repeats with our member."""
    if proxy_name is None or b"cache-status" not in fields:
        return fields
    return fields.without((b"cache-status",))


def replace_cache_status(fields: Fields, member: bytes | None) -> Fields:
    """``fields`` with our member appended to the ``Cache-Status`` list (RFC 9211 §2); None changes nothing."""
    if member is None:
        return fields
    existing: Sequence[bytes] = fields.all(b"cache-status")
    if not existing:
        return fields.plus((b"Cache-Status", member))
    return fields.without((b"cache-status",)).plus((b"Cache-Status", cache_status.append(existing, member)))
