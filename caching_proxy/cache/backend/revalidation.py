"""What a 304, or the answer to a HEAD, does to stored responses (RFC 9111 §4.3.3 to §4.3.5)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.backend.request import Attempt
from caching_proxy.cache.flights import Landing
from caching_proxy.cache.hit_for_miss import Uncacheable
from caching_proxy.cache.requests import Reply
from caching_proxy.cache.responses import Replies
from caching_proxy.cache.tiers.variants import field_name
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.http.messages import ResponseHead
from caching_proxy.rules.conditional import is_strong
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.reuse import Use
from caching_proxy.rules.validation import freshen, head_update, selected, updated


class Confirmation:
    """Freshens what the backend confirmed."""

    def __init__(
        self, policy: CachePolicy, writer: Writer, uncacheable: Uncacheable, replies: Replies, clock: IReactorTime
    ) -> None:
        self._policy = policy
        self._writer = writer
        self._uncacheable = uncacheable
        self._replies = replies
        self._now: Callable[[], float] = clock.seconds

    def confirmed(self, attempt: Attempt, response: ResponseHead) -> Reply | None:
        """The reply made of what a 304 confirmed; None if it names nothing that we have."""
        chosen = _chosen(attempt, response)
        if not chosen:
            return None
        question, now = attempt.question, self._now()
        fresh = [self._freshened(entry, attempt, response, now) for entry in chosen]
        kept = [entry for entry in fresh if entry is not None]
        gone = [
            old
            for old, new in zip(chosen, fresh, strict=True)
            if new is None or (old is attempt.lookup.entry and field_name(old) != field_name(new))
        ]
        self._writer.keep(kept, question.give_ticket(), question.known, gone)
        first = fresh[0]
        self.note(question.crowd, first)
        attempt.land(first if first is not None else Landing.UNSHAREABLE)
        status = CacheStatus.REFRESH if question.control.refresh else CacheStatus.REVALIDATED
        # None: confirmed for the last time, since it may no longer be stored
        shown = first if first is not None else updated(chosen[0], response)
        return self._replies.stored(question, shown, status, now, attempt.lookup, 304)

    def learn(self, attempt: Attempt, entry: CacheEntry, response: ResponseHead) -> None:
        """A HEAD's answer renews or outdates the stored response to GET."""
        question, now = attempt.question, self._now()
        new = head_update(
            entry,
            question.head,
            response,
            self._policy,
            attempt.asked_at,
            now,
            established=question.identity.established,
        )
        if new is not entry:
            gone = [entry] if new is None or field_name(new) != field_name(entry) else []
            self._writer.keep([] if new is None else [new], question.give_ticket(), question.known, gone)

    def note(self, crowd: bytes, entry: CacheEntry | None) -> None:
        """Remember whether waiting for one another is of use to the clients of ``crowd`` (:attr:`Question.crowd`)."""
        now = self._now()
        if entry is not None and entry.sharable(now):
            self._uncacheable.discard(crowd)
        else:
            self._uncacheable.add(crowd, now)

    def _freshened(self, entry: CacheEntry, attempt: Attempt, response: ResponseHead, now: float) -> CacheEntry | None:
        question = attempt.question
        return freshen(
            entry,
            question.head,
            response,
            self._policy,
            attempt.asked_at,
            now,
            established=question.identity.established,
        )


MOST_READ = 4
"""Further variants with the tag of a 304 that are read to be freshened: each is as large as a body."""


def outlines_named(attempt: Attempt, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names of which the body is still in the store."""
    outlines = [entry for entry in _named(attempt, response) if entry.missing is not None]
    return outlines[:MOST_READ]


def _chosen(attempt: Attempt, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names, as far as it is here; what is not is confirmed when it is used."""
    return [entry for entry in _named(attempt, response) if entry.missing is None]


def _named(attempt: Attempt, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names: the one validated, with a strong tag whatever else has it; or one of the variants offered."""
    lookup = attempt.lookup
    if lookup.use is not Use.VALIDATE or lookup.entry is None:
        return selected(lookup.candidates, response) or []
    chosen = selected((lookup.entry,), response) or []
    tag = response.fields.first(b"etag")
    if chosen and is_strong(tag):
        chosen += [other for other in lookup.others if other.fields.first(b"etag") == tag]
    return chosen
