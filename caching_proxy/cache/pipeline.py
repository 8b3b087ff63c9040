"""The story of a request, in order. Nothing else knows this order, and nothing here decides by itself.

role → key → lookup(hot) → lookup(store, guarded) → single-flight → backend → storability → answer ‖ store
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
from caching_proxy.cache.flights import Flight, Landing, Result, Shared, SingleFlight
from caching_proxy.cache.hit_for_miss import Uncacheable
from caching_proxy.cache.leases import Tickets
from caching_proxy.cache.pass_through import PassThrough
from caching_proxy.cache.requests import Incoming, Question, Reply
from caching_proxy.cache.responses import Replies
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import Found, StoreReader
from caching_proxy.cache.tiers.variants import VaryNames, field_name, latest_of_each
from caching_proxy.http.values import transient
from caching_proxy.interfaces import Identity, ITokenVerifier, UpstreamError
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.key import KeyPolicy, build_key, target_of
from caching_proxy.rules.outcome import CacheStatus, Forward
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.request_traits import Terms, terms_under
from caching_proxy.rules.reuse import Lookup, Use, choose, may_serve_on_error

CACHEABLE_METHODS = frozenset({b"GET", b"HEAD"})
_HIT = Use.HIT  # finding a member costs several times what a name of the module does
_ANSWERS = frozenset({Use.HIT, Use.STALE_HIT, Use.STALE_WHILE_REVALIDATE})

FLIGHTS = 2
"""How many flights a request joins whose leaders are given up before it goes alone."""


@attrs.frozen(slots=True, kw_only=True)
class Parts:
    """The collaborators of the pipeline, made by the composition root."""

    policy: CachePolicy
    keys: KeyPolicy
    verifier: ITokenVerifier
    hot: HotTier
    reader: StoreReader
    flights: SingleFlight
    uncacheable: Uncacheable
    tickets: Tickets
    fetcher: Fetcher
    passing: PassThrough
    replies: Replies
    varying: VaryNames
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
        self._p = parts
        self._terms = terms_under(parts.policy)
        self._now: Callable[[], float] = parts.clock.seconds

    def handle(self, incoming: Incoming) -> Reply | Deferred[Reply]:
        """The answer to ``incoming``. Fails with nothing but a cancellation."""
        p = self._p
        terms = self._terms(incoming.head.fields)
        if terms.loop:
            return p.replies.loop()
        identity = p.verifier.identify(incoming.head)
        if isinstance(identity, Deferred):
            return identity.addCallback(self._identified, incoming, terms)
        return self._identified(identity, incoming, terms)

    def _identified(self, identity: Identity, incoming: Incoming, terms: Terms) -> Reply | Deferred[Reply]:
        p, head = self._p, incoming.head
        if head.method not in CACHEABLE_METHODS:
            return p.passing.forward(incoming, identity)
        # Without a role nobody knows who may share the answer; a body makes it more than its key (RFC 9110 §9.3.1).
        if (
            terms.bypass is not None
            or identity.role is None
            or incoming.body.length != 0
            or p.keys.reserves(head.target)
        ):
            return p.passing.bypass(incoming, identity)
        target = target_of(head.target, p.keys, head.fields.first(b"host") or b"")
        return self._through_cache(Question(incoming, identity, build_key(identity.role, target), terms))

    def _through_cache(self, question: Question) -> Reply | Deferred[Reply]:
        p, now = self._p, self._now()
        record = p.hot.get(question.key, now)
        wanted: tuple[bytes, ...] = ()
        if record is not None:
            lookup = self._choose(question, record.entries)
            if lookup.use is _HIT and lookup.entry is not None and lookup.entry.missing is None:
                p.hot.hits += 1
                return p.replies.stored(question, lookup.entry, CacheStatus.HOT_HIT, now)
            wanted = tuple(map(field_name, lookup.lacking))
        p.hot.misses += 1
        visit = Visit(self, question)
        if not wanted:
            wanted = p.varying.guess(question.key, question.head.fields, question.view.scope)
        found = p.reader.read(question.key, wanted, visit.found)
        if found is not None:
            visit.found(found)
        return visit.answer

    def read_again(self, visit: Visit, question: Question, wanted: Wanted) -> None:
        """Ask the store for variants on behalf of ``visit`` that were not among those guessed."""
        found = self._p.reader.read(question.key, wanted.variants, visit.found, burst=False)
        if found is not None:
            visit.found(found)

    def _choose(self, question: Question, entries: Sequence[CacheEntry]) -> Lookup:
        return choose(question.head, question.control, entries, self._now(), question.view)

    def decide(self, found: Found, question: Question) -> Reply | Deferred[Reply] | Wanted:
        """What the variants in both tiers come to, or which ones have to be read first."""
        p, now = self._p, self._now()
        question.trouble = found.trouble
        stored = found.entries  # without what was invalidated meanwhile
        record = p.hot.get(question.key, now)  # anew: there may have been news while the store was read
        known = question.known = stored if record is None else latest_of_each(record.entries, stored)
        lookup = self._choose(question, known)
        if lookup.lacking:
            if not question.reread:
                question.reread = True
                return Wanted(tuple(map(field_name, lookup.lacking)))
            lookup = self._choose(question, [entry for entry in known if entry.missing is None])  # it is gone meanwhile
        use, entry = lookup.use, lookup.entry
        if entry is not None and use in _ANSWERS:
            if use is _HIT:
                if stored and found.current:
                    ends = inf if record is None else record.expires_at
                    found.kept = p.hot.put_all(question.key, known, now, ends) or found.kept
                return p.replies.stored(question, entry, CacheStatus.HIT, now)
            if use is Use.STALE_WHILE_REVALIDATE:
                self._revalidate_behind(question, lookup, entry)
            return p.replies.stored(question, entry, CacheStatus.STALE, now)
        if use is Use.UNSATISFIABLE:
            return p.replies.only_if_cached(question)
        question.take_ticket(p.tickets).current = found.current
        if entry is not None and entry.missing is None and may_serve_on_error(entry, question.control, now):
            question.stale = entry
        if p.policy.fill_on_conditional and fills(question, lookup):
            return self._filling(question, lookup)
        return self._from_backend(question, lookup)

    def _filling(self, question: Question, lookup: Lookup) -> Reply | Deferred[Reply]:
        """Ask for all of what a client has already, store it, and answer the client by its conditions."""
        p = self._p
        if p.uncacheable.covers(question.crowd, self._now()):
            return self._from_backend(question, lookup)
        asked = ask_for_all(question)
        reply = self._from_backend(question, lookup)
        if isinstance(reply, Deferred):
            return reply.addCallback(lambda reply: as_asked(reply, asked, self._now()))
        return as_asked(reply, asked, self._now())

    def _from_backend(self, question: Question, lookup: Lookup, flights: int = FLIGHTS) -> Reply | Deferred[Reply]:
        """Join the flight for this key, or lead one, or go alone where sharing cannot help."""
        p = self._p
        if not question.shareable or not flights or p.uncacheable.covers(question.crowd, self._now()):
            return self._lead(question, lookup, None)
        flight = p.flights.current(question.key)
        if flight is None:
            mine = p.flights.start(question.key) if replaces_client(question, lookup) else None
            return self._lead(question, lookup, mine)
        if flight.shared is not None:
            return self._landed(flight.shared, question, lookup, 0)
        landed, left = flight.wait(), self._left_flight
        return landed.addCallbacks(self._landed, left, (question, lookup, flights - 1), errbackArgs=(question,))

    def _landed(self, result: Result, question: Question, lookup: Lookup, flights: int) -> Reply | Deferred[Reply]:
        """A flight came to something: share it, or look after oneself; join another only where the leader gave up."""
        reply = self._shared(question, lookup, result)
        if reply is not None:
            self._p.flights.collapsed += 1
            question.close_ticket()
            return reply
        question.collapsed = False
        return self._from_backend(question, lookup, flights if result is Landing.ABANDONED else 0)

    def _left_flight(self, failure: Failure, question: Question) -> Failure:
        """The client left while it waited."""
        question.close_ticket()
        return failure

    def _shared(self, question: Question, lookup: Lookup, result: Result) -> Reply | None:
        """What another request's fetch means for this one; None where it must look after itself."""
        now = self._now()
        entry = None if question.outdated else lookup.entry
        if isinstance(result, UpstreamError):
            lookup = attrs.evolve(lookup, entry=entry)
            return self._p.replies.without_backend(question, lookup, result, now)
        if isinstance(result, Landing):
            if result is Landing.ERROR and entry is not None and may_serve_on_error(entry, question.control, now):
                return self._p.replies.stored(question, entry, CacheStatus.STALE, now)
            return None
        if isinstance(result, Shared):
            return self._joined(question, lookup, result)
        if self._choose(question, (result,)).use is not _HIT:
            return None
        question.collapsed = True
        return self._p.replies.stored(question, result, question.fetch_status, now, lookup)

    def _joined(self, question: Question, lookup: Lookup, shared: Shared) -> Reply | None:
        """Read along what another request fetches, if that is what this one asks for too, and all of it."""
        entry, now = shared.entry, self._now()
        if not question.plain or not shared.fill.open or self._choose(question, (entry,)).use is not _HIT:
            return None
        question.collapsed = True
        return self._p.replies.joined(question, lookup, entry, shared.fill.reader(), now)

    def _lead(self, question: Question, lookup: Lookup, flight: Flight | None) -> Deferred[Reply]:
        if question.outdated:  # while it waited; what is fetched from now on may be stored
            question.take_ticket(self._p.tickets)
            question.known = ()
            lookup = self._choose(question, ())
        question.flight = flight
        return self._p.fetcher.fetch(question, lookup, flight)

    def after_stale_wait(self, call: Callable[[], None]) -> IDelayedCall:
        """Call ``call`` when a backend has been waited for long enough, if something stale may be used instead."""
        return self._p.clock.callLater(self._p.stale_wait, call)

    def stale_instead(self, question: Question) -> Reply | None:
        """What answers in place of a backend that is silent; whatever it answers later is for the cache alone."""
        entry, now = question.stale, self._now()
        if entry is None or question.outdated or not may_serve_on_error(entry, question.control, now):
            return None
        question.unattended = True
        return self._p.replies.stored(question, entry, CacheStatus.STALE, now)

    def _revalidate_behind(self, question: Question, lookup: Lookup, entry: CacheEntry) -> None:
        """Start one validation in the background, unless the key is being fetched already (RFC 5861 §3)."""
        p = self._p
        if p.flights.current(question.key) is not None:
            return
        behind = question.in_background(entry)
        behind.take_ticket(p.tickets)
        validation = attrs.evolve(lookup, use=Use.VALIDATE, forward=Forward.STALE)
        fetch = p.fetcher.fetch(behind, validation, p.flights.start(question.key))
        fetch.addCallback(Reply.discard)
        fetch.addErrback(lambda failure: self._log.failure("background validation failed", failure))


class Visit:
    """A request that waits: for the store, then perhaps for the backend or for what another fetches from there.

    A cancellation of ``answer`` ends the waiting, and the fetch too unless others wait for the same flight. Where a
    stale response may stand in for an error of the backend, it does so after a while of waiting; the fetch goes on.
    """

    __slots__ = ("_pipeline", "_question", "_timer", "_work", "answer")
    _log = Logger()

    def __init__(self, pipeline: Pipeline, question: Question) -> None:
        self._pipeline = pipeline
        self._question = question
        self._work: Deferred[Reply] | None = None
        self._timer: IDelayedCall | None = None
        self.answer: Deferred[Reply] = Deferred(self._leave)

    def found(self, found: Found) -> None:
        """What the store had to say."""
        if self.answer.called:  # the client left; the others who wait for this read go on
            return
        try:
            outcome = self._pipeline.decide(found, self._question)
        except Exception:  # noqa: BLE001 a bug, which must not stop the others who wait for this read
            self.answer.errback(Failure())
            return
        if isinstance(outcome, Wanted):
            self._pipeline.read_again(self, self._question, outcome)
            return
        if not isinstance(outcome, Deferred):
            self.answer.callback(outcome)
            return
        if self._question.stale is not None and not outcome.called:
            self._timer = self._pipeline.after_stale_wait(self._serve_stale)
        self._work = outcome
        outcome.addBoth(self._deliver)

    def _serve_stale(self) -> None:
        """The backend lets us wait: what may stand in for its error may stand in for its silence."""
        self._timer = None
        reply = self._pipeline.stale_instead(self._question)
        if reply is not None:
            self.answer.callback(reply)

    def _leave(self, _: Deferred[Reply]) -> None:
        self._stop_timer()
        flight = self._question.flight
        if self._work is not None and (flight is None or not flight.followers):
            self._work.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _deliver(self, result: Reply | Failure) -> None:
        self._work = None
        self._stop_timer()
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, Reply):
            result.discard()
        elif not result.check(CancelledError):
            self._log.failure("a fetch that nobody waits for failed", result)
