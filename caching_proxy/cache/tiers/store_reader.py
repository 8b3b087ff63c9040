"""Reading the store: burst tier first, one read for all who ask at once, then decoding.

Of the variants of a key those are read that a request may select; of the others there are outlines.

Nothing here fails: trouble is part of the answer, because a store in trouble costs a client nothing but a miss. What
an invalidation covers is never given out, however late the store carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache, partial

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.key_state import KeyState, StoreRead
from caching_proxy.cache.tiers.burst import BurstTier, Remembered
from caching_proxy.cache.tiers.variants import VaryNames, arranged
from caching_proxy.cache.voided_tags import NEVER
from caching_proxy.http.values import transient
from caching_proxy.interfaces import (
    DirectStore,
    IStore,
    Seeker,
    Stored,
    StoreError,
    StoreUnavailable,
    Unreadable,
)
from caching_proxy.rules.codec import CodecError, UnknownVersion, decode, decode_outline, outline_in
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import Trouble
from caching_proxy.rules.validation import softened
from caching_proxy.rules.variance import PLAIN_VARIANT, variant_of


@transient(slots=True)
class Peeked:
    """What the store has under a key: usable and stale entries, perhaps with what went wrong; for a look alone."""

    entries: Sequence[CacheEntry] = ()
    trouble: Trouble | None = None


Found = StoreRead | Remembered
"""What was found by a read, just now or a moment ago."""

_log = Logger()

CLOCKS_APART = 2.0
"""Seconds by which an entry's dates and the store's may differ: clocks of several proxies, rounding, the way here."""

Receiver = Callable[[Found], None]


class _Reading(StoreRead):
    """A read of ``reader``; ``asked`` are the variants that the store was asked for last."""

    __slots__ = ("asked", "reader")

    asked: tuple[bytes, ...]
    reader: StoreReader

    def found(self, stored: Stored | None) -> None:
        reader = self.reader
        if stored is not None:
            if not stored.outlines and not stored.variants and PLAIN_VARIANT not in self.asked:
                self.asked = (PLAIN_VARIANT,)  # all that a key without an index holds
                reader.seek(self.key, self.asked, self)
                return
            try:
                self.entries, self.trouble = reader.entries_in(
                    stored, self.key, self.fields, self.invalid_before, self.spoilt_before, reader.spoilt
                )
            except Exception:  # noqa: BLE001 a bug in decoding must not strand those who wait
                _log.failure("decoding {key} failed", key=self.key.decode("latin-1"))
                self.trouble = Trouble.FAILED
        reader.deliver(self, stored)

    def failed(self, failure: Failure) -> None:
        self.trouble = self.reader.explained(failure, self.key)
        self.reader.deliver(self)


class StoreReader:
    """Reads through the burst tier; an answer fills it unless the key was written to or invalidated in between, or
    the hot tier has taken it.

    ``invalid_before`` tells up to which moment the store's content of a key is invalid
    (:meth:`Invalidator.invalid_before`), ``tagged_before`` the same of what carries some tags.
    """

    def __init__(
        self,
        store: IStore,
        burst: BurstTier,
        key_state: KeyState,
        clock: IReactorTime,
        invalid_before: Callable[[bytes], float],
        tagged_before: Callable[[Collection[bytes]], float],
        varying: VaryNames,
    ) -> None:
        self._store = store
        self.seek = store.seek if isinstance(store, DirectStore) else partial(_sought, store)
        self._burst = burst
        self._key_state = key_state
        self._clock = clock
        self._invalid_before = invalid_before
        self._tagged = tagged_before
        self._varying = varying
        self.asked = 0
        """Lookups that the store answered or failed."""
        self.found = 0
        """Those among them that brought something usable or stale."""

    def read(self, key: bytes, fields: tuple[bytes, ...], receiver: Receiver, burst: bool = True) -> Found | None:
        """What is stored for ``key`` if it is known; else ``receiver`` is called with it once.

        Variants called ``fields`` are read, others may be outlines. ``burst`` False asks the store in any case.
        Concurrent reads share one round trip, which goes on for the others and the burst tier whoever leaves.
        """
        if burst and key in self._burst.answers:
            remembered = self._burst.get(key, self._clock.seconds())
            if remembered is not None:
                return remembered
        elif burst:
            self._burst.misses += 1
        read = self._key_state.read(key, fields, _Reading)
        read.waiting.append(receiver)
        if len(read.waiting) > 1:
            self._burst.shared_reads += 1
        else:
            read.invalid_before = self._invalid_before(key)
            read.reader = self
            read.asked = fields
            self.seek(key, fields, read)
        return None

    def load(self, key: bytes, fields: tuple[bytes, ...]) -> Deferred[Found]:
        """Read variants that are known by their outlines; never fails."""
        loaded: Deferred[Found] = Deferred()
        self.read(key, fields, lambda found: None if loaded.called else loaded.callback(found), burst=False)
        return loaded

    async def peek(self, key: bytes, fields: tuple[bytes, ...]) -> Peeked:
        """What the store says to the same question, for a look alone: nothing is remembered, shared or dropped."""
        before = self._invalid_before(key)
        try:
            stored = await self._store.lookup(key, fields)
            if stored is not None and not stored.outlines and not stored.variants and PLAIN_VARIANT not in fields:
                stored = await self._store.lookup(key, (PLAIN_VARIANT,))
        except (StoreError, Unreadable) as error:
            return Peeked((), _trouble(error))
        if stored is None:
            return Peeked()
        return Peeked(*self.entries_in(stored, key, fields, before, lambda tags: NEVER, lambda *_: None))

    def spoilt(self, key: bytes, field: bytes, error: CodecError) -> None:
        """What stands there nobody can read."""
        _log.warn("unreadable entry {key} dropped: {reason}", key=key.decode("latin-1"), reason=str(error))
        self._drop(self._store.discard(key, field))

    def entries_in(
        self,
        stored: Stored,
        key: bytes,
        fields: tuple[bytes, ...],
        invalid_before: float,
        gone: Callable[[Collection[bytes]], float],
        spoilt: Callable[[bytes, bytes, CodecError], None],
    ) -> tuple[Sequence[CacheEntry], Trouble | None]:
        """The entries that may be used, or are stale; ``gone`` tells of tags from before which moment
        they are not any more; ``spoilt`` hears of entries that nobody can read."""
        now = self._clock.seconds()
        invalid_before = max(invalid_before, self._invalid_before(key))
        entries: list[CacheEntry] = []
        trouble: Trouble | None = None
        for field in stored.outlines if stored.outlines else stored.variants:
            if field in fields and field not in stored.variants:
                continue  # listed, but gone
            try:
                entry = stored_entry(stored, field, key)
            except UnknownVersion:  # another release shares this store: what it wrote is its own
                trouble = Trouble.UNREADABLE
            except CodecError as error:
                trouble = Trouble.UNREADABLE
                spoilt(key, field, error)
            else:
                if entry.received_at + entry.keep - now > stored.ttl_ms / 1000 + CLOCKS_APART:
                    entry = aged(entry, stored.ttl_ms, now)
                if entry.tags and entry.received_at <= max(gone(entry.tags), self._tagged(entry.tags)):
                    continue  # invalidated while it was read, or about to be removed
                if field in stored.stale:
                    entry = softened(entry, stored.stale[field], now)
                if now < entry.received_at + entry.keep and entry.received_at > invalid_before:
                    entries.append(entry)
        if stored.outlines and not stored.variants.keys() <= stored.outlines.keys():
            trouble = Trouble.UNREADABLE  # written by another release beside our index
        plain = len(entries) == 1 and not entries[0].selecting  # as ``arranged`` would find out
        return entries if plain else arranged(entries), trouble

    def explained(self, failure: Failure, key: bytes) -> Trouble:
        """What to say of a lookup that failed."""
        if failure.check(Unreadable):
            _log.warn("foreign value under {key} dropped", key=key.decode("latin-1"))
            self._drop(self._store.delete([key]))
        elif not failure.check(StoreError):
            _log.failure("lookup of {key} failed", failure, key=key.decode("latin-1"))
        return _trouble(failure.value)

    def deliver(self, read: StoreRead, stored: Stored | None = None) -> None:
        """Tell those who wait for ``read``, and the burst tier, which came of ``stored``."""
        entries = read.entries
        if entries and (len(entries) > 1 or entries[0].selecting or self._varying.known):
            self._varying.learn(read.key, entries)
        self._key_state.end_read(read)
        self.asked += 1
        if read.entries:
            self.found += 1
        for receiver in read.waiting:
            receiver(read)
        if stored is not None and read.entries and not read.kept and read.trouble is None and read.current:
            self._burst.put(read.key, read.entries, stored.ttl_ms, self._clock.seconds())
        read.close()

    def _drop(self, removal: Deferred[bool] | Deferred[set[bytes]]) -> None:
        removal.addErrback(lambda failure: failure.trap(StoreError))


def _sought(store: IStore, key: bytes, fields: Sequence[bytes], seeker: Seeker) -> None:
    """Look something up in a store that knows no way without a Deferred."""
    store.lookup(key, fields).addCallbacks(seeker.found, seeker.failed)


def _trouble(error: BaseException | None) -> Trouble:
    if isinstance(error, StoreUnavailable):
        return Trouble.OPEN
    return Trouble.UNREADABLE if isinstance(error, Unreadable) else Trouble.FAILED


def aged(entry: CacheEntry, ttl_ms: int, now: float) -> CacheEntry:
    """``entry`` no younger than the store says: it keeps no variant for longer than ``ttl_ms`` milliseconds from now.

    Where the entry's own dates promise more, the clock that dated it, or ours, has been set back since.
    """
    promised = entry.gone_at - now - ttl_ms / 1000
    if promised <= CLOCKS_APART:
        return entry
    return attrs.evolve(entry, received_at=entry.received_at - promised)


_known_outline = lru_cache(2048)(decode_outline)
"""Those of a key with many variants come with every lookup of it."""


def stored_entry(stored: Stored, field: bytes, key: bytes) -> CacheEntry:
    """The entry that the store has under ``field``, or its outline; CodecError where that is not what belongs there."""
    value, outline = stored.variants.get(field), stored.outlines.get(field)
    if value is None:
        entry = _known_outline(outline or b"", key)
    else:
        entry = decode(value, key)
        if outline is not None and outline != outline_in(value):
            raise CodecError("not what the index of its key speaks of")
    if (entry.variant or variant_of(entry)) != field:
        raise CodecError("stands in the place of another variant")
    return entry
