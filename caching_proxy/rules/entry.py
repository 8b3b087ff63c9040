"""A stored response, with everything that deciding about its reuse needs, computed when it was stored."""

from __future__ import annotations

import enum
from functools import lru_cache

import attrs

from caching_proxy.http.messages import Fields
from caching_proxy.http.values import transient

Selecting = tuple[tuple[bytes, bytes | None], ...]
"""What ``Vary`` named when the response was stored: lower-case field name → the request's lines joined with
``", "``, or None where the request had no such field (RFC 9111 §4.1)."""


SELECTING_OVERHEAD = 100
"""Bytes that a pair of :data:`Selecting` costs beside name and value."""


TAG_OVERHEAD = 350
"""Bytes that a tag costs in a tier beside itself: in the entry, and in the index of the tier."""

_REMEMBERED = 4096  # bytes of a head that is remembered as fields


class Flag(enum.IntFlag):
    """Properties of a stored response that outlive its parsing."""

    NO_CACHE = 1  # validate on every use (RFC 9111 §5.2.2.4)
    STRICT = 2  # never serve stale: must-revalidate, proxy-revalidate, s-maxage, no-cache (§4.2.4)
    IMMUTABLE = 4  # RFC 8246
    PARTIAL = 8  # a 206: ``part`` says which bytes
    SHARED = 16  # may answer requests with Authorization (§3.5): public, must-revalidate, s-maxage


NO_FLAGS = Flag(0)


@attrs.frozen(slots=True)
class Asked:
    """What is remembered of the request that a response without ``Vary`` answered, for when another response of the
    same key turns out to vary (RFC 9111 §4.1).

    ``names`` are those of the request's fields in lower case, sorted, joined with commas; ``values`` the normal forms
    of some of them.
    """

    names: bytes
    values: Selecting = ()


_known_fields = lru_cache(64)(Fields.decoded)  # several rules look at one entry, one after the other


@transient(slots=True, eq=False)
class CacheEntry:
    """One stored response, made whole and never changed.

    Times are POSIX seconds as floats, durations whole seconds. ``head`` holds the end-to-end field lines ready to
    send, less ``Age`` and ``Content-Length``, which depend on the moment and on what is sent. ``keep`` says for how
    long after ``received_at`` the entry may stay in any tier; ``part`` is ``(first position, total length or None)``
    for a 206. ``scope`` and ``selecting`` say which requests it is for, ``asked`` the same of one without ``Vary``,
    None where nothing is remembered. ``tags``: :mod:`caching_proxy.rules.tags`; an outline has none.

    An outline is an entry whose body stayed in the store: ``missing`` is its length in bytes. It has all that
    choosing among variants needs: no reason, of the head only validators and Date, of ``selecting`` only names.
    """

    key: bytes
    status: int
    reason: bytes
    head: bytes
    body: bytes
    received_at: float
    initial_age: int = 0
    lifetime: int = 0
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    keep: int = 0
    flags: Flag = NO_FLAGS
    selecting: Selecting = ()
    part: tuple[int, int | None] | None = None
    scope: bytes = b""
    asked: Asked | None = None
    missing: int | None = None
    tags: tuple[bytes, ...] = ()
    variant: bytes | None = attrs.field(default=None, init=False, repr=False)
    """For ``rules.variance``: what :func:`~caching_proxy.rules.variance.variant_of` worked out."""
    language: bytes | None = attrs.field(default=None, init=False, repr=False)
    """For ``rules.variance``, likewise."""

    @property
    def fields(self) -> Fields:
        """The stored field lines. What was parsed is not kept with the entry: in a tier of thousands it would take
        more room than the head itself."""
        return _known_fields(self.head) if len(self.head) <= _REMEMBERED else Fields.decoded(self.head)

    def keep_identifiers(self, variant: bytes | None = None, language: bytes | None = None) -> None:
        """Keep what follows from the entry, so that it is worked out once."""
        if variant is not None:
            self.variant = variant  # type: ignore[misc]
        if language is not None:
            self.language = language  # type: ignore[misc]

    def with_body(self, body: bytes) -> CacheEntry:
        """The same with its body, for one that was begun when its head came."""
        return attrs.evolve(self, body=body)

    def age(self, now: float) -> int:
        """Current age in whole seconds (RFC 9111 §4.2.3)."""
        return self.initial_age + max(0, int(now - self.received_at))

    def ttl(self, now: float) -> int:
        """Freshness left in whole seconds; zero or less is stale, minus the staleness (RFC 9211 §2.4)."""
        return self.lifetime - self.initial_age - max(0, int(now - self.received_at))

    def fresh(self, now: float) -> bool:
        """Whether lifetime exceeds current age (RFC 9111 §4.2)."""
        return self.lifetime - self.initial_age > max(0, int(now - self.received_at))

    def sharable(self, now: float) -> bool:
        """Whether it may answer others than the client that it was fetched for, as it is."""
        fresh = self.lifetime - self.initial_age > max(0, int(now - self.received_at))
        return fresh and not (self.flags and Flag.NO_CACHE in self.flags)

    @property
    def stale_at(self) -> float:
        """The moment from which the entry is stale."""
        return self.received_at + self.lifetime - self.initial_age

    @property
    def gone_at(self) -> float:
        """The moment from which no tier may hold the entry."""
        return self.received_at + self.keep

    @property
    def length(self) -> int:
        """Bytes of body, wherever they are."""
        return len(self.body) if self.missing is None else self.missing

    @property
    def size(self) -> int:
        """Bytes of key, head and body."""
        return len(self.key) + len(self.head) + len(self.body)

    @property
    def weight(self) -> int:
        """Bytes that the entry accounts for in a bounded tier: its size, and what selects it."""
        weight = len(self.key) + len(self.head) + len(self.body)
        for name, value in self.selecting:
            weight += len(name) + len(value or b"") + SELECTING_OVERHEAD
        for tag in self.tags:
            weight += len(tag) + TAG_OVERHEAD
        return weight
