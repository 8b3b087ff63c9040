"""The seam of the stores: what they hold, how they fail, and what each has to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface

from caching_proxy.http.values import transient
from caching_proxy.rules.bus_message import Invalidation


class StoreError(Exception):
    """The store did not do what was asked: unreachable, timed out, refused (read-only, out of memory, loading)."""


class StoreUnavailable(StoreError):
    """The store was not asked at all: the circuit breaker is open or too many commands wait already."""


class AnswerLost(StoreError):
    """The connection broke more than once while the server answered; the answer may be more than it lets pass."""


class StoreForbidden(StoreError):
    """The user that we log in as may not do this; the server itself is well."""


class Postponed(StoreError):
    """An invalidation has taken effect here, but the store cannot carry it out now; it is tried until it succeeds.

    ``kept``: it stands in the journal, so that it outlives this process.
    """

    def __init__(self, reason: str, kept: bool) -> None:
        super().__init__(reason)
        self.kept = kept


class Overtaken(StoreError):
    """A write was refused, as there was an invalidation that the writer has not looked at."""


class Unreadable(StoreError):
    """Something that is not a hash of entries stands under the key; delete it and fetch anew."""


NO_OUTLINES: Mapping[bytes, bytes] = MappingProxyType({})
NOT_STALE: Mapping[bytes, float] = MappingProxyType({})


@transient(slots=True)
class Stored:
    """What a store holds for one key.

    ``variants`` are the values of those asked for that are there, by field name. ``outlines`` are the beginnings of all
    values (``rules.codec.outline_in``) by field name, the oldest first; empty where nothing but a plain variant is
    stored. ``ttl_ms`` is what remains of the longest-lived variant, in milliseconds. ``stale`` has those of
    ``variants`` that were invalidated softly, and when (POSIX seconds).
    """

    variants: Mapping[bytes, bytes]
    ttl_ms: int
    outlines: Mapping[bytes, bytes] = NO_OUTLINES
    stale: Mapping[bytes, float] = NOT_STALE


SCAN_ENDS = b"0"
"""The cursor before the first step of a walk over all keys, and after the last."""


@attrs.frozen(slots=True)
class Scanned:
    """Some keys, about a thousand, and where the walk goes on."""

    keys: Sequence[bytes]
    cursor: bytes


class Fate(enum.Enum):
    """What becomes of variants that are found by a tag."""

    KEPT = "kept"
    STALE = "stale"  # as :meth:`IStore.soften` does
    DELETED = "deleted"


class IValues(Interface):
    """The least that a store has to do: keep bytes under names of 40 letters and digits.

    :class:`~caching_proxy.store.indexed.IndexedStore` makes an :class:`IStore` of it that one proxy has for itself.
    Every method but ``start`` may fail with :class:`StoreError`.
    """

    def get(names: Sequence[bytes]) -> Deferred[Mapping[bytes, bytes]]:
        """The values of ``names`` that are there."""

    def set(name: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        """Keep ``value`` for at most ``ttl_ms`` milliseconds; it may go sooner. A name is given only once."""

    def delete(names: Sequence[bytes]) -> Deferred[None]:
        """Forget these, whether they are there or not."""

    def ping() -> Deferred[None]:
        """Succeeds if the store answers now."""

    def start() -> Deferred[None]:
        """Begin connecting; fires at once and never fails: a store that is down comes later."""

    def stop() -> Deferred[None]:
        """Let what is under way finish or fail, close every connection, cancel every timer."""


class IStore(Interface):
    """A shared store of encoded entries: one hash per key, one field per variant.

    A store that can only keep bytes under names, without listing keys or finding those of a target or tag, is an
    :class:`IValues`.

    Keys, fields and values are bytes. Every method may fail with :class:`StoreError`.
    """

    def lookup(key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        """Some variants of ``key``, and the outlines of all, in one round trip; None when there are none.

        ``fields`` None asks for every variant.
        """

    def put(
        key: bytes, field: bytes, value: bytes, ttl_ms: int, since: bytes | None = None, tags: Sequence[bytes] = ()
    ) -> Deferred[None]:
        """Write one variant, which carries ``tags``; the key lives at least ``ttl_ms`` from now.

        Other variants stay, unless they are too many or too large together: then the oldest go. ``since`` is
        :attr:`IInvalidationBus.seen`: where anybody has invalidated something later that may
        concern the key, the write fails with :class:`Overtaken`. None writes in any case.
        """

    def discard(key: bytes, field: bytes) -> Deferred[bool]:
        """Remove one variant; whether it was there."""

    def delete(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Remove whole keys, whatever their type; the ones that existed."""

    def delete_target(target: bytes) -> Deferred[set[bytes]]:
        """Remove what is stored for one target of any role, without walking all keys; the keys that existed.

        This is an invalidation: the other proxies on the store are told.
        """

    def mark(invalidation: Invalidation) -> Deferred[None]:
        """Tell the other proxies on the store of an invalidation, and let no write pass that has not heard of it.

        To be called before anything is deleted, so that no fill that began before is written after; and once more when
        all is deleted, so that nobody keeps what he read in between. Nothing to do for a store that nobody shares.
        """

    def tagged(tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        """A step of a walk over the keys with a variant that carries ``tag``, which does with those variants what
        ``fate`` says; ``moment`` as for :meth:`soften`. Cursors are as for :meth:`scan`; a key may come twice. What was
        written after the first step may be spared.
        """

    def soften(keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        """Note of every variant of ``keys`` that it is stale from ``moment`` (POSIX seconds) on, until it is written
        again; the keys that existed."""

    def soften_target(target: bytes, moment: float) -> Deferred[set[bytes]]:
        """:meth:`soften` what is stored for one target of any role."""

    def scan(cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        """A step of a walk over the keys that begin with ``prefix``; never blocks the store.

        The first step has the cursor :data:`SCAN_ENDS`, each next one that of the step before, until it is
        ``SCAN_ENDS`` again. Keys that are there from beginning to end come at least once. A cursor that no step gave is
        a :class:`StoreError` or the beginning.
        """

    def held(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Those of some keys, a thousand at most, that are there."""

    def ping() -> Deferred[None]:
        """Succeeds if the store answers now."""

    def start() -> Deferred[None]:
        """Begin connecting; fires at once and never fails: a store that is down comes later."""

    def stop() -> Deferred[None]:
        """Let commands under way finish or fail, close every connection, cancel every timer."""


class Seeker(Protocol):
    """The caller of a lookup without a Deferred: one of the two methods is called, once."""

    def found(self, stored: Stored | None) -> None:
        """The result, as :meth:`IStore.lookup` gives it."""

    def failed(self, failure: Failure) -> None:
        """There is none; ``failure`` holds a :class:`StoreError`, or what a bug raised."""


@runtime_checkable
class DirectStore(Protocol):
    """A store that can look something up without a Deferred: making one costs as much as all else of a lookup."""

    def seek(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker) -> None:
        """As :meth:`IStore.lookup`; ``seeker`` may hear of it at once."""
