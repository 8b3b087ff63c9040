"""From a response that may be stored to the entry that is stored (RFC 9111 §3.1).

The entry keeps every end-to-end field as it came, less what the backend excluded and what depends on the moment of
reuse. It carries all that reuse needs, so that a hit parses nothing that was parsed here.
"""

from __future__ import annotations

from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.headers import OWN_RESPONSE_FIELDS, hop_by_hop, with_date
from caching_proxy.core.messages import Fields, RequestHead, ResponseHead
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.ranges import parse_content_range
from caching_proxy.core.storability import Verdict

PROXY_AUTHENTICATION = frozenset((b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization"))
"""Meant for one connection only (§3.1)."""

NEVER_STORED = PROXY_AUTHENTICATION | OWN_RESPONSE_FIELDS | {b"age", b"content-length"}
"""Besides hop-by-hop fields; Age and Content-Length are written when the entry is used."""


def make_entry(
    key: bytes,
    request: RequestHead,
    response: ResponseHead,
    body: bytes,
    verdict: Verdict,
    policy: CachePolicy,
    received_at: float,
) -> CacheEntry:
    """The entry for a response that ``verdict`` allows to store; ValueError if it does not.

    ``request`` is the request that the response answered; ``received_at`` is when its head arrived.
    """
    if verdict.refusal is not None:
        raise ValueError(f"refused: {verdict.refusal.value} to {request.method!r}")
    freshness = verdict.freshness
    return CacheEntry(
        key=key,
        status=response.status,
        reason=response.reason,
        head=stored_fields(response.fields, verdict.drop, received_at).encoded(),
        body=body,
        received_at=received_at,
        initial_age=freshness.initial_age,
        lifetime=freshness.lifetime,
        stale_while_revalidate=freshness.stale_while_revalidate,
        stale_if_error=freshness.stale_if_error,
        keep=keep_seconds(verdict, policy),
        flags=verdict.flags,
        selecting=verdict.selecting,
        part=_part(response),
    )


def stored_fields(fields: Fields, drop: frozenset[bytes], received_at: float) -> Fields:
    """The fields that are kept: end-to-end ones less ``drop``, with a valid Date."""
    return with_date(fields.without(hop_by_hop(fields) | NEVER_STORED | drop), received_at)


def keep_seconds(verdict: Verdict, policy: CachePolicy) -> int:
    """How long after its receipt a response is kept: freshness, then time for validation or stale use."""
    freshness = verdict.freshness
    windows = max(freshness.stale_while_revalidate, freshness.stale_if_error)
    return freshness.remaining + max(policy.keep_stale, windows)


def _part(response: ResponseHead) -> tuple[int, int | None] | None:
    """First position and total length of a single part."""
    if response.status != 206:
        return None
    found = parse_content_range(response.fields.first(b"content-range") or b"")
    if found is None:
        raise ValueError("a 206 without a valid Content-Range")
    first, _, total = found
    return first, total
