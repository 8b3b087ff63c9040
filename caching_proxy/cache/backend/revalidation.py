"""What a 304, or the answer to a HEAD, does to stored responses (RFC 9111 §4.3.3 to §4.3.5)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.backend.request import BackendRequest
from caching_proxy.cache.flights import FlightResult
from caching_proxy.cache.hit_for_miss import HitForMiss
from caching_proxy.cache.requests import CacheResponse
from caching_proxy.cache.responses import Responses
from caching_proxy.cache.tiers.variants import field_name
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.http.messages import ResponseHead
from caching_proxy.rules.conditional import is_strong
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.reuse import Use
from caching_proxy.rules.validation import freshen, head_update, selected, updated


class Revalidation:
    """Freshens what the backend revalidated."""

    def __init__(self, writer: Writer, hit_for_miss: HitForMiss, responses: Responses, clock: IReactorTime) -> None:
        self._writer = writer
        self._hit_for_miss = hit_for_miss
        self._responses = responses
        self._now: Callable[[], float] = clock.seconds

    def revalidated(self, backend_request: BackendRequest, response: ResponseHead) -> CacheResponse | None:
        """The reply made of what a 304 revalidated; None if it names nothing that we have."""
        chosen = _chosen(backend_request, response)
        if not chosen:
            return None
        cache_request, now = backend_request.cache_request, self._now()
        fresh = [self._freshened(entry, backend_request, response, now) for entry in chosen]
        kept = [entry for entry in fresh if entry is not None]
        gone = [
            old
            for old, new in zip(chosen, fresh, strict=True)
            if new is None or (old is backend_request.lookup.entry and field_name(old) != field_name(new))
        ]
        tags = {tag for entry in kept for tag in entry.tags}
        if cache_request.spoilt(tags):  # who came since must not be given it
            backend_request.land(FlightResult.ABANDONED)
        self._writer.keep(kept, cache_request.give_lease(), cache_request.known, gone)
        first = fresh[0]
        self.note(cache_request.crowd, first)
        backend_request.land(first if first is not None else FlightResult.UNSHAREABLE)
        status = cache_request.revalidated_status
        # None: revalidated for the last time, since it may no longer be stored
        shown = first if first is not None else updated(chosen[0], response)
        return self._responses.stored(cache_request, shown, status, now, backend_request.lookup, 304)

    def learn(self, backend_request: BackendRequest, entry: CacheEntry, response: ResponseHead) -> None:
        """A HEAD's answer renews or outdates the stored response to GET."""
        cache_request, now = backend_request.cache_request, self._now()
        new = head_update(
            entry,
            cache_request.head,
            response,
            cache_request.terms.policy,
            backend_request.asked_at,
            now,
            established=cache_request.identity.established,
        )
        if new is not entry:
            gone = [entry] if new is None or field_name(new) != field_name(entry) else []
            self._writer.keep([] if new is None else [new], cache_request.give_lease(), cache_request.known, gone)

    def note(self, crowd: bytes, entry: CacheEntry | None) -> None:
        """Remember whether the clients of ``crowd`` gain by waiting for one another (:attr:`CacheRequest.crowd`)."""
        now = self._now()
        if entry is not None and entry.sharable(now):
            if self._hit_for_miss.until:
                self._hit_for_miss.discard(crowd)
        else:
            self._hit_for_miss.add(crowd, now)

    def _freshened(
        self, entry: CacheEntry, backend_request: BackendRequest, response: ResponseHead, now: float
    ) -> CacheEntry | None:
        cache_request = backend_request.cache_request
        return freshen(
            entry,
            cache_request.head,
            response,
            cache_request.terms.policy,
            backend_request.asked_at,
            now,
            established=cache_request.identity.established,
        )


MOST_READ = 4
"""Further variants with the tag of a 304 that are read to be freshened: each is as large as a body."""


def outlines_named(backend_request: BackendRequest, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names of which the body is still in the store."""
    outlines = [entry for entry in _named(backend_request, response) if entry.missing is not None]
    return outlines[:MOST_READ]


def _chosen(backend_request: BackendRequest, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names, as far as it is here; what is not is revalidated when it is used."""
    return [entry for entry in _named(backend_request, response) if entry.missing is None]


def _named(backend_request: BackendRequest, response: ResponseHead) -> list[CacheEntry]:
    """What a 304 names: the one validated, with a strong tag whatever else has it; or one of the variants offered."""
    lookup = backend_request.lookup
    if lookup.use is not Use.VALIDATE or lookup.entry is None:
        return selected(lookup.candidates, response) or []
    chosen = selected((lookup.entry,), response) or []
    tag = response.fields.first(b"etag")
    if chosen and is_strong(tag):
        chosen += [other for other in lookup.others if other.fields.first(b"etag") == tag]
    return chosen
