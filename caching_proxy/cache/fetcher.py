"""Asking the backend for a key, and what becomes of its answer: store, freshen, serve stale, or merely relay."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from caching_proxy.body import Body
from caching_proxy.cache.attempt import Attempt, Purpose
from caching_proxy.cache.confirm import Confirmation
from caching_proxy.cache.exchange import Question, Reply
from caching_proxy.cache.fill import Fill
from caching_proxy.cache.parts import Completion, joined
from caching_proxy.cache.replies import Replies
from caching_proxy.cache.route import Route
from caching_proxy.cache.single_flight import Flight, Landing
from caching_proxy.cache.uncacheable import Uncacheable
from caching_proxy.cache.variants import field_name
from caching_proxy.cache.writer import Writer
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.key import KeyPolicy
from caching_proxy.core.lookup import Lookup, may_serve_on_error
from caching_proxy.core.outcome import CacheStatus, Refusal
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.references import origin_of, redirects_to_own_key
from caching_proxy.core.storability import judge
from caching_proxy.core.stored import make_entry
from caching_proxy.core.validation import client_named
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamResponse

_ERRORS = frozenset((500, 502, 503, 504))
_NO_NEWS = _ERRORS | {304, 412, 416}
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
        clock: IReactorTime,
    ) -> None:
        self._policy = policy
        self._keys = keys
        self._route = route
        self._writer = writer
        self._uncacheable = uncacheable
        self._replies = replies
        self._confirmation = Confirmation(policy, writer, uncacheable, replies, clock)
        self._completion = Completion(policy, clock)
        self._now: Callable[[], float] = clock.seconds

    async def fetch(self, question: Question, lookup: Lookup, flight: Flight | None) -> Reply:
        """The reply to ``question``, whose ticket ends here. Fails only if cancelled."""
        try:
            return await self._ask(question, lookup, flight)
        except UpstreamError as error:
            if flight is not None:
                flight.land(error)
            if question.outdated:
                lookup = attrs.evolve(lookup, entry=None)
            question.close_ticket()
            return self._replies.without_backend(question, lookup, error, self._now())
        except BaseException:
            if flight is not None:
                flight.land(Landing.ABANDONED)
            question.close_ticket()
            raise

    async def _ask(self, question: Question, lookup: Lookup, flight: Flight | None) -> Reply:
        attempt = Attempt.first(question, lookup, flight, self._policy.max_body, self._now())
        response = await self._route.fetch(question.incoming, attempt.asked)
        status = response.head.status
        useless = False
        if attempt.purpose is Purpose.CONFIRM and status == 304:
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
        if response.head.status == 304 and not attempt.conditional:  # RFC 9110 §15.4.5: an answer to another question
            response.body.cancel()
            raise UpstreamProtocolError("304 to a request without conditions")
        return self._answered(attempt, response)

    def _completed(self, attempt: Attempt, whole: CacheEntry) -> Reply:
        """The backend sent what was missing of a stored part."""
        question = attempt.question
        self._keep(attempt, whole)
        return self._replies.stored(question, whole, question.fetch_status, self._now(), attempt.lookup, 206)

    def _answered(self, attempt: Attempt, response: UpstreamResponse) -> Reply:
        question, entry, now = attempt.question, attempt.lookup.entry, self._now()
        failing = response.head.status in _ERRORS and not question.outdated
        if failing and entry is not None and may_serve_on_error(entry, question.control, now):
            return self._instead_of_error(attempt, entry, response)
        if question.head.method == b"HEAD" and entry is not None:
            self._confirmation.learn(attempt, entry, response.head)
        asked = attempt.judged(response.head.status)
        verdict = judge(
            asked,
            response.head,
            policy=self._policy,
            established=question.identity.established,
            has_body=False,
            requested_at=attempt.asked_at,
            received_at=now,
        )
        refusal = verdict.refusal
        if refusal is None and response.length is not None and response.length > self._policy.max_body:
            refusal = Refusal.TOO_LARGE
        if refusal is None and redirects_to_own_key(asked, response.head, self._origins(question), self._keys):
            refusal = Refusal.STATUS
        if refusal is not None:
            return self._refused(attempt, response, refusal)
        made = make_entry(question.key, asked, response.head, b"", verdict, self._policy, now)
        return self._stored(attempt, response, made)

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

    def _stored(self, attempt: Attempt, response: UpstreamResponse, made: CacheEntry) -> Reply:
        """Relay an answer and store it when it is complete."""

        def done(body: bytes | Refusal) -> None:
            if isinstance(body, Refusal):
                self._not_stored(attempt, body)
                return
            made.body = body
            self._keep(attempt, joined(made, attempt.question.known, self._policy.max_body))

        body: bytes | Body
        if response.body.complete:
            body = response.body.take()
            if len(body) > self._policy.max_body:
                return self._refused(attempt, attrs.evolve(response, body=Body.of(body)), Refusal.TOO_LARGE)
            done(body)
        else:
            body = Fill(response.body, self._policy.max_body, done).start()
        return self._replies.fetched(attempt.question, attempt.lookup, response, body, made, self._now())

    def _keep(self, attempt: Attempt, entry: CacheEntry) -> None:
        """Store ``entry`` in place of what it replaces, though that may have been another variant (§4.3.3)."""
        question, lookup = attempt.question, attempt.lookup
        old = (lookup.entry, lookup.part) if entry.part is None else ()
        gone = [each for each in old if each is not None and field_name(each) != field_name(entry)]
        self._writer.keep([entry], question.give_ticket(), question.known, gone)
        self._confirmation.note(question.key, entry)
        attempt.land(entry)

    def _not_stored(self, attempt: Attempt, reason: Refusal) -> None:
        """What looked storable ended too early or went on for too long."""
        question = attempt.question
        if reason is Refusal.TOO_LARGE:
            self._uncacheable.add(question.key, self._now())
            self._outdate(attempt)
        question.close_ticket()
        attempt.land(Landing.ABANDONED if reason is Refusal.INCOMPLETE else Landing.UNSHAREABLE)

    def _refused(self, attempt: Attempt, response: UpstreamResponse, refusal: Refusal) -> Reply:
        """Relay an answer that is not stored; what it replaces is dropped (RFC 9111 §4.3.3)."""
        question, status = attempt.question, response.head.status
        if attempt.concerns_all and status < 500:
            self._uncacheable.add(question.key, self._now())
        part_only = status == 206 and attempt.lookup.entry is not None and attempt.lookup.entry.part is None
        if status not in _NO_NEWS and not part_only and refusal not in _ABOUT_CLIENT:
            self._outdate(attempt)
        question.close_ticket()
        attempt.land(Landing.UNSHAREABLE)
        return self._replies.fetched(question, attempt.lookup, response, response.body, None, self._now())

    def _outdate(self, attempt: Attempt) -> None:
        """The backend has something else now: drop what was validated or to be reloaded."""
        question, entry = attempt.question, attempt.lookup.entry
        if question.head.method == b"GET" and entry is not None and not question.outdated:
            self._writer.discard(entry)
