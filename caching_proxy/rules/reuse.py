"""What to do about a request, given what is stored for its key and the time.

Freshness, the request directives and the stale rules meet here and nowhere else. Nothing stored is used past its
``gone_at``. Which part of a chosen response answers the request (304, 206, the whole) is said in
:mod:`caching_proxy.rules.stored_response`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from caching_proxy.http.dates import parse_date
from caching_proxy.http.messages import RequestHead
from caching_proxy.http.request_directives import NO_DIRECTIVES, RequestControl
from caching_proxy.http.values import transient
from caching_proxy.rules.conditional import has_precondition
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.outcome import CacheStatus, Forward, Ground
from caching_proxy.rules.ranges import can_answer_part
from caching_proxy.rules.scope import PLAIN_VIEW, View
from caching_proxy.rules.validation import can_validate
from caching_proxy.rules.variance import alike
from caching_proxy.rules.variants import Variants


class Use(enum.Enum):
    """What to do about a request."""

    HIT = "hit"
    STALE_HIT = "stale-hit"  # the client accepts it (max-stale)
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"  # answer, and validate in the background
    VALIDATE = "validate"  # ask the backend whether the entry still holds
    FETCH = "fetch"  # forward without conditions of our own
    UNSATISFIABLE = "unsatisfiable"  # only-if-cached, and nothing may be used: 504


ANSWERS: Mapping[Use, CacheStatus] = {
    Use.HIT: CacheStatus.HIT,
    Use.STALE_HIT: CacheStatus.STALE,
    Use.STALE_WHILE_REVALIDATE: CacheStatus.STALE,
}
"""Uses that answer from what is stored, and what the answer is called."""

NOT_TOLD_BY_TAGS = frozenset({b"accept-encoding", b"origin"})
"""Request fields whose variants may have one entity tag: a weak one says nothing about the content coding, and none
says anything about which origin a response names. A 304 does not mean that this client may have the other variant."""

MAX_CANDIDATES = 16
"""Entity tags of other variants that are offered to the backend: the latest."""

_NOT_PLAIN = int(Flag.NO_CACHE | Flag.PARTIAL)
_VALIDATING = frozenset({Use.VALIDATE, Use.STALE_WHILE_REVALIDATE})


@transient(slots=True)
class Lookup:
    """The decision. ``forward`` is the reason (RFC 9211 §2.2) where the backend is asked.

    ``entry`` is what answers (hits), is validated, or, beside ``FETCH``, may still serve if the backend fails.
    ``candidates`` are other variants whose entity tags may be offered to the backend (RFC 9111 §4.3.1).
    ``part`` is a fresh stored part that does not cover this request but may be completed. ``others`` are further
    responses that the request selects: a 304 to the validation of ``entry`` may freshen them too (§4.3.4). ``ground``
    is what was decisive, in a word.
    """

    use: Use
    entry: CacheEntry | None = None
    forward: Forward | None = None
    candidates: tuple[CacheEntry, ...] = ()
    part: CacheEntry | None = None
    others: tuple[CacheEntry, ...] = ()
    ground: Ground = attrs.field(default=Ground.FRESH, eq=False)

    @property
    def lacking(self) -> tuple[CacheEntry, ...]:
        """Outlines among what answers, is validated or may be completed: these have to be read first."""
        chosen = self.entry if self.entry is not None else self.part
        return (chosen,) if chosen is not None and chosen.missing is not None else ()


_HIT = Use.HIT
_UNKNOWN = Lookup(Use.FETCH, forward=Forward.URI_MISS, ground=Ground.NOTHING)


def choose(
    request: RequestHead, control: RequestControl, entries: Sequence[CacheEntry], now: float, view: View
) -> Lookup:
    """Decide about a GET or HEAD that may be answered from ``entries``, everything stored for its key.

    Where the chosen entry is an outline, so are all facts about it: decide again once it has been read.
    """
    if control is NO_DIRECTIVES and not has_precondition(
        request.fields
    ):  # the ordinary cases, at a fraction of the cost
        if not entries:
            return _UNKNOWN
        if view is PLAIN_VIEW and len(entries) == 1 and fast_answers(entries[0], now):
            return Lookup(_HIT, entries[0])
    decision = _decide(request, control, entries, now, view)
    if control.only_if_cached and decision.forward is not None:  # RFC 9111 §5.2.1.7
        return Lookup(Use.UNSATISFIABLE, decision.entry, decision.forward, ground=decision.ground)
    return decision


def may_serve_on_error(entry: CacheEntry, control: RequestControl, now: float) -> bool:
    """Whether ``entry`` may stand in for a 500, 502, 503 or 504 of the backend (RFC 5861 §4).

    A client that insisted on a validated answer gets the error, unless it asked for ``stale-if-error`` itself.
    """
    if control.explicit_no_cache and control.stale_if_error is None:
        return False
    window = max(entry.stale_if_error, control.stale_if_error or 0)
    return window > 0 and -entry.ttl(now) <= window and may_serve_disconnected(entry, now)


def may_serve_disconnected(entry: CacheEntry, now: float) -> bool:
    """Whether ``entry`` may answer while the backend cannot be reached (RFC 9111 §4.2.4)."""
    if Flag.NO_CACHE in entry.flags or now >= entry.gone_at:
        return False
    return Flag.STRICT not in entry.flags or entry.fresh(now)


def fast_answers(entry: CacheEntry, now: float) -> bool:
    """Whether the only entry there is answers every request of :data:`PLAIN_VIEW` without directives and
    preconditions: fresh, whole, one for all. ``tests/rules/test_short_ways.py`` compares it with :func:`choose`."""
    return (
        not entry.selecting
        and not entry.scope
        and not int.__and__(entry.flags, _NOT_PLAIN)  # the operator of flags would cost as much as all the rest
        and now < entry.received_at + entry.keep  # ``gone_at`` and ``fresh``, at a frame less each
        and entry.lifetime - entry.initial_age > max(0, int(now - entry.received_at))
    )


def _decide(
    request: RequestHead, control: RequestControl, entries: Sequence[CacheEntry], now: float, view: View
) -> Lookup:
    if has_precondition(request.fields):
        return Lookup(Use.FETCH, forward=Forward.BYPASS, ground=Ground.CONDITIONS)
    variants = entries if isinstance(entries, Variants) else Variants(entries)
    matching = [entry for entry in variants.matching(request.fields, view) if now < entry.gone_at]
    if not matching:
        return _nothing_matches(request, variants, now, view)
    entry = _newest([entry for entry in matching if _can_answer(request, entry)], now)
    if entry is None:
        part = _newest([entry for entry in matching if entry.fresh(now)], now)
        return Lookup(Use.FETCH, forward=Forward.PARTIAL, part=part, ground=Ground.PART)
    use, forward, ground = _use_of(entry, control, now)
    # A stale GET response says nothing to a HEAD: that one is forwarded as it is (RFC 9111 §4.3.5).
    if use is Use.VALIDATE and (request.method == b"HEAD" or not can_validate(entry)):
        use = Use.FETCH
    if use in _VALIDATING and len(matching) > 1:
        others = tuple(other for other in matching if other is not entry)
        return Lookup(use, entry, forward, others=others, ground=ground)
    return Lookup(use, entry, forward, ground=ground)


def _nothing_matches(request: RequestHead, variants: Variants, now: float, view: View) -> Lookup:
    live = [entry for entry in variants.within(view) if now < entry.gone_at]
    if not live:
        return _UNKNOWN
    candidates = [entry for entry in live if Flag.PARTIAL not in entry.flags and _has_tag(entry)]
    candidates = [entry for entry in candidates if alike(entry, request.fields, NOT_TOLD_BY_TAGS)]
    latest = tuple(candidates[-MAX_CANDIDATES:])
    return Lookup(Use.FETCH, forward=Forward.VARY_MISS, candidates=latest, ground=Ground.OTHER_VARIANTS)


def _can_answer(request: RequestHead, entry: CacheEntry) -> bool:
    """A part answers only requests for a range wholly inside it (RFC 9111 §3.3)."""
    return Flag.PARTIAL not in entry.flags or can_answer_part(request, entry)


def _newest(entries: list[CacheEntry], now: float) -> CacheEntry | None:
    """Complete responses before parts; then the latest Date, then the latest receipt."""
    if len(entries) < 2:
        return entries[0] if entries else None

    def rank(entry: CacheEntry) -> tuple[bool, float, float]:
        date = parse_date(entry.fields.first(b"date") or b"", now)
        return Flag.PARTIAL not in entry.flags, entry.received_at if date is None else date, entry.received_at

    return max(entries, key=rank)


_Decision = tuple[Use, Forward | None, Ground]


def _use_of(entry: CacheEntry, control: RequestControl, now: float) -> _Decision:
    ttl = entry.ttl(now)
    if Flag.NO_CACHE in entry.flags:  # RFC 9111 §5.2.2.4
        return Use.VALIDATE, Forward.STALE, Ground.NO_CACHE
    if ttl > 0:
        wish = _wish_against(entry, control, ttl, now)
        return (Use.HIT, None, Ground.FRESH) if wish is None else (Use.VALIDATE, Forward.REQUEST, wish)
    if Flag.STRICT in entry.flags or control.refresh or control.min_fresh is not None:
        return Use.VALIDATE, Forward.STALE, Ground.STRICT
    return _stale_use(entry, control, -ttl, now)


def _wish_against(entry: CacheEntry, control: RequestControl, ttl: int, now: float) -> Ground | None:
    """Why the client does not want this fresh response as it is, None if it does."""
    if control.explicit_no_cache:
        return Ground.CLIENT_NO_CACHE
    if control.min_fresh is not None and ttl < control.min_fresh:
        return Ground.MIN_FRESH
    if Flag.IMMUTABLE in entry.flags:  # RFC 8246 §2: while fresh, no need to confirm it
        return None
    if control.refresh:
        return Ground.REFRESH
    return Ground.MAX_AGE if control.max_age is not None and entry.age(now) > control.max_age else None


def _stale_use(entry: CacheEntry, control: RequestControl, staleness: int, now: float) -> _Decision:
    # RFC 9111 §5.2.1.1: max-age alone also means that nothing stale is wanted
    if control.max_age is not None and (control.max_stale is None or entry.age(now) > control.max_age):
        return Use.VALIDATE, Forward.STALE, Ground.MAX_AGE
    if 0 < entry.stale_while_revalidate >= staleness:
        use = Use.STALE_HIT if control.only_if_cached else Use.STALE_WHILE_REVALIDATE
        return use, None, Ground.REVALIDATE_BEHIND
    if control.max_stale and staleness <= control.max_stale:
        return Use.STALE_HIT, None, Ground.MAX_STALE
    return Use.VALIDATE, Forward.STALE, Ground.STALE


def _has_tag(entry: CacheEntry) -> bool:
    return 200 <= entry.status < 300 and b"etag" in entry.fields
