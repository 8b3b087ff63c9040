"""Asking the backend whether a stored response still holds, and what its answer does to the store (RFC 9111 §4.3).

A validation carries our validators in place of the client's. A 304 freshens what it names; one that names nothing
stored freshens nothing. Freshness of a merged response is judged exactly like that of a new one.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from caching_proxy.http.hop_by_hop import TAG_FIELDS, hop_by_hop
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.rules.conditional import entity_tags, is_strong, weakly_equal
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import judge
from caching_proxy.rules.variance import matches

_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})
_RANGES = frozenset({b"range", b"if-range"})
_NEVER_MERGED = frozenset(
    {
        b"content-length",
        b"transfer-encoding",
        b"trailer",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
    }
)


def can_validate(entry: CacheEntry) -> bool:
    """Whether there is anything to validate ``entry`` with; only a 2xx can be (RFC 9110 §13.2.1)."""
    return 200 <= entry.status < 300 and (b"etag" in entry.fields or b"last-modified" in entry.fields)


def conditions(entry: CacheEntry | None, others: Sequence[CacheEntry] = ()) -> tuple[Field, ...]:
    """The conditions to send for ``entry``, byte for byte as stored, with the tags of ``others``; may be empty.

    ``entry`` is None where no variant fits and only ``others`` are offered (RFC 9111 §4.3.1).
    """
    tags: list[bytes] = []
    lines: list[Field] = []
    for offered in (*(() if entry is None else (entry,)), *others):
        tag = offered.fields.first(b"etag")
        if tag and 200 <= offered.status < 300 and tag not in tags:
            tags.append(tag)
    if tags:
        lines.append((b"If-None-Match", b", ".join(tags)))
    modified = entry.fields.first(b"last-modified") if entry is not None and can_validate(entry) else None
    if modified is not None:
        lines.append((b"If-Modified-Since", modified))
    return tuple(lines)


def strip_conditions(fields: Fields, keep_range: bool = False) -> Fields:
    """Request ``fields`` without the client's own conditions and ranges.

    ``keep_range`` leaves the ranges in place: for the validation of a stored part, never of a complete response.
    """
    return fields.without(_CONDITIONS if keep_range else _CONDITIONS | _RANGES)


def vary_fields(entry: CacheEntry) -> tuple[Field, ...]:
    """The request fields that selected ``entry``, for a validation that no client's request started."""
    return tuple((name, value) for name, value in entry.selecting if value is not None)


def selected(entries: Sequence[CacheEntry], response: ResponseHead) -> list[CacheEntry] | None:
    """Which of ``entries`` (those whose validators were sent) a 304 freshens; None when it names none of them.

    A strong tag names every entry that has it; a weak tag or Last-Modified the newest match; no validator at all
    the only entry that was asked about (RFC 9111 §4.3.3, §4.3.4).
    """
    tag, modified = response.fields.first(b"etag"), response.fields.first(b"last-modified")
    if tag is not None and is_strong(tag):
        return [entry for entry in entries if entry.fields.first(b"etag") == tag] or None
    if tag is not None:
        found = [entry for entry in entries if weakly_equal(entry.fields.first(b"etag") or b"", tag)]
    elif modified is not None:
        found = [entry for entry in entries if entry.fields.first(b"last-modified") == modified]
    else:
        return list(entries) if len(entries) == 1 else None
    return [max(found, key=_received)] if found else None


def client_named(request: RequestHead, response: ResponseHead) -> bool:
    """Whether a 304 that fits nothing stored fits the client's own conditions, and so may be relayed."""
    own = request.fields.all(b"if-none-match")
    tag = response.fields.first(b"etag")
    if own:
        return tag is not None and any(weakly_equal(tag, named) for named in entity_tags(own))
    since = request.fields.first(b"if-modified-since")
    return tag is None and since is not None and since == response.fields.first(b"last-modified")


def merged(entry: CacheEntry, response: ResponseHead) -> ResponseHead:
    """``entry`` as a 304 (or a 200 to HEAD) updates it, ready to be judged anew (RFC 9111 §3.2).

    A line in ``response`` replaces all stored lines of its name. The stored Date goes even if no new one came: the
    time of receipt then takes its place.
    """
    never = _NEVER_MERGED | hop_by_hop(response.fields)
    if Flag.PARTIAL in entry.flags:
        never |= {b"content-range"}
    fresh = response.fields.without(never)
    kept = entry.fields.without({*fresh.index, b"date"})
    return ResponseHead(entry.status, entry.reason, kept.plus(*fresh))


def updated(entry: CacheEntry, response: ResponseHead) -> CacheEntry:
    """``entry`` with merged fields and nothing else changed: to answer one client with, not to be stored."""
    date = [pair for pair in entry.fields if pair[0].lower() == b"date"]
    head = merged(entry, response)
    fields = head.fields if b"date" in head.fields else head.fields.plus(*date)
    return attrs.evolve(entry, head=fields.without({b"age"}).encoded())


def freshen(
    entry: CacheEntry,
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    requested_at: float,
    received_at: float,
    *,
    established: bool = True,
) -> CacheEntry | None:
    """``entry`` as a 304 to ``request`` renews it; None when what came out may no longer be stored.

    The request values of ``Vary`` are recorded anew unless ``request`` selects the entry as it was.
    """
    head = merged(entry, response)
    asked = RequestHead(
        b"GET", request.target, strip_conditions(request.fields, Flag.PARTIAL in entry.flags), request.minor
    )
    verdict = judge(
        asked,
        head,
        policy=policy,
        established=established,
        has_body=False,
        requested_at=requested_at,
        received_at=received_at,
    )
    if verdict.refusal is not None:
        return None
    renewed = make_entry(entry.key, asked, head, entry.body, verdict, policy, received_at, entry.scope)
    if TAG_FIELDS.isdisjoint(response.fields.index):  # a 304 need not repeat them
        renewed = attrs.evolve(renewed, tags=tuple(dict.fromkeys((*entry.tags, *policy.tags))))
    if not entry.selecting and not renewed.selecting:
        renewed = attrs.evolve(renewed, asked=entry.asked)
    same_names = [name for name, _ in renewed.selecting] == [name for name, _ in entry.selecting]
    if same_names and matches(entry, request):
        return attrs.evolve(renewed, selecting=entry.selecting)
    return renewed


def head_update(
    entry: CacheEntry,
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    requested_at: float,
    received_at: float,
    *,
    established: bool = True,
) -> CacheEntry | None:
    """What the answer to a forwarded HEAD does to the stored GET response (RFC 9111 §4.3.5).

    Returns ``entry`` itself when nothing changes, the renewed entry when the answer describes the same
    representation, a stale one when it describes another, None when it may no longer be stored.
    """
    if response.status != 200 or entry.status != 200:
        return entry
    if not _same_representation(entry, response.fields):
        return marked_stale(entry, received_at)
    return freshen(entry, request, response, policy, requested_at, received_at, established=established)


def marked_stale(entry: CacheEntry, now: float) -> CacheEntry:
    """``entry`` stale from ``now`` on, not to be served without asking; it may still be validated."""
    return attrs.evolve(entry, lifetime=min(entry.lifetime, entry.age(now)), stale_while_revalidate=0)


def softened(entry: CacheEntry, moment: float, now: float) -> CacheEntry:
    """``entry`` stale since ``moment``, when it was invalidated softly: what may be done with stale responses may be
    done with it."""
    return attrs.evolve(entry, lifetime=min(entry.lifetime, entry.age(min(moment, now))))


def _same_representation(entry: CacheEntry, fields: Fields) -> bool:
    for name in (b"etag", b"last-modified"):
        value = fields.first(name)
        if value is not None and value != entry.fields.first(name):
            return False
    length = fields.first(b"content-length")
    return length is None or length.strip() == b"%d" % len(entry.body)


def _received(entry: CacheEntry) -> float:
    return entry.received_at
