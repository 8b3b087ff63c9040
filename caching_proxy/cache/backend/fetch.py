"""Asking the backend for a key, and what becomes of its answer: store, freshen, serve stale, or merely relay."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.backend.partial import Completion, joined
from caching_proxy.cache.backend.request import BackendRequest, Purpose
from caching_proxy.cache.backend.revalidation import Revalidation, outlines_named
from caching_proxy.cache.backend.tee import Fills
from caching_proxy.cache.flights import Flight, FlightResult
from caching_proxy.cache.hit_for_miss import HitForMiss
from caching_proxy.cache.key_state import Lease
from caching_proxy.cache.requests import CacheRequest, CacheResponse
from caching_proxy.cache.responses import Responses
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.variants import VaryNames, field_name
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamResponse
from caching_proxy.rules.endless import is_endless
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.references import origin_of, redirects_to_own_key
from caching_proxy.rules.reuse import Lookup, may_serve_on_error
from caching_proxy.rules.storability import judge
from caching_proxy.rules.storability_checks import NEVER_STORED
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.rules.validation import client_named

_ERRORS = frozenset((500, 502, 503, 504))
_NO_NEWS = _ERRORS | NEVER_STORED | {304, 412, 416}
_ABOUT_CLIENT = frozenset((Refusal.AUTHORIZATION, Refusal.COOKIE, Refusal.REQUEST_NO_STORE, Refusal.REQUEST_BODY))


class Fetcher:
    """Leads fetches. A flight it is handed lands exactly once, whatever happens."""

    def __init__(
        self,
        max_body: int,
        terms: TermsByTarget,
        route: BackendRoute,
        writer: Writer,
        hit_for_miss: HitForMiss,
        responses: Responses,
        fills: Fills,
        clock: IReactorTime,
        reader: StoreReader,
        varying: VaryNames,
    ) -> None:
        self._max_body = max_body
        self._fills = fills
        self._reader = reader
        self._varying = varying
        self._terms = terms
        self._route = route
        self._writer = writer
        self._hit_for_miss = hit_for_miss
        self._responses = responses
        self._revalidation = Revalidation(writer, hit_for_miss, responses, clock)
        self._completion = Completion(max_body, clock)
        self._now: Callable[[], float] = clock.seconds
        self.on_given_up: Callable[[CacheRequest, int, Refusal], None] | None = None
        """Hears of a body that was being collected and is not stored after all: request, status, and why."""

    def fetch(self, cache_request: CacheRequest, lookup: Lookup, flight: Flight | None) -> Deferred[CacheResponse]:
        """The reply to ``cache_request``, whose lease ends here. Fails only if cancelled."""
        try:
            backend_request = BackendRequest.first(cache_request, lookup, flight, self._max_body, self._now())
            asking = self._route.fetch(cache_request.client_request, backend_request.asked)
        except Exception:  # noqa: BLE001 a bug, which must not leave others waiting; whoever asked is told
            if flight is not None:
                flight.land(FlightResult.ABANDONED)
            cache_request.close_lease()
            return fail()
        return asking.addCallback(self._responded, backend_request).addErrback(self._failed, backend_request)

    # -- for whoever has asked the backend already ------------------------------------------------

    def answered(self, response: UpstreamResponse, backend_request: BackendRequest) -> CacheResponse:
        """The reply to a miss, from what the backend answered to it as the client put it.

        Raises:
            Exception: after a bug; nobody is left waiting.
        """
        try:
            return self._sensible(response, backend_request)
        except Exception:  # noqa: BLE001 an answer that makes no sense, or a bug
            return self.unanswered(Failure(), backend_request)

    def unanswered(self, failure: Failure, backend_request: BackendRequest) -> CacheResponse:
        """The reply where the backend gave no answer, or one that makes no sense; raises what is no such failure."""
        reply = self._failed(failure, backend_request)
        if isinstance(reply, Failure):
            reply.raiseException()
        return reply

    def fill(self, entry: CacheEntry, lease: Lease, flight: Flight | None) -> None:
        """Store ``entry``, which came whole, carries no tags, need not be confirmed before use and replaces nothing;
        whoever waits for it is given it."""
        self._writer.keep((entry,), lease)
        if self._hit_for_miss.until or entry.lifetime <= entry.initial_age:
            self._revalidation.note(entry.key, entry)
        if flight is not None:
            flight.land(entry)

    # -- what it means ---------------------------------------------------------------------------

    def _responded(self, response: UpstreamResponse, backend_request: BackendRequest) -> Deferred[CacheResponse]:
        if backend_request.purpose is Purpose.FETCH:
            return self._sensible(response, backend_request)  # type: ignore[return-value]  # a Deferred takes either
        return Deferred.fromCoroutine(self._about_stored(response, backend_request))

    async def _about_stored(self, response: UpstreamResponse, backend_request: BackendRequest) -> CacheResponse:
        """The answer to our own question about what is stored; where it is of no use, the client's request is sent."""
        cache_request, status = backend_request.cache_request, response.head.status
        useless = False
        if backend_request.purpose is Purpose.REVALIDATE and status == 304:
            backend_request = await self._with_bodies(backend_request, response)
            reply = self._revalidation.revalidated(backend_request, response.head)
            if reply is not None:
                response.body.cancel()
                return reply
            useless = not client_named(cache_request.head, response.head)  # RFC 9111 §4.3.3
        elif backend_request.purpose is Purpose.COMPLETE and status in (206, 416):
            whole = await self._completion.completed(backend_request, response)
            if whole is not None:
                return self._completed(backend_request, whole)
            useless = True
        if useless:
            response.body.cancel()
            backend_request = backend_request.again(self._now())
            response = await self._route.fetch(cache_request.client_request, backend_request.asked)
        return self._sensible(response, backend_request)

    async def _with_bodies(self, backend_request: BackendRequest, response: UpstreamResponse) -> BackendRequest:
        """``backend_request`` with what a 304 names read from the store, or left out where it is gone."""
        lacking = tuple(map(field_name, outlines_named(backend_request, response.head)))
        if not lacking:
            return backend_request
        found = await self._reader.load(backend_request.cache_request.key, lacking)
        read = {field_name(entry): entry for entry in found.entries if entry.missing is None}

        def whole(entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
            named = (read.get(field_name(entry)) if field_name(entry) in lacking else entry for entry in entries)
            return tuple([entry for entry in named if entry is not None])

        lookup = backend_request.lookup
        lookup = attrs.evolve(lookup, candidates=whole(lookup.candidates), others=whole(lookup.others))
        return attrs.evolve(backend_request, lookup=lookup)

    def _failed(self, failure: Failure, backend_request: BackendRequest) -> CacheResponse:
        cache_request, lookup, error = backend_request.cache_request, backend_request.lookup, failure.value
        if not isinstance(error, UpstreamError):  # cancelled, or a bug
            backend_request.land(FlightResult.ABANDONED)
            cache_request.close_lease()
            return failure  # type: ignore[return-value]  # raised anew it would hold the frame that raised it
        backend_request.land(error)
        if cache_request.outdated:
            lookup = attrs.evolve(lookup, entry=None)
        cache_request.close_lease()
        return self._responses.without_backend(cache_request, lookup, error, self._now())

    def _completed(self, backend_request: BackendRequest, whole: CacheEntry) -> CacheResponse:
        """The backend sent what was missing of a stored part."""
        cache_request = backend_request.cache_request
        self._keep(backend_request, whole)
        return self._responses.stored(
            cache_request, whole, cache_request.fetch_status, self._now(), backend_request.lookup, 206
        )

    def _sensible(self, response: UpstreamResponse, backend_request: BackendRequest) -> CacheResponse:
        status = response.head.status
        if status == 304 and not backend_request.conditional:  # RFC 9110 §15.4.5: an answer to another request
            response.body.cancel()
            raise UpstreamProtocolError("304 to a request without conditions")
        cache_request, entry, now = backend_request.cache_request, backend_request.lookup.entry, self._now()
        if entry is not None:
            failing = status in _ERRORS and not cache_request.outdated
            if failing and may_serve_on_error(entry, cache_request.control, now):
                return self._instead_of_error(backend_request, entry, response)
            if cache_request.head.method == b"HEAD":
                self._revalidation.learn(backend_request, entry, response.head)
        return self._judged(backend_request, response, now)

    def _judged(self, backend_request: BackendRequest, response: UpstreamResponse, now: float) -> CacheResponse:
        """Relay the answer, and store it if it may be."""
        cache_request, head, limit = backend_request.cache_request, response.head, self._max_body
        policy = cache_request.terms.policy
        asked = backend_request.judged(head.status)
        verdict = judge(
            asked,
            head,
            policy=policy,
            established=cache_request.identity.established,
            has_body=False,
            requested_at=backend_request.asked_at,
            received_at=now,
        )
        refusal = verdict.refusal
        if refusal is None and response.length is not None and response.length > limit:
            refusal = Refusal.TOO_LARGE
        if refusal is None and 300 <= head.status < 400 and self._redirects(cache_request, asked, head):
            refusal = Refusal.STATUS
        if refusal is not None:
            return self._refused(backend_request, response, refusal)
        body: bytes | None = None
        if response.body.complete:
            body = response.body.take()
            if len(body) > limit:
                return self._refused(backend_request, attrs.evolve(response, body=Body.of(body)), Refusal.TOO_LARGE)
        key, scope, worth = cache_request.key, cache_request.view.scope, self._varying.worth
        made = make_entry(key, asked, head, body or b"", verdict, policy, now, scope, worth)
        if made.tags and cache_request.spoilt(made.tags):  # who came since must not be given it
            backend_request.land(FlightResult.ABANDONED)
        if body is None:
            return self._collected(backend_request, response, made, now)
        self._store(backend_request, made)
        if verdict.drop:
            return self._responses.fetched(cache_request, backend_request.lookup, response, body, made, now)
        return self._responses.fast_fetched(cache_request, backend_request.lookup, response, made, now)

    def _collected(
        self, backend_request: BackendRequest, response: UpstreamResponse, made: CacheEntry, now: float
    ) -> CacheResponse:
        """Relay a body that is still arriving, and collect it; others may read along if it is for others too."""
        begun = self._fills.begin(response.body, lambda body: self._filled(backend_request, made, body))
        if begun is None:
            return self._refused(backend_request, response, Refusal.MEMORY)
        fill, body = begun
        cache_request = backend_request.cache_request
        fill.unattended = cache_request.unattended
        if backend_request.flight is not None and not backend_request.flight.landed:
            if fill.open and made.part is None and made.sharable(now) and not is_endless(response.head.fields):
                backend_request.flight.share(made, fill)
            else:
                self._hit_for_miss.add(cache_request.crowd, now)
                backend_request.land(FlightResult.UNSHAREABLE)
        return self._responses.fetched(cache_request, backend_request.lookup, response, body, made, now)

    def _filled(self, backend_request: BackendRequest, begun: CacheEntry, body: bytes | Refusal) -> None:
        """The body of what was ``begun`` is complete and can be stored, or it turned out why it cannot."""
        if isinstance(body, Refusal):
            self._not_stored(backend_request, body)
            if self.on_given_up is not None:
                self.on_given_up(backend_request.cache_request, begun.status, body)
        else:
            self._store(backend_request, begun.with_body(body))

    def _store(self, backend_request: BackendRequest, made: CacheEntry) -> None:
        self._keep(
            backend_request,
            made if made.part is None else joined(made, backend_request.cache_request.known, self._max_body),
        )

    def _redirects(self, cache_request: CacheRequest, asked: RequestHead, head: ResponseHead) -> bool:
        """Whether the answer leads a client back to its own key, which would never end if it were stored."""
        return redirects_to_own_key(asked, head, self._origins(cache_request), self._in_key)

    def _in_key(self, target: bytes) -> bytes:
        return self._terms(target).target(target)

    def _origins(self, cache_request: CacheRequest) -> tuple[bytes, bytes]:
        """This origin by our name and by the backend's."""
        client_request = cache_request.client_request
        return origin_of(client_request.scheme, client_request.head.fields.first(b"host") or b""), self._route.origin

    def _instead_of_error(
        self, backend_request: BackendRequest, entry: CacheEntry, response: UpstreamResponse
    ) -> CacheResponse:
        """The stored response stands in for an error (RFC 5861 §4)."""
        cache_request = backend_request.cache_request
        response.body.cancel()
        cache_request.close_lease()
        backend_request.land(FlightResult.ERROR)
        status = response.head.status
        return self._responses.stand_in(cache_request, entry, self._now(), backend_request.lookup, status)

    def _keep(self, backend_request: BackendRequest, entry: CacheEntry) -> None:
        """Store ``entry`` in place of what it replaces, though that may have been another variant (§4.3.3)."""
        cache_request, lookup = backend_request.cache_request, backend_request.lookup
        if entry.tags and cache_request.spoilt(entry.tags):
            backend_request.land(FlightResult.ABANDONED)
        gone: list[CacheEntry] = []
        if entry.part is None and (lookup.entry is not None or lookup.part is not None):
            old = (lookup.entry, lookup.part)
            gone = [each for each in old if each is not None and field_name(each) != field_name(entry)]
        self._writer.keep([entry], cache_request.give_lease(), cache_request.known, gone)
        self._revalidation.note(cache_request.crowd, entry)
        if backend_request.flight is not None:
            backend_request.flight.land(entry)

    def _not_stored(self, backend_request: BackendRequest, reason: Refusal) -> None:
        """What looked storable ended too early or went on for too long."""
        cache_request = backend_request.cache_request
        if reason is Refusal.TOO_LARGE:
            self._hit_for_miss.add(cache_request.crowd, self._now(), reason)
        if reason is not Refusal.INCOMPLETE:
            self._outdate(backend_request)
        cache_request.close_lease()
        backend_request.land(FlightResult.ABANDONED if reason is Refusal.INCOMPLETE else FlightResult.UNSHAREABLE)

    def _refused(self, backend_request: BackendRequest, response: UpstreamResponse, refusal: Refusal) -> CacheResponse:
        """Relay an answer that is not stored; what it replaces is dropped (RFC 9111 §4.3.3)."""
        cache_request, status = backend_request.cache_request, response.head.status
        about_client = refusal is Refusal.MEMORY or status in NEVER_STORED
        if backend_request.concerns_all and status < 500 and not about_client:
            self._hit_for_miss.add(cache_request.crowd, self._now(), refusal)
        part_only = (
            status == 206 and backend_request.lookup.entry is not None and backend_request.lookup.entry.part is None
        )
        if status not in _NO_NEWS and not part_only and refusal not in _ABOUT_CLIENT:
            self._outdate(backend_request)
        cache_request.close_lease()
        backend_request.land(FlightResult.UNSHAREABLE)
        return self._responses.fetched(
            cache_request, backend_request.lookup, response, response.body, None, self._now(), refusal
        )

    def _outdate(self, backend_request: BackendRequest) -> None:
        """The backend has something else now: drop what was validated or to be reloaded."""
        cache_request, entry = backend_request.cache_request, backend_request.lookup.entry
        if cache_request.head.method == b"GET" and entry is not None and not cache_request.outdated:
            self._writer.discard(entry)
