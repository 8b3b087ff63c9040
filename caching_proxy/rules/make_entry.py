"""From a response that may be stored to the entry that is stored (RFC 9111 §3.1).

The entry keeps every end-to-end field as it came, less what the backend excluded and what depends on the moment of
reuse. It carries all that reuse needs, so that a hit parses nothing that was parsed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from caching_proxy.http.dates import parse_date
from caching_proxy.http.hop_by_hop import HOP_BY_HOP, OWN_RESPONSE_FIELDS, hop_by_hop, with_date
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.passing_lines import PassingLines
from caching_proxy.http.response_names import PROXY_AUTHENTICATION
from caching_proxy.rules.entry import Asked, CacheEntry, Selecting
from caching_proxy.rules.freshness import Freshness
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.ranges import parse_content_range
from caching_proxy.rules.storability import Verdict
from caching_proxy.rules.tags import tags_of
from caching_proxy.rules.variance import asked_of

NEVER_STORED = PROXY_AUTHENTICATION | OWN_RESPONSE_FIELDS | {b"age", b"content-length"}
"""Besides hop-by-hop fields; Age and Content-Length are written when the entry is used."""

_USUALLY_GONE = HOP_BY_HOP | NEVER_STORED


def make_entry(
    key: bytes,
    request: RequestHead,
    response: ResponseHead,
    body: bytes,
    verdict: Verdict,
    policy: CachePolicy,
    received_at: float,
    scope: bytes = b"",
    worth: Collection[bytes] = (),
) -> CacheEntry:
    """The entry for a response that ``verdict`` allows to store; ValueError if it does not.

    ``request`` is the request that the response answered, ``scope`` its :func:`~caching_proxy.rules.scope.scope_of`;
    ``received_at`` is when its head arrived. ``worth``: :func:`~caching_proxy.rules.variance.asked_of`.
    """
    if verdict.refusal is not None:
        raise ValueError(f"refused: {verdict.refusal.value} to {request.method!r}")
    freshness = verdict.freshness
    return CacheEntry(
        key,
        response.status,
        _REASONS.get(response.reason, response.reason),
        _lines(response, verdict.drop, received_at),
        body,
        received_at,
        freshness.initial_age,
        freshness.lifetime,
        freshness.stale_while_revalidate,
        freshness.stale_if_error,
        _keep(freshness, policy),
        verdict.flags,
        verdict.selecting,
        _part(response) if response.status == 206 else None,
        scope,
        None if verdict.selecting else asked_of(request.fields, worth),
        tags=tags_of(response.fields, policy.tags) or (),
    )


def plain_entry(
    key: bytes,
    response: ResponseHead,
    lines: bytes,
    body: bytes,
    verdict: Verdict,
    policy: CachePolicy,
    received_at: float,
    scope: bytes,
    asked: Asked | None,
    selecting: Selecting = (),
) -> CacheEntry:
    """:func:`make_entry` where ``verdict`` was found at a glance (:mod:`.glance`) and the policy has no tags.

    ``lines`` are :func:`plain_lines` of the response, ``selecting`` is what its Vary names of the request; where that
    is nothing, ``asked`` is what :func:`~.variance.asked_of` has of it.
    """
    freshness = verdict.freshness
    fresh = freshness.lifetime - freshness.initial_age
    while_revalidate, if_error = freshness.stale_while_revalidate, freshness.stale_if_error
    return CacheEntry(
        key,
        response.status,
        _REASONS.get(response.reason, response.reason),
        lines,
        body,
        received_at,
        freshness.initial_age,
        freshness.lifetime,
        while_revalidate,
        if_error,
        (fresh if fresh > 0 else 0) + max(policy.keep_stale, while_revalidate, if_error),
        verdict.flags,
        selecting,
        None,
        scope,
        asked,
    )


_REASONS = {reason: reason for reason in (b"", b"OK", b"Not Found", b"Moved Permanently", b"Found", b"Gone")}
"""One object each for those that thousands of entries have."""


def _lines(response: ResponseHead, drop: frozenset[bytes], received_at: float) -> bytes:
    """The lines of :func:`_fields`; those of an ordinary head are known each by itself."""
    ordinary, lines = response.ordinary, response.fields.lines
    if ordinary is None or lines is None or drop or parse_date(ordinary.date, received_at) is None:
        return _fields(response.fields, drop, received_at).encoded()
    return _KEPT.together(lines)


_KEPT = PassingLines(lambda name: name not in _USUALLY_GONE)

plain_lines: Callable[[Iterable[bytes]], bytes] = _KEPT.together
"""The lines of an ordinary response with a valid Date as they are kept."""


def _fields(fields: Fields, drop: frozenset[bytes], received_at: float) -> Fields:
    """The fields that are kept: end-to-end ones less ``drop``, with a valid Date."""
    ending = hop_by_hop(fields)
    gone = _USUALLY_GONE if ending is HOP_BY_HOP and not drop else ending | NEVER_STORED | drop
    if b"date" in gone:
        return with_date(fields.without(gone), received_at)
    return with_date(fields, received_at).without(gone)


def _keep(freshness: Freshness, policy: CachePolicy) -> int:
    """How long after its receipt a response is kept: freshness, then time for validation or stale use, in seconds."""
    return freshness.remaining + max(policy.keep_stale, freshness.stale_while_revalidate, freshness.stale_if_error)


def _part(response: ResponseHead) -> tuple[int, int | None]:
    """First position and total length of the single part in a 206."""
    found = parse_content_range(response.fields.first(b"content-range") or b"")
    if found is None:
        raise ValueError("a 206 without a valid Content-Range")
    first, _, total = found
    return first, total
