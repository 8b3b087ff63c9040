"""Asking the backend for a key, and what becomes of its answer: store, freshen, serve stale, or merely relay."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from caching_proxy.body import Body
from caching_proxy.cache.exchange import Question, Reply
from caching_proxy.cache.fill import Fill
from caching_proxy.cache.replies import Replies
from caching_proxy.cache.route import Route
from caching_proxy.cache.single_flight import Flight, Landing
from caching_proxy.cache.uncacheable import Uncacheable
from caching_proxy.cache.writer import Writer
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.lookup import Lookup, Use, may_serve_on_error
from caching_proxy.core.messages import Field, RequestHead
from caching_proxy.core.outcome import CacheStatus, Refusal
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.storability import judge
from caching_proxy.core.stored import make_entry
from caching_proxy.core.validation import (
    client_named,
    conditions,
    freshen,
    head_update,
    selected,
    strip_conditions,
    updated,
)
from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamResponse

_ERRORS = frozenset((500, 502, 503, 504))


class Fetcher:
    """Leads fetches. A flight it is handed lands exactly once, whatever happens."""

    def __init__(
        self,
        policy: CachePolicy,
        route: Route,
        writer: Writer,
        uncacheable: Uncacheable,
        replies: Replies,
        clock: IReactorTime,
    ) -> None:
        self._policy = policy
        self._route = route
        self._writer = writer
        self._uncacheable = uncacheable
        self._replies = replies
        self._now: Callable[[], float] = clock.seconds

    async def fetch(self, question: Question, lookup: Lookup, flight: Flight | None) -> Reply:
        """The reply to ``question``, whose ticket ends here. Fails only if cancelled."""
        try:
            return await self._ask(question, lookup, flight)
        except UpstreamError as error:
            if flight is not None:
                flight.land(Failure(error))
            question.close_ticket()
            return self._replies.without_backend(question, lookup, error, self._now())
        except BaseException:
            if flight is not None:
                flight.land(Landing.ABANDONED)
            question.close_ticket()
            raise

    async def _ask(self, question: Question, lookup: Lookup, flight: Flight | None) -> Reply:
        ours = self._conditions(question, lookup)
        asked_at = self._now()
        head = question.head
        response = await self._route.fetch(question.incoming, _conditional(head, lookup, ours) if ours else head)
        if response.head.status == 304 and ours:
            reply = self._confirmed(question, lookup, flight, response, asked_at)
            if reply is not None:
                return reply
            response.body.cancel()
            asked_at = self._now()
            response = await self._route.fetch(question.incoming, _unconditional(head))
        if response.head.status == 304 and question.plain:  # RFC 9110 §15.4.5: an answer to a question not asked
            response.body.cancel()
            raise UpstreamProtocolError("304 to a request without conditions")
        return self._answered(question, lookup, flight, response, asked_at)

    def _conditions(self, question: Question, lookup: Lookup) -> tuple[Field, ...]:
        if question.head.method != b"GET":
            return ()
        if lookup.use is Use.VALIDATE:
            return conditions(lookup.entry, lookup.candidates)
        return conditions(None, lookup.candidates) if lookup.candidates and question.plain else ()

    # -- the stored copy still holds -------------------------------------------------------------

    def _confirmed(
        self, question: Question, lookup: Lookup, flight: Flight | None, response: UpstreamResponse, asked_at: float
    ) -> Reply | None:
        """The reply made of what a 304 confirmed; None if it names nothing that we have (RFC 9111 §4.3.3)."""
        entries = (lookup.entry,) if lookup.use is Use.VALIDATE and lookup.entry is not None else ()
        chosen = selected((*entries, *lookup.candidates), response.head)
        head, now = question.head, self._now()
        if not chosen:
            if not client_named(head, response.head):
                return None
            return self._refused(question, lookup, flight, response, Refusal.STATUS)
        response.body.cancel()
        fresh = [
            freshen(entry, head, response.head, self._policy, asked_at, now, established=question.identity.established)
            for entry in chosen
        ]
        kept = [entry for entry in fresh if entry is not None]
        status = CacheStatus.REFRESH if question.control.refresh else CacheStatus.REVALIDATED
        if not kept:  # confirmed for the last time: it may no longer be stored
            for entry in chosen:
                self._writer.discard(entry)
            self._land(flight, Landing.UNSHAREABLE)
            question.close_ticket()
            return self._replies.stored(question, updated(chosen[0], response.head), status, now, lookup)
        self._writer.keep(kept, question.give_ticket())
        self._land(flight, kept[0])
        return self._replies.stored(question, kept[0], status, now, lookup)

    # -- a full answer ---------------------------------------------------------------------------

    def _answered(
        self, question: Question, lookup: Lookup, flight: Flight | None, response: UpstreamResponse, asked_at: float
    ) -> Reply:
        now, entry = self._now(), lookup.entry
        if response.head.status in _ERRORS and entry and may_serve_on_error(entry, question.control, now):
            response.body.cancel()
            self._land(flight, Landing.UNSHAREABLE)
            question.close_ticket()
            return self._replies.stored(question, entry, CacheStatus.STALE, now)
        if question.head.method == b"HEAD" and entry is not None:
            self._learn_from_head(question, entry, response, asked_at)
        verdict = judge(
            question.head,
            response.head,
            policy=self._policy,
            established=question.identity.established,
            has_body=False,
            requested_at=asked_at,
            received_at=now,
        )
        refusal = verdict.refusal
        if refusal is None and response.length is not None and response.length > self._policy.max_body:
            refusal = Refusal.TOO_LARGE
        if refusal is not None:
            return self._refused(question, lookup, flight, response, refusal)
        made = make_entry(question.key, question.head, response.head, b"", verdict, self._policy, now)
        return self._stored(question, lookup, flight, response, made)

    def _stored(
        self, question: Question, lookup: Lookup, flight: Flight | None, response: UpstreamResponse, entry: CacheEntry
    ) -> Reply:
        ticket = question.give_ticket()
        self._uncacheable.discard(entry.key)

        def done(body: bytes | Refusal) -> None:
            if isinstance(body, Refusal):
                self._land(flight, Landing.ABANDONED if body is Refusal.INCOMPLETE else Landing.UNSHAREABLE)
                if body is Refusal.TOO_LARGE:
                    self._uncacheable.add(entry.key, self._now())
                ticket.close()
                return
            entry.body = body
            self._writer.keep([entry], ticket)
            self._land(flight, entry)

        body: bytes | Body
        if response.body.complete:
            body = response.body.take()
            done(body)
        else:
            body = Fill(response.body, self._policy.max_body, done).start()
        return self._replies.fetched(question, lookup, response, body, entry, self._now())

    def _refused(
        self, question: Question, lookup: Lookup, flight: Flight | None, response: UpstreamResponse, refusal: Refusal
    ) -> Reply:
        """Relay an answer that is not stored; what it replaces is dropped (RFC 9111 §4.3.3)."""
        now = self._now()
        if question.plain and question.head.method == b"GET" and response.head.status < 500:
            self._uncacheable.add(question.key, now)
            if lookup.entry is not None and refusal is not Refusal.TOO_LARGE:
                self._writer.discard(lookup.entry)
        self._land(flight, Landing.UNSHAREABLE)
        question.close_ticket()
        return self._replies.fetched(question, lookup, response, response.body, None, now)

    def _learn_from_head(
        self, question: Question, entry: CacheEntry, response: UpstreamResponse, asked_at: float
    ) -> None:
        """A HEAD's answer renews or outdates the stored response to GET (RFC 9111 §4.3.5)."""
        established = question.identity.established
        head, now = question.head, self._now()
        updated = head_update(entry, head, response.head, self._policy, asked_at, now, established=established)
        if updated is None:
            self._writer.discard(entry)
        elif updated is not entry:
            self._writer.keep([updated], question.give_ticket())

    def _land(self, flight: Flight | None, result: CacheEntry | Landing) -> None:
        if flight is not None:
            flight.land(result)


def _conditional(head: RequestHead, lookup: Lookup, ours: tuple[Field, ...]) -> RequestHead:
    """``head`` with our conditions in place of the client's (RFC 9111 §4.3.1)."""
    partial = lookup.entry is not None and lookup.entry.part is not None
    return RequestHead(head.method, head.target, strip_conditions(head.fields, partial).plus(*ours), head.minor)


def _unconditional(head: RequestHead) -> RequestHead:
    return RequestHead(head.method, head.target, strip_conditions(head.fields), head.minor)
