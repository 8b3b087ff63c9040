"""The steps of a request, in order. Nothing else knows this order, and nothing here decides by itself.

The steps have names (:mod:`caching_proxy.cache.steps`), and docs/architecture.md has them in a diagram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.backend.conditional_fill import as_asked, ask_for_all, fills
from caching_proxy.cache.backend.fetch import Fetcher
from caching_proxy.cache.backend.request import replaces_client
from caching_proxy.cache.flights import Flight, FlightResult, Result, Selected, Shared
from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.pass_through import PassThrough
from caching_proxy.cache.plan import Way, resolve
from caching_proxy.cache.requests import CacheRequest, CacheResponse, ClientRequest, Plan
from caching_proxy.cache.responses import Responses
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import Found, StoreReader
from caching_proxy.cache.tiers.variants import VaryNames, field_name, latest_of_each
from caching_proxy.http.values import transient
from caching_proxy.interfaces import Identity, ITokenVerifier, UpstreamError
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus, Detour, Forward
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.request_traits import RequestTraits, traits_under
from caching_proxy.rules.reuse import ANSWERS, Lookup, Use, choose, may_serve_on_error
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.rules.variance import matches

_HIT = Use.HIT  # finding a member costs several times what a name of the module does

FLIGHTS = 2
"""How many flights a request joins whose leaders are given up before it goes alone."""


@attrs.frozen(slots=True, kw_only=True)
class Parts:
    """The collaborators of the pipeline, made by the composition root."""

    policy: CachePolicy
    verifier: ITokenVerifier
    hot: HotTier
    reader: StoreReader
    key_state: KeyState
    fetcher: Fetcher
    passing: PassThrough
    responses: Responses
    varying: VaryNames
    terms: TermsByTarget
    clock: IReactorTime
    stale_wait: float = 1.0
    """Seconds that a backend is waited for where a stale response may stand in for its error."""


@transient(slots=True)
class Wanted:
    """Which variants have to be read before anything can be decided."""

    variants: tuple[bytes, ...]


class Pipeline:
    """Answers requests. What can be answered without waiting is answered at once, not through a Deferred."""

    _log = Logger()

    def __init__(self, parts: Parts) -> None:
        self._p = self.parts = parts
        self._traits = traits_under(parts.policy)
        self._now: Callable[[], float] = parts.clock.seconds

    def handle(self, client_request: ClientRequest) -> CacheResponse | Deferred[CacheResponse]:
        """The answer to ``client_request``. Fails with nothing but a cancellation."""
        p, plan = self._p, client_request.plan
        if plan is not None:
            return self._through_cache(CacheRequest(client_request, plan))
        traits = self._traits(client_request.head.fields)
        if traits.loop:
            return p.responses.loop()
        identity = p.verifier.identify(client_request.head)
        if isinstance(identity, Identity):
            return self._identified(identity, client_request, traits)
        return identity.addCallback(self._identified, client_request, traits)

    def _identified(
        self, identity: Identity, client_request: ClientRequest, traits: RequestTraits
    ) -> CacheResponse | Deferred[CacheResponse]:
        p = self._p
        plan = resolve(client_request, identity, traits, p.terms)
        if isinstance(plan, Plan):
            return self._through_cache(CacheRequest(client_request, plan))
        return self._pass(client_request, identity, plan)

    def _pass(
        self, client_request: ClientRequest, identity: Identity, way: Way
    ) -> CacheResponse | Deferred[CacheResponse]:
        if way is Detour.METHOD:
            return self._p.passing.forward(client_request, identity)
        return self._p.passing.bypass(client_request, identity, way)

    def _through_cache(self, cache_request: CacheRequest) -> CacheResponse | Deferred[CacheResponse]:
        p, now = self._p, self._now()
        record = p.hot.get(cache_request.key, now)
        wanted: tuple[bytes, ...] = ()
        if record is not None:
            lookup = self._choose(cache_request, record.entries)
            if lookup.use is _HIT and lookup.entry is not None and lookup.entry.missing is None:
                p.hot.hits += 1
                form, _ = p.hot.form(cache_request.head, lookup.entry, cache_request.key, record)
                return p.responses.stored(cache_request, form, CacheStatus.HOT_HIT, now)
            wanted = tuple(map(field_name, lookup.lacking))
        p.hot.misses += 1
        visit, plan = PendingRequest(self, cache_request), cache_request.plan
        found, plan.found = plan.found, None
        if found is None or not found.current or (wanted and wanted != plan.wanted):
            if not wanted:
                wanted = p.varying.guess(cache_request.key, cache_request.head.fields, cache_request.view.scope)
            found = p.reader.read(cache_request.key, wanted, visit.found)
        if found is not None:
            visit.found(found)
        return visit.answer

    def read_again(self, visit: PendingRequest, cache_request: CacheRequest, wanted: Wanted) -> None:
        """Ask the store for variants on behalf of ``visit`` that were not among those guessed."""
        found = self._p.reader.read(cache_request.key, wanted.variants, visit.found, burst=False)
        if found is not None:
            visit.found(found)

    def _choose(self, cache_request: CacheRequest, entries: Sequence[CacheEntry]) -> Lookup:
        return choose(cache_request.head, cache_request.control, entries, self._now(), cache_request.view)

    def decide(self, found: Found, cache_request: CacheRequest) -> CacheResponse | Deferred[CacheResponse] | Wanted:
        """What the variants in both tiers come to, or which ones have to be read first."""
        p, now = self._p, self._now()
        cache_request.trouble = found.trouble
        stored = found.entries  # without what was invalidated meanwhile
        record = p.hot.get(cache_request.key, now)  # anew: there may have been news while the store was read
        known = cache_request.known = stored if record is None else latest_of_each(record.entries, stored)
        lookup = choose(cache_request.head, cache_request.control, known, now, cache_request.view)
        if known and lookup.lacking:
            if not cache_request.reread:
                cache_request.reread = True
                return Wanted(tuple(map(field_name, lookup.lacking)))
            lookup = self._choose(
                cache_request, [entry for entry in known if entry.missing is None]
            )  # it is gone meanwhile
        use, entry = lookup.use, lookup.entry
        if entry is not None and use in ANSWERS:
            if use is _HIT:
                if stored and found.current:
                    ends = inf if record is None else record.expires_at
                    found.kept = p.hot.put_all(cache_request.key, known, now, ends) or found.kept
            elif use is Use.STALE_WHILE_REVALIDATE:
                self._revalidate_behind(cache_request, lookup, entry)
            return p.responses.stored(cache_request, entry, ANSWERS[use], now)
        if use is Use.UNSATISFIABLE:
            return p.responses.only_if_cached(cache_request)
        lease = cache_request.take_lease(p.key_state)
        lease.current = found.current
        if entry is not None:
            lease.carry(entry.tags)
        if entry is not None and entry.missing is None and may_serve_on_error(entry, cache_request.control, now):
            cache_request.stale = entry
        if p.policy.fill_on_conditional and fills(cache_request, lookup):
            return self._filling(cache_request, lookup)
        return self._from_backend(cache_request, lookup)

    def _filling(self, cache_request: CacheRequest, lookup: Lookup) -> CacheResponse | Deferred[CacheResponse]:
        """Ask for all of what a client has already, store it, and answer the client by its conditions."""
        p = self._p
        if p.key_state.hit_for_miss.covers(cache_request.crowd, self._now()):
            return self._from_backend(cache_request, lookup)
        asked = ask_for_all(cache_request)
        reply = self._from_backend(cache_request, lookup)
        if isinstance(reply, Deferred):
            return reply.addCallback(lambda reply: as_asked(reply, asked, self._now()))
        return as_asked(reply, asked, self._now())

    def _from_backend(
        self, cache_request: CacheRequest, lookup: Lookup, flights: int = FLIGHTS
    ) -> CacheResponse | Deferred[CacheResponse]:
        """Join the flight for this key, or lead one, or go alone where sharing cannot help."""
        state = self._p.key_state
        alone = state.hit_for_miss.until and state.hit_for_miss.covers(cache_request.crowd, self._now())
        if alone or not flights or not cache_request.shareable:
            return self._lead(cache_request, lookup, None)
        selected = self._selected(cache_request)
        flight = state.flight(cache_request.key, selected)
        if flight is None:
            mine = state.begin_flight(cache_request.key, selected) if replaces_client(cache_request, lookup) else None
            return self._lead(cache_request, lookup, mine)
        if flight.shared is not None:
            return self._landed(flight.shared, cache_request, lookup, flights - 1)
        landed, left = flight.wait(), self._left_flight
        return landed.addCallbacks(
            self._landed, left, (cache_request, lookup, flights - 1), errbackArgs=(cache_request,)
        )

    def _selected(self, cache_request: CacheRequest) -> Selected:
        """What of its key the request selects, by which it shares a fetch with others."""
        varying, scope = self._p.varying, cache_request.view.scope
        if not varying.worth and not scope:
            return ()
        return varying.selected(cache_request.key, cache_request.head.fields, scope)

    def _landed(
        self, result: Result, cache_request: CacheRequest, lookup: Lookup, flights: int
    ) -> CacheResponse | Deferred[CacheResponse]:
        """A flight came to something: share it, or look after oneself. Join another only where the leader gave up, or
        where it turned out to be another variant's."""
        reply = self._shared(cache_request, lookup, result)
        if reply is not None:
            self._p.key_state.collapsed += 1
            cache_request.close_lease()
            return reply
        cache_request.collapsed = False
        more = result is FlightResult.ABANDONED or self._anothers(cache_request, result)
        return self._from_backend(cache_request, lookup, flights if more else 0)

    def _anothers(self, cache_request: CacheRequest, result: Result) -> bool:
        """Whether it is another variant than the request selects: those who select the same may share the next."""
        entry = result.entry if isinstance(result, Shared) else result
        if not isinstance(entry, CacheEntry) or not entry.selecting:
            return False
        self._p.varying.add(entry)
        return not matches(entry, cache_request.head)

    def _left_flight(self, failure: Failure, cache_request: CacheRequest) -> Failure:
        """The client left while it waited."""
        cache_request.close_lease()
        return failure

    def _shared(self, cache_request: CacheRequest, lookup: Lookup, result: Result) -> CacheResponse | None:
        """What another request's fetch means for this one; None where it must look after itself."""
        now = self._now()
        entry = None if cache_request.outdated else lookup.entry
        if isinstance(result, UpstreamError):
            lookup = attrs.evolve(lookup, entry=entry)
            return self._p.responses.without_backend(cache_request, lookup, result, now)
        if isinstance(result, FlightResult):
            if (
                result is FlightResult.ERROR
                and entry is not None
                and may_serve_on_error(entry, cache_request.control, now)
            ):
                return self._p.responses.stand_in(cache_request, entry, now)
            return None
        if isinstance(result, Shared):
            return self._joined(cache_request, lookup, result)
        if self._choose(cache_request, (result,)).use is not _HIT:
            return None
        cache_request.collapsed = True
        return self._p.responses.stored(cache_request, result, cache_request.fetch_status, now, lookup)

    def _joined(self, cache_request: CacheRequest, lookup: Lookup, shared: Shared) -> CacheResponse | None:
        """Read along what another request fetches, if that is what this one asks for too, and all of it."""
        entry, now = shared.entry, self._now()
        if not cache_request.plain or not shared.fill.open or self._choose(cache_request, (entry,)).use is not _HIT:
            return None
        cache_request.collapsed = True
        return self._p.responses.joined(cache_request, lookup, entry, shared.fill.reader(), now)

    def _lead(self, cache_request: CacheRequest, lookup: Lookup, flight: Flight | None) -> Deferred[CacheResponse]:
        if cache_request.outdated:  # while it waited; what is fetched from now on may be stored
            cache_request.take_lease(self._p.key_state)
            cache_request.known = ()
            lookup = self._choose(cache_request, ())
        cache_request.flight = flight
        return self._p.fetcher.fetch(cache_request, lookup, flight)

    def after_stale_wait(self, call: Callable[[], None]) -> IDelayedCall:
        """Call ``call`` when a backend has been waited for long enough, if something stale may be used instead."""
        return self._p.clock.callLater(self._p.stale_wait, call)

    def stale_instead(self, cache_request: CacheRequest) -> CacheResponse | None:
        """What answers in place of a backend that is silent; whatever it answers later is for the cache alone."""
        entry, now = cache_request.stale, self._now()
        if entry is None or cache_request.outdated or not may_serve_on_error(entry, cache_request.control, now):
            return None
        cache_request.unattended = True
        return self._p.responses.stand_in(cache_request, entry, now)

    def _revalidate_behind(self, cache_request: CacheRequest, lookup: Lookup, entry: CacheEntry) -> None:
        """Start one validation in the background, unless the variant is being fetched already (RFC 5861 §3)."""
        p = self._p
        selected = self._selected(cache_request)
        if p.key_state.flight(cache_request.key, selected) is not None:
            return
        behind = cache_request.in_background(entry)
        behind.take_lease(p.key_state).carry(entry.tags)
        validation = attrs.evolve(lookup, use=Use.VALIDATE, forward=Forward.STALE)
        fetch = p.fetcher.fetch(behind, validation, p.key_state.begin_flight(cache_request.key, selected))
        fetch.addCallback(CacheResponse.discard)
        fetch.addErrback(lambda failure: self._log.failure("background validation failed", failure))


class PendingRequest:
    """A request that waits: for the store, then perhaps for the backend or for what another fetches from there.

    A cancellation of ``answer`` ends the waiting, and the fetch too unless others wait for the same flight. Where a
    stale response may stand in for an error of the backend, it does so after a while of waiting; the fetch goes on.
    """

    __slots__ = ("_pipeline", "_cache_request", "_timer", "_work", "answer")
    _log = Logger()

    def __init__(self, pipeline: Pipeline, cache_request: CacheRequest) -> None:
        self._pipeline = pipeline
        self._cache_request = cache_request
        self._work: Deferred[CacheResponse] | None = None
        self._timer: IDelayedCall | None = None
        self.answer: Deferred[CacheResponse] = Deferred(self._leave)

    def found(self, found: Found) -> None:
        """What the store had to say."""
        if self.answer.called:  # the client left; the others who wait for this read go on
            return
        try:
            outcome = self._pipeline.decide(found, self._cache_request)
        except Exception:  # noqa: BLE001 a bug, which must not stop the others who wait for this read
            self.answer.errback(Failure())
            return
        if isinstance(outcome, Wanted):
            self._pipeline.read_again(self, self._cache_request, outcome)
            return
        if not isinstance(outcome, Deferred):
            self.answer.callback(outcome)
            return
        if self._cache_request.stale is not None and not outcome.called:
            self._timer = self._pipeline.after_stale_wait(self._serve_stale)
        self._work = outcome
        outcome.addBoth(self._deliver)

    def _serve_stale(self) -> None:
        """The backend lets us wait: what may stand in for its error may stand in for its silence."""
        self._timer = None
        reply = self._pipeline.stale_instead(self._cache_request)
        if reply is not None:
            self.answer.callback(reply)

    def _leave(self, _: Deferred[CacheResponse]) -> None:
        self._stop_timer()
        flight = self._cache_request.flight
        if self._work is not None and (flight is None or not flight.followers):
            self._work.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _deliver(self, result: CacheResponse | Failure) -> None:
        self._work = None
        self._stop_timer()
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, CacheResponse):
            result.discard()
        elif not result.check(CancelledError):
            self._log.failure("a fetch that nobody waits for failed", result)
