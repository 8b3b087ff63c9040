"""Asking the backend for a key, and what becomes of its answer: store, freshen, serve stale, or merely relay."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from caching_proxy.cache.backend.forward import Route
from caching_proxy.cache.backend.partial import Completion, joined
from caching_proxy.cache.backend.request import Attempt, Purpose
from caching_proxy.cache.backend.revalidation import Confirmation, outlines_named
from caching_proxy.cache.backend.tee import Fills
from caching_proxy.cache.flights import Flight, Landing
from caching_proxy.cache.hit_for_miss import Uncacheable
from caching_proxy.cache.requests import Question, Reply
from caching_proxy.cache.responses import Replies
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.variants import VaryNames, field_name
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.http.body import Body
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamResponse
from caching_proxy.rules.endless import is_endless
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.outcome import CacheStatus, Refusal
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.references import origin_of, redirects_to_own_key
from caching_proxy.rules.reuse import Lookup, may_serve_on_error
from caching_proxy.rules.storability import judge
from caching_proxy.rules.storability_checks import NEVER_STORED
from caching_proxy.rules.validation import client_named

_ERRORS = frozenset((500, 502, 503, 504))
_NO_NEWS = _ERRORS | NEVER_STORED | {304, 412, 416}
_ABOUT_CLIENT = frozenset((Refusal.AUTHORIZATION, Refusal.COOKIE, Refusal.REQUEST_NO_STORE, Refusal.REQUEST_BODY))


class Fetcher:
    """Leads fetches. A flight it is handed lands exactly once, whatever happens."""

    def __init__(
        self,
        policy: CachePolicy,
        keys: KeyPolicy,
        route: Route,
        writer: Writer,
        uncacheable: Uncacheable,
        replies: Replies,
        fills: Fills,
        clock: IReactorTime,
        reader: StoreReader,
        varying: VaryNames,
    ) -> None:
        self._policy = policy
        self._fills = fills
        self._reader = reader
        self._varying = varying
        self._keys = keys
        self._route = route
        self._writer = writer
        self._uncacheable = uncacheable
        self._replies = replies
        self._confirmation = Confirmation(policy, writer, uncacheable, replies, clock)
        self._completion = Completion(policy, clock)
        self._now: Callable[[], float] = clock.seconds

    def fetch(self, question: Question, lookup: Lookup, flight: Flight | None) -> Deferred[Reply]:
        """The reply to ``question``, whose ticket ends here. Fails only if cancelled."""
        try:
            attempt = Attempt.first(question, lookup, flight, self._policy.max_body, self._now())
            asking = self._route.fetch(question.incoming, attempt.asked)
        except Exception:  # noqa: BLE001 a bug, which must not leave others waiting; whoever asked is told
            if flight is not None:
                flight.land(Landing.ABANDONED)
            question.close_ticket()
            return fail()
        return asking.addCallback(self._responded, attempt).addErrback(self._failed, attempt)

    def _responded(self, response: UpstreamResponse, attempt: Attempt) -> Deferred[Reply]:
        if attempt.purpose is Purpose.FETCH:
            return self._sensible(response, attempt)  # type: ignore[return-value]  # a Deferred takes either
        return Deferred.fromCoroutine(self._about_stored(response, attempt))

    async def _about_stored(self, response: UpstreamResponse, attempt: Attempt) -> Reply:
        """The answer to a question of ours about what is stored; where it is of no use the client's own is asked."""
        question, status = attempt.question, response.head.status
        useless = False
        if attempt.purpose is Purpose.CONFIRM and status == 304:
            attempt = await self._with_bodies(attempt, response)
            reply = self._confirmation.confirmed(attempt, response.head)
            if reply is not None:
                response.body.cancel()
                return reply
            useless = not client_named(question.head, response.head)  # RFC 9111 §4.3.3
        elif attempt.purpose is Purpose.COMPLETE and status in (206, 416):
            whole = await self._completion.completed(attempt, response)
            if whole is not None:
                return self._completed(attempt, whole)
            useless = True
        if useless:
            response.body.cancel()
            attempt = attempt.again(self._now())
            response = await self._route.fetch(question.incoming, attempt.asked)
        return self._sensible(response, attempt)

    async def _with_bodies(self, attempt: Attempt, response: UpstreamResponse) -> Attempt:
        """``attempt`` with what a 304 names read from the store, or left out where it is gone."""
        lacking = tuple(map(field_name, outlines_named(attempt, response.head)))
        if not lacking:
            return attempt
        found = await self._reader.load(attempt.question.key, lacking)
        read = {field_name(entry): entry for entry in found.entries if entry.missing is None}

        def whole(entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
            named = (read.get(field_name(entry)) if field_name(entry) in lacking else entry for entry in entries)
            return tuple([entry for entry in named if entry is not None])

        lookup = attempt.lookup
        lookup = attrs.evolve(lookup, candidates=whole(lookup.candidates), others=whole(lookup.others))
        return attrs.evolve(attempt, lookup=lookup)

    def _failed(self, failure: Failure, attempt: Attempt) -> Reply:
        question, lookup, error = attempt.question, attempt.lookup, failure.value
        if not isinstance(error, UpstreamError):  # cancelled, or a bug
            attempt.land(Landing.ABANDONED)
            question.close_ticket()
            return failure  # type: ignore[return-value]  # raised anew it would hold the frame that raised it
        attempt.land(error)
        if question.outdated:
            lookup = attrs.evolve(lookup, entry=None)
        question.close_ticket()
        return self._replies.without_backend(question, lookup, error, self._now())

    def _completed(self, attempt: Attempt, whole: CacheEntry) -> Reply:
        """The backend sent what was missing of a stored part."""
        question = attempt.question
        self._keep(attempt, whole)
        return self._replies.stored(question, whole, question.fetch_status, self._now(), attempt.lookup, 206)

    def _sensible(self, response: UpstreamResponse, attempt: Attempt) -> Reply:
        status = response.head.status
        if status == 304 and not attempt.conditional:  # RFC 9110 §15.4.5: an answer to another question
            response.body.cancel()
            raise UpstreamProtocolError("304 to a request without conditions")
        question, entry, now = attempt.question, attempt.lookup.entry, self._now()
        if entry is not None:
            failing = status in _ERRORS and not question.outdated
            if failing and may_serve_on_error(entry, question.control, now):
                return self._instead_of_error(attempt, entry, response)
            if question.head.method == b"HEAD":
                self._confirmation.learn(attempt, entry, response.head)
        return self._judged(attempt, response, now)

    def _judged(self, attempt: Attempt, response: UpstreamResponse, now: float) -> Reply:
        """Relay the answer, and store it if it may be."""
        question, head, limit = attempt.question, response.head, self._policy.max_body
        asked = attempt.judged(head.status)
        verdict = judge(
            asked,
            head,
            policy=self._policy,
            established=question.identity.established,
            has_body=False,
            requested_at=attempt.asked_at,
            received_at=now,
        )
        refusal = verdict.refusal
        if refusal is None and response.length is not None and response.length > limit:
            refusal = Refusal.TOO_LARGE
        if refusal is None and 300 <= head.status < 400:
            origins = self._origins(question)
            refusal = Refusal.STATUS if redirects_to_own_key(asked, head, origins, self._keys) else None
        if refusal is not None:
            return self._refused(attempt, response, refusal)
        made = make_entry(
            question.key, asked, head, b"", verdict, self._policy, now, question.view.scope, self._varying.worth
        )
        if not response.body.complete:
            return self._collected(attempt, response, made, now)
        made.body = response.body.take()
        if len(made.body) > limit:
            return self._refused(attempt, attrs.evolve(response, body=Body.of(made.body)), Refusal.TOO_LARGE)
        self._filled(attempt, made, made.body)
        if verdict.drop:
            return self._replies.fetched(question, attempt.lookup, response, made.body, made, now)
        return self._replies.fetched_whole(question, attempt.lookup, response, made, now)

    def _collected(self, attempt: Attempt, response: UpstreamResponse, made: CacheEntry, now: float) -> Reply:
        """Relay a body that is still arriving, and collect it; others may read along if it is for others too."""
        begun = self._fills.begin(response.body, lambda body: self._filled(attempt, made, body))
        if begun is None:
            return self._refused(attempt, response, Refusal.MEMORY)
        fill, body = begun
        question = attempt.question
        fill.unattended = question.unattended
        if attempt.flight is not None and not attempt.flight.landed:
            if fill.open and made.part is None and made.sharable(now) and not is_endless(response.head.fields):
                attempt.flight.share(made, fill)
            else:
                self._uncacheable.add(question.crowd, now)
                attempt.land(Landing.UNSHAREABLE)
        return self._replies.fetched(question, attempt.lookup, response, body, made, now)

    def _filled(self, attempt: Attempt, made: CacheEntry, body: bytes | Refusal) -> None:
        """The body is complete and can be stored with ``made``, or it turned out why it cannot."""
        if isinstance(body, Refusal):
            self._not_stored(attempt, body)
            return
        made.body = body
        self._keep(attempt, made if made.part is None else joined(made, attempt.question.known, self._policy.max_body))

    def _origins(self, question: Question) -> tuple[bytes, bytes]:
        """This origin by our name and by the backend's."""
        incoming = question.incoming
        return origin_of(incoming.scheme, incoming.head.fields.first(b"host") or b""), self._route.origin

    def _instead_of_error(self, attempt: Attempt, entry: CacheEntry, response: UpstreamResponse) -> Reply:
        """The stored response stands in for an error (RFC 5861 §4)."""
        question = attempt.question
        response.body.cancel()
        question.close_ticket()
        attempt.land(Landing.ERROR)
        status = response.head.status
        return self._replies.stored(question, entry, CacheStatus.STALE, self._now(), attempt.lookup, status)

    def _keep(self, attempt: Attempt, entry: CacheEntry) -> None:
        """Store ``entry`` in place of what it replaces, though that may have been another variant (§4.3.3)."""
        question, lookup = attempt.question, attempt.lookup
        gone: list[CacheEntry] = []
        if entry.part is None and (lookup.entry is not None or lookup.part is not None):
            old = (lookup.entry, lookup.part)
            gone = [each for each in old if each is not None and field_name(each) != field_name(entry)]
        self._writer.keep([entry], question.give_ticket(), question.known, gone)
        self._confirmation.note(question.crowd, entry)
        attempt.land(entry)

    def _not_stored(self, attempt: Attempt, reason: Refusal) -> None:
        """What looked storable ended too early or went on for too long."""
        question = attempt.question
        if reason is Refusal.TOO_LARGE:
            self._uncacheable.add(question.crowd, self._now())
        if reason is not Refusal.INCOMPLETE:
            self._outdate(attempt)
        question.close_ticket()
        attempt.land(Landing.ABANDONED if reason is Refusal.INCOMPLETE else Landing.UNSHAREABLE)

    def _refused(self, attempt: Attempt, response: UpstreamResponse, refusal: Refusal) -> Reply:
        """Relay an answer that is not stored; what it replaces is dropped (RFC 9111 §4.3.3)."""
        question, status = attempt.question, response.head.status
        about_client = refusal is Refusal.MEMORY or status in NEVER_STORED
        if attempt.concerns_all and status < 500 and not about_client:
            self._uncacheable.add(question.crowd, self._now())
        part_only = status == 206 and attempt.lookup.entry is not None and attempt.lookup.entry.part is None
        if status not in _NO_NEWS and not part_only and refusal not in _ABOUT_CLIENT:
            self._outdate(attempt)
        question.close_ticket()
        attempt.land(Landing.UNSHAREABLE)
        return self._replies.fetched(question, attempt.lookup, response, response.body, None, self._now(), refusal)

    def _outdate(self, attempt: Attempt) -> None:
        """The backend has something else now: drop what was validated or to be reloaded."""
        question, entry = attempt.question, attempt.lookup.entry
        if question.head.method == b"GET" and entry is not None and not question.outdated:
            self._writer.discard(entry)
