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
        """Read some values.

        Args:
            names: Names as they were given to :meth:`set`; any number of them.

        Returns:
            The values of those that are there, by name.
        """

    def set(name: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        """Keep a value; it may go sooner than it has to.

        Args:
            name: 40 letters and digits; each name is given only once.
            value: Any bytes.
            ttl_ms: Milliseconds for which it may be kept at most.
        """

    def delete(names: Sequence[bytes]) -> Deferred[None]:
        """Forget some values.

        Args:
            names: Those to forget, whether they are there or not.
        """

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
        """Read some variants of a key, and the outlines of all, in one round trip.

        Args:
            key: The key.
            fields: The names of the variants to read; None reads every one.

        Returns:
            What is stored; None when there is nothing.

        Raises:
            Unreadable: Something that is no hash of entries stands under the key.
        """

    def put(
        key: bytes, field: bytes, value: bytes, ttl_ms: int, since: bytes | None = None, tags: Sequence[bytes] = ()
    ) -> Deferred[None]:
        """Write one variant; the key lives at least as long as it.

        Other variants stay, unless they are too many or too large together: then the oldest go.

        Args:
            key: The key.
            field: The name of the variant.
            value: The entry, encoded.
            ttl_ms: Milliseconds for which it is kept, from now.
            since: :attr:`IInvalidationBus.seen`, so that nothing from before an invalidation is written after it; None
                writes in any case.
            tags: The tags that the variant carries.

        Raises:
            Overtaken: After ``since`` somebody has invalidated something that may concern the key.
        """

    def discard(key: bytes, field: bytes) -> Deferred[bool]:
        """Remove one variant.

        Args:
            key: The key.
            field: The name of the variant.

        Returns:
            Whether it was there.
        """

    def delete(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Remove whole keys, whatever stands under them.

        Args:
            keys: The keys; any number of them.

        Returns:
            Those that existed.
        """

    def delete_target(target: bytes) -> Deferred[set[bytes]]:
        """Remove what is stored for one target of any role, without walking all keys.

        This is an invalidation: the other proxies on the store are told.

        Args:
            target: The target, as it stands in keys.

        Returns:
            The keys that existed.
        """

    def mark(invalidation: Invalidation) -> Deferred[None]:
        """Tell the other proxies on the store of an invalidation, and let no write pass that has not heard of it.

        To be called before anything is deleted, so that no fill that began before is written after; and once more when
        all is deleted, so that nobody keeps what he read in between. Nothing to do for a store that nobody shares.

        Args:
            invalidation: What is invalidated.
        """

    def tagged(tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        """A step of a walk over the keys with a variant that carries a tag.

        What was written after the first step may be spared.

        Args:
            tag: The tag.
            cursor: As for :meth:`scan`.
            fate: What is done with the variants that carry it.
            moment: As for :meth:`soften`; POSIX seconds.

        Returns:
            Some keys, of which one may come twice, and where the walk goes on.
        """

    def soften(keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        """Note of every variant of some keys that it is stale until it is written again.

        Args:
            keys: The keys.
            moment: Since when they are stale, in POSIX seconds.

        Returns:
            The keys that existed.
        """

    def soften_target(target: bytes, moment: float) -> Deferred[set[bytes]]:
        """:meth:`soften` what is stored for one target of any role.

        Args:
            target: The target, as it stands in keys.
            moment: Since when it is stale, in POSIX seconds.

        Returns:
            The keys that existed.
        """

    def scan(cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        """A step of a walk over the keys; never blocks the store.

        Keys that are there from beginning to end come at least once.

        Args:
            cursor: :data:`SCAN_ENDS` for the first step, for each next one that of the step before, until it is
                ``SCAN_ENDS`` again. One that no step gave is the beginning, or an error.
            prefix: What the keys begin with.

        Returns:
            Some keys, and the cursor of the next step.

        Raises:
            StoreError: The cursor is none, or the store cannot be asked.
        """

    def held(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Look which keys are there.

        Args:
            keys: A thousand at most.

        Returns:
            Those that are there.
        """

    def ping() -> Deferred[None]:
        """Succeeds if the store answers now."""

    def start() -> Deferred[None]:
        """Begin connecting; fires at once and never fails: a store that is down comes later."""

    def stop() -> Deferred[None]:
        """Let commands under way finish or fail, close every connection, cancel every timer."""


class Seeker(Protocol):
    """The caller of a lookup without a Deferred: one of the two methods is called, once."""

    def found(self, stored: Stored | None) -> None:
        """The lookup went well.

        Args:
            stored: The result, as :meth:`IStore.lookup` gives it.
        """

    def failed(self, failure: Failure) -> None:
        """The lookup failed.

        Args:
            failure: Holds a :class:`StoreError`, or what a bug raised.
        """


@runtime_checkable
class DirectStore(Protocol):
    """A store that can look something up without a Deferred: making one costs as much as all else of a lookup."""

    def seek(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker) -> None:
        """:meth:`IStore.lookup` without a Deferred.

        Args:
            key: The key.
            fields: The names of the variants to read; None reads every one.
            seeker: Who is told the result, perhaps before this returns.
        """
