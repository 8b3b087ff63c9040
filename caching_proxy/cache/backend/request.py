"""One request to the backend on behalf of the cache: how it is worded, and what its answer may mean.

A validation carries our conditions in place of the client's; a stored prefix is completed with a range; anything
else goes as the client put it (RFC 9111 §3.4, §4.3.1).
"""

from __future__ import annotations

import enum

import attrs

from caching_proxy.cache.flights import Flight, Result
from caching_proxy.cache.requests import CacheRequest
from caching_proxy.http.messages import Field, RequestHead
from caching_proxy.http.values import transient
from caching_proxy.rules.conditional import is_strong
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.ranges import missing_rest
from caching_proxy.rules.reuse import Lookup, Use
from caching_proxy.rules.validation import conditions, strip_conditions


class Purpose(enum.Enum):
    """What is asked for."""

    FETCH = "fetch"  # what the client asked for
    REVALIDATE = "confirm"  # does a stored response still hold?
    COMPLETE = "complete"  # the rest of a stored part


@transient(slots=True, eq=False)
class BackendRequest:
    """``asked`` is the head before the route's own fields are added, ``asked_at`` POSIX seconds."""

    cache_request: CacheRequest
    lookup: Lookup
    flight: Flight | None
    purpose: Purpose
    asked: RequestHead
    asked_at: float

    @classmethod
    def first(
        cls, cache_request: CacheRequest, lookup: Lookup, flight: Flight | None, limit: int, now: float
    ) -> BackendRequest:
        """The request that suits the decision. ``limit`` is the size in bytes up to which a body is stored."""
        purpose, asked = _worded(cache_request, lookup, limit)
        return cls(cache_request, lookup, flight, purpose, asked, now)

    def again(self, now: float) -> BackendRequest:
        """The same without anything of ours: the answer to the first request helped nobody."""
        head = self.cache_request.head
        asked = head if self.purpose is Purpose.COMPLETE else _with(head, partial=True)
        return attrs.evolve(self, purpose=Purpose.FETCH, asked=asked, asked_at=now)

    def judged(self, status: int) -> RequestHead:
        """The request that a response with ``status`` answers, as far as storing it goes: a backend that ignored our
        range gave what the client asked for."""
        if self.purpose is Purpose.COMPLETE and status != 206:
            return self.cache_request.head
        return self.asked

    @property
    def conditional(self) -> bool:
        """Whether a 304 is among the possible answers."""
        return not self.asked.fields.index.keys().isdisjoint((b"if-none-match", b"if-modified-since", b"if-range"))

    @property
    def concerns_all(self) -> bool:
        """Whether the answer tells what every client would get, not just one with its conditions or range."""
        return replaces_client(self.cache_request, self.lookup)

    def land(self, result: Result) -> None:
        """Release those who wait for this."""
        if self.flight is not None:
            self.flight.land(result)


def replaces_client(cache_request: CacheRequest, lookup: Lookup) -> bool:
    """Whether what will be asked is free of the client's own conditions and range."""
    if cache_request.head.method != b"GET":
        return False
    entry = lookup.entry
    return cache_request.plain or (lookup.use is Use.VALIDATE and entry is not None and entry.part is None)


def _worded(cache_request: CacheRequest, lookup: Lookup, limit: int) -> tuple[Purpose, RequestHead]:
    head = cache_request.head
    if head.method != b"GET":
        return Purpose.FETCH, head
    if lookup.use is Use.VALIDATE and lookup.entry is not None:
        ours = conditions(lookup.entry)
        if ours:
            return Purpose.REVALIDATE, _with(head, *ours, partial=Flag.PARTIAL in lookup.entry.flags)
    elif cache_request.plain and lookup.candidates:
        ours = conditions(None, lookup.candidates)
        if ours:
            return Purpose.REVALIDATE, _with(head, *ours)
    elif cache_request.plain and lookup.part is not None:
        rest = missing_rest(lookup.part, limit)
        if rest is not None:
            return Purpose.COMPLETE, _with(head, *_range(lookup.part, rest))
    return Purpose.FETCH, head


def _with(head: RequestHead, *ours: Field, partial: bool = False) -> RequestHead:
    return RequestHead(head.method, head.target, strip_conditions(head.fields, partial).plus(*ours), head.minor)


def _range(part: CacheEntry, rest: int) -> tuple[Field, ...]:
    line: Field = (b"Range", b"bytes=%d-" % rest)
    tag = part.fields.first(b"etag")
    return (line, (b"If-Range", tag)) if tag is not None and is_strong(tag) else (line,)
