"""What the pipeline would do with a request, and why, without doing it.

Nothing is fetched, stored, dropped, counted or made recent. Every decision comes from the function that the pipeline
asks; here is only the order in which it asks them, once more, and a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from caching_proxy.cache.backend.conditional_fill import fills
from caching_proxy.cache.backend.request import BackendRequest, Purpose
from caching_proxy.cache.pipeline import Parts
from caching_proxy.cache.plan import resolve
from caching_proxy.cache.requests import CacheRequest, ClientRequest, Plan
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.variants import field_name, latest_of_each
from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.interfaces import Identity
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus, Detour, Refusal, Trouble
from caching_proxy.rules.reasons import (
    DETOURS,
    GROUNDS,
    ONLY_IF_CACHED,
    OWN_CONDITIONS,
    OWN_RANGE,
    REFUSALS,
    TROUBLES,
    Reason,
    why_not,
)
from caching_proxy.rules.request_traits import RANGES, traits_under
from caching_proxy.rules.reuse import ANSWERS, Lookup, Use, choose
from caching_proxy.rules.storability import judge

_BARE = ResponseHead(200, b"OK", Fields())
"""What a backend says that says nothing: the case in which the settings decide."""


@attrs.frozen(eq=False)
class InTier:
    """What a tier has under a key: ``chosen`` is what it would answer with."""

    entries: Sequence[CacheEntry]
    chosen: CacheEntry | None
    trouble: Trouble | None = None


@attrs.frozen(eq=False, kw_only=True)
class Explanation:
    """``status`` is the ``X-Cache-Status`` with a backend that is well and has nothing new. ``entry`` is what is stored
    for the request, usable or not. A tier that was not looked at, or has nothing, is None."""

    identity: Identity | None
    status: CacheStatus
    reasons: tuple[Reason, ...]
    key: bytes | None = None
    entry: CacheEntry | None = None
    hot: InTier | None = None
    burst: InTier | None = None
    store: InTier | None = None


class Explainer:
    """``parts`` are the pipeline's own."""

    def __init__(self, parts: Parts, burst: BurstTier) -> None:
        self._p = parts
        self._burst = burst
        self._traits = traits_under(parts.policy)
        self._now: Callable[[], float] = parts.clock.seconds

    async def explain(self, client_request: ClientRequest) -> Explanation:
        """What would happen to ``client_request`` now."""
        traits = self._traits(client_request.head.fields)
        if traits.loop:
            return Explanation(identity=None, status=CacheStatus.ERROR, reasons=(DETOURS[Detour.LOOP],))
        identity = self._p.verifier.identify(client_request.head)
        if not isinstance(identity, Identity):
            identity = await identity
        plan = resolve(client_request, identity, traits, self._p.terms)
        if not isinstance(plan, Plan):
            status = CacheStatus.NOT_APPLICABLE if plan is Detour.METHOD else CacheStatus.BYPASS
            return Explanation(identity=identity, status=status, reasons=(why_not(plan),))
        return await self._looked_up(CacheRequest(client_request, plan))

    async def _looked_up(self, request: CacheRequest) -> Explanation:
        now = self._now()
        record = self._p.hot.peek(request.key, now)
        hot = None if record is None else self._held(request, record.entries)
        wanted: tuple[bytes, ...] = ()
        if record is not None:
            lookup = self._choose(request, record.entries)
            if lookup.use is Use.HIT and lookup.entry is not None and lookup.entry.missing is None:
                burst, store = await self._others(request)
                return self._told(request, lookup, CacheStatus.HOT_HIT, hot, burst, store)
            wanted = tuple(map(field_name, lookup.lacking))
        burst, store = await self._others(request, wanted)
        found = store if burst is None else burst
        entries = () if found is None else found.entries
        request.trouble = found.trouble if found is not None and found is store else None
        nearby = self._p.hot.peek(request.key, self._now())
        known = entries if nearby is None else latest_of_each(nearby.entries, entries)
        lookup = self._choose(request, known)
        if lookup.lacking:
            again = await self._p.reader.peek(request.key, tuple(map(field_name, lookup.lacking)))
            request.trouble = again.trouble
            known = again.entries if nearby is None else latest_of_each(nearby.entries, again.entries)
            lookup = self._choose(request, known)
            if lookup.lacking:
                lookup = self._choose(request, [entry for entry in known if entry.missing is None])
            store = self._held(request, again.entries, again.trouble)
        request.known = known
        return self._told(request, lookup, self._status(request, lookup), hot, burst, store)

    async def _others(
        self, request: CacheRequest, wanted: tuple[bytes, ...] = ()
    ) -> tuple[InTier | None, InTier | None]:
        """What burst tier and store have."""
        answer = self._burst.peek(request.key, self._now())
        burst = None if answer is None else self._held(request, answer.entries)
        if not wanted:
            wanted = self._p.varying.guess(request.key, request.head.fields, request.view.scope)
        found = await self._p.reader.peek(request.key, wanted)
        if not found.entries and found.trouble is None:
            return burst, None
        return burst, self._held(request, found.entries, found.trouble)

    def _held(self, request: CacheRequest, entries: Sequence[CacheEntry], trouble: Trouble | None = None) -> InTier:
        return InTier(entries, self._choose(request, entries).entry, trouble)

    def _choose(self, request: CacheRequest, entries: Sequence[CacheEntry]) -> Lookup:
        return choose(request.head, request.control, entries, self._now(), request.view)

    def _status(self, request: CacheRequest, lookup: Lookup) -> CacheStatus:
        answered = ANSWERS.get(lookup.use)
        if answered is not None and lookup.entry is not None:
            return answered
        if lookup.use is Use.UNSATISFIABLE:
            return CacheStatus.MISS
        asking = BackendRequest.first(request, lookup, None, self._p.policy.max_body, self._now())
        if asking.purpose is Purpose.REVALIDATE and lookup.entry is not None:
            return request.revalidated_status
        return request.fetch_status

    def _told(
        self,
        request: CacheRequest,
        lookup: Lookup,
        status: CacheStatus,
        hot: InTier | None,
        burst: InTier | None,
        store: InTier | None,
    ) -> Explanation:
        reasons = [GROUNDS[lookup.ground]]
        if request.trouble is not None:
            reasons.insert(0, TROUBLES[request.trouble])
        if lookup.use is Use.UNSATISFIABLE:
            reasons.append(ONLY_IF_CACHED)
        elif lookup.forward is not None:
            reasons += self._about_fetch(request, lookup)
        entry = lookup.entry if lookup.entry is not None else lookup.part
        return Explanation(
            identity=request.identity,
            status=status,
            reasons=tuple(reasons),
            key=request.key,
            entry=entry,
            hot=hot,
            burst=burst,
            store=store,
        )

    def _about_fetch(self, request: CacheRequest, lookup: Lookup) -> list[Reason]:
        """What is known already about storing what the backend will say."""
        now, head, reasons = self._now(), request.head, list[Reason]()
        last = self._p.key_state.hit_for_miss.refusal(request.crowd, now)
        if last is not None:
            reason = REFUSALS[last]
            reasons.append(attrs.evolve(reason, text=f"the last answer was not stored: {reason.text}"))
        if not request.plain and lookup.entry is None:
            if not RANGES.isdisjoint(head.fields.index):
                reasons.append(OWN_RANGE)
            elif not (request.terms.policy.fill_on_conditional and fills(request, lookup)):
                reasons.append(OWN_CONDITIONS)
        verdict = judge(
            head,
            _BARE,
            policy=request.terms.policy,
            established=request.identity.established,
            has_body=False,
            requested_at=now,
            received_at=now,
        )
        if verdict.refusal is None:
            reasons.append(_default(verdict.freshness.lifetime))
        elif verdict.refusal is not last:
            reasons.append(_unless(REFUSALS[verdict.refusal], verdict.refusal))
        return reasons


def _default(lifetime: int) -> Reason:
    text = f"a 200 that says nothing about freshness would be stored for {lifetime} s (CACHE_TTL_SECONDS, or a rule)"
    return Reason("Z1", "project", text)


def _unless(reason: Reason, refusal: Refusal) -> Reason:
    """Why a 200 that says nothing would not be stored."""
    if refusal is Refusal.NO_FRESHNESS:
        text = "a 200 that says nothing about freshness would not be stored: no lifetime is guessed"
        return attrs.evolve(reason, text=text)
    return attrs.evolve(reason, text=f"a 200 that says nothing about it would not be stored: {reason.text}")
