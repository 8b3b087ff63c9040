"""The story of a request, in order. Nothing else knows this order, and nothing here decides by itself.

role → key → lookup(hot) → lookup(store, guarded) → single-flight → backend → storability → answer ‖ store
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.attempt import replaces_client
from caching_proxy.cache.exchange import Incoming, Question, Reply
from caching_proxy.cache.fetcher import Fetcher
from caching_proxy.cache.hot import HotTier
from caching_proxy.cache.passing import PassThrough
from caching_proxy.cache.reader import StoreReader
from caching_proxy.cache.replies import Replies
from caching_proxy.cache.single_flight import Flight, Landing, Result, SingleFlight
from caching_proxy.cache.tickets import Tickets
from caching_proxy.cache.uncacheable import Uncacheable
from caching_proxy.cache.variants import latest_of_each
from caching_proxy.core.admission import why_bypass
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.headers import is_loop
from caching_proxy.core.key import KeyPolicy, build_key, target_of
from caching_proxy.core.lookup import Lookup, Use, choose, may_serve_on_error
from caching_proxy.core.outcome import CacheStatus, Forward
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.request_control import parse_request_control
from caching_proxy.interfaces import Identity, ITokenVerifier, UpstreamError

CACHEABLE_METHODS = frozenset({b"GET", b"HEAD"})
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
    clock: IReactorTime


class Pipeline:
    """Answers requests."""

    _log = Logger()

    def __init__(self, parts: Parts) -> None:
        self._p = parts

    async def handle(self, incoming: Incoming) -> Reply:
        """The answer to ``incoming``. Fails with nothing but a cancellation."""
        p = self._p
        if is_loop(incoming.head.fields, p.policy.proxy_name):
            return p.replies.loop()
        identity = p.verifier.identify(incoming.head)
        if isinstance(identity, Deferred):
            identity = await identity
        if incoming.head.method not in CACHEABLE_METHODS:
            return await p.passing.forward(incoming, identity)
        bypass = why_bypass(incoming.head, identity.role is not None, incoming.body.length != 0, p.policy)
        if bypass is not None or identity.role is None:
            return await p.passing.bypass(incoming, identity)
        return await self._through_cache(self._question(incoming, identity, identity.role))

    def _question(self, incoming: Incoming, identity: Identity, role: bytes) -> Question:
        fields = incoming.head.fields
        key = build_key(role, target_of(incoming.head.target, self._p.keys, fields.first(b"host") or b""))
        control = parse_request_control(fields, self._p.policy.client_refresh)
        return Question(incoming, identity, key, control)

    async def _through_cache(self, question: Question) -> Reply:
        p = self._p
        now = p.clock.seconds()
        record = p.hot.get(question.key, now)
        if record is not None:
            lookup = self._choose(question, record.entries)
            if lookup.use is Use.HIT and lookup.entry is not None:
                p.hot.hits += 1
                return p.replies.stored(question, lookup.entry, CacheStatus.HOT_HIT, now)
        p.hot.misses += 1
        lookup = await self._look_in_store(question)
        if lookup.entry is not None and lookup.use in _ANSWERS:
            if lookup.use is Use.STALE_WHILE_REVALIDATE:
                self._revalidate_behind(question, lookup, lookup.entry)
            status = CacheStatus.HIT if lookup.use is Use.HIT else CacheStatus.STALE
            return p.replies.stored(question, lookup.entry, status, p.clock.seconds())
        if lookup.use is Use.UNSATISFIABLE:
            return p.replies.only_if_cached(question)
        return await self._from_backend(question, lookup)

    def _choose(self, question: Question, entries: Sequence[CacheEntry]) -> Lookup:
        return choose(question.head, question.control, entries, self._p.clock.seconds())

    async def _look_in_store(self, question: Question) -> Lookup:
        """The decision on both tiers' variants; a ticket is held afterwards if the backend has to be asked."""
        p = self._p
        ticket = question.take_ticket(p.tickets)
        try:
            found = await p.reader.read(question.key)
        except BaseException:
            question.close_ticket()
            raise
        question.trouble = found.trouble
        stored = found.entries  # without what was invalidated meanwhile
        now = p.clock.seconds()
        record = p.hot.get(question.key, now)  # anew: there may have been news while the store was read
        question.known = stored if record is None else latest_of_each(record.entries, stored)
        lookup = self._choose(question, question.known)
        if lookup.use is Use.HIT and stored and ticket.current:
            p.hot.put_all(question.key, question.known, now, inf if record is None else record.expires_at)
        if lookup.use in _ANSWERS or lookup.use is Use.UNSATISFIABLE:
            question.close_ticket()
        return lookup

    async def _from_backend(self, question: Question, lookup: Lookup) -> Reply:
        """Join the flight for this key, or lead one, or go alone where sharing cannot help."""
        p = self._p
        if not question.shareable or p.uncacheable.covers(question.key, p.clock.seconds()):
            return await self._lead(question, lookup, None)
        for _ in range(FLIGHTS):
            flight = p.flights.current(question.key)
            if flight is None:
                if not replaces_client(question, lookup):
                    break
                return await self._lead(question, lookup, p.flights.start(question.key))
            try:
                result = await flight.wait()
            except BaseException:
                question.close_ticket()
                raise
            reply = self._shared(question, lookup, result)
            if reply is not None:
                p.flights.collapsed += 1
                question.close_ticket()
                return reply
            question.collapsed = False
            if result is not Landing.ABANDONED:
                break
        return await self._lead(question, lookup, None)

    def _shared(self, question: Question, lookup: Lookup, result: Result) -> Reply | None:
        """What another request's fetch means for this one; None where it must look after itself."""
        now = self._p.clock.seconds()
        entry = None if question.outdated else lookup.entry
        if isinstance(result, UpstreamError):
            return self._p.replies.without_backend(question, attrs.evolve(lookup, entry=entry), result, now)
        if isinstance(result, Landing):
            if result is Landing.ERROR and entry is not None and may_serve_on_error(entry, question.control, now):
                return self._p.replies.stored(question, entry, CacheStatus.STALE, now)
            return None
        found = self._choose(question, (result,))
        if found.use is not Use.HIT or found.entry is None:
            return None
        question.collapsed = True
        return self._p.replies.stored(question, found.entry, question.fetch_status, now, lookup)

    async def _lead(self, question: Question, lookup: Lookup, flight: Flight | None) -> Reply:
        if question.outdated:  # while it waited; what is fetched from now on may be stored
            question.take_ticket(self._p.tickets)
            question.known = ()
            lookup = self._choose(question, ())
        fetch = Deferred.fromCoroutine(self._p.fetcher.fetch(question, lookup, flight))
        return await _unless_followed(fetch, flight)

    def _revalidate_behind(self, question: Question, lookup: Lookup, entry: CacheEntry) -> None:
        """Start one validation in the background, unless the key is being fetched already (RFC 5861 §3)."""
        p = self._p
        if p.flights.current(question.key) is not None:
            return
        behind = question.in_background(entry)
        behind.take_ticket(p.tickets)
        validation = attrs.evolve(lookup, use=Use.VALIDATE, forward=Forward.STALE)
        fetch = Deferred.fromCoroutine(p.fetcher.fetch(behind, validation, p.flights.start(question.key)))
        fetch.addCallback(Reply.discard)
        fetch.addErrback(lambda failure: self._log.failure("background validation failed", failure))


def _unless_followed(fetch: Deferred[Reply], flight: Flight | None) -> Deferred[Reply]:
    """``fetch``, which a cancellation reaches only if nobody else waits for the flight."""

    def leave(_: Deferred[Reply]) -> None:
        if flight is None or not flight.followers:
            fetch.cancel()

    answer: Deferred[Reply] = Deferred(leave)

    def deliver(result: Reply | Failure) -> None:
        if not answer.called:
            answer.callback(result)
        elif isinstance(result, Reply):
            result.discard()
        elif not result.check(CancelledError):
            Logger(namespace=__name__).failure("a fetch that nobody waits for failed", result)

    fetch.addBoth(deliver)
    return answer
