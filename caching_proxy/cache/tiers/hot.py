"""The hot tier: the entries read most recently, in process memory.

Bounded in variants and in bytes, keys and heads included. An entry leaves when the tier's own TTL, counted from
when it was put, or the entry's own end comes; reading neither extends the one nor the other.

A record knows every variant of its key that the store has: with some of them alone the wrong one might be chosen
(RFC 9111 §4.1). Of those that were not read lately, or are too many bytes for one key, it has an outline.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from math import inf

from caching_proxy.cache.tiers.forms import Forms, Name
from caching_proxy.cache.tiers.renderings import Shown
from caching_proxy.cache.tiers.sweeper import Sweep
from caching_proxy.cache.tiers.target_index import NAMED_BY_ROLE, ByTarget
from caching_proxy.cache.tiers.variants import arranged, field_name
from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.encodings import ACCEPT_ENCODING
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.rules.tag_index import ByTag
from caching_proxy.rules.variance import outline_of

OVERHEAD = 700
"""Bytes that an entry costs beside its key, head and body (objects, dictionary slots), as measured."""

CHOICES = 16
"""Combinations of the fields that ``Vary`` names for which a generation of a record remembers what answers them."""

_NO_FORMS: dict[Name, CacheEntry | None] = {}  # shared and never written to, likewise
_UNTAGGED: frozenset[bytes] = frozenset()
_NONE: Memo[object, Shown] = Memo(0)  # keeps nothing, and is shared: most records are never asked for twice


class HotRecord:
    """All variants of one key, and room for what the hot path keeps with them.

    ``rendered_at`` is for the hot path as well: the age at which it last made an answer, -1 before. ``named`` are the
    fields that a ``Vary`` among the variants names: what else a request says makes no difference to which is chosen.
    ``shown`` is what answers where nothing a request says makes any. ``forms`` are made of entries by compression.
    """

    __slots__ = (
        "entries",
        "expires_at",
        "forms",
        "named",
        "renderings",
        "rendered_at",
        "shown",
        "size",
        "tags",
        "whole",
    )

    def __init__(self, entries: Sequence[CacheEntry], expires_at: float) -> None:
        self.entries = entries
        self.expires_at = expires_at
        self.size = OVERHEAD * len(entries)
        self.whole = 0
        self.named = named_by(entries) if len(entries) > 1 or entries[0].selecting else ()
        self.forms = _NO_FORMS
        self.tags: frozenset[bytes] = _UNTAGGED
        for entry in entries:
            if entry.selecting or entry.tags:
                self.size += entry.weight
            else:  # the same, at a frame less
                self.size += len(entry.key) + len(entry.head) + len(entry.body)
            if entry.tags:
                self.tags = self.tags.union(entry.tags)
            if entry.missing is None:
                self.whole += 1
        self.renderings = _NONE
        self.rendered_at = -1
        self.shown: Shown | None = None

    def remember(self, name: object, shown: Shown) -> None:
        """Put ``shown`` into ``renderings``."""
        if self.renderings is _NONE:
            self.renderings = Memo(CHOICES)
        self.renderings.keep(name, shown)


def named_by(entries: Sequence[CacheEntry]) -> tuple[bytes, ...]:
    """The fields that a ``Vary`` among ``entries`` names, sorted."""
    if len(entries) == 1 and not entries[0].selecting:
        return ()
    return tuple(sorted({name for entry in entries for name, _ in entry.selecting}))


class HotTier:
    """An LRU of :class:`HotRecord` by key. Times are POSIX seconds, sizes bytes; ``ttl`` is in seconds.

    ``max_variants`` and ``max_variant_bytes`` bound what is held of one key.
    """

    def __init__(
        self,
        max_entries: int,
        max_bytes: int,
        ttl: float,
        max_variants: int = MAX_VARIANTS,
        max_variant_bytes: int = MAX_VARIANT_BYTES,
    ) -> None:
        self.records: OrderedDict[bytes, HotRecord] = OrderedDict()
        """By key, those among them that may not be used any more; not to be written to from outside."""
        self._targets = ByTarget(self.records)
        self._tags = ByTag()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._max_variants = max_variants
        self._max_variant_bytes = min(max_bytes, max_variant_bytes)
        self.sweeps: Sequence[Sweep] = ()
        self.compression: Forms | None = None
        self.entries = 0
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def get(self, key: bytes, now: float) -> HotRecord | None:
        """The record of ``key`` if it may still be used; makes it the most recent. Counting is up to the caller."""
        record = self.records.get(key)
        if record is None:
            return None
        if now >= record.expires_at or (self.sweeps and self._swept(key)):
            self._remove(key)
            return None
        self.records.move_to_end(key)
        return record

    def peek(self, key: bytes, now: float) -> HotRecord | None:
        """What :meth:`get` would give; does not count as reading it, and changes nothing."""
        record = self.records.get(key)
        if record is None or now >= record.expires_at or any(sweep.covers(key) for sweep in self.sweeps):
            return None
        return record

    def holds(self, key: bytes, now: float) -> bool:
        """Whether there is a record of ``key``; does not count as reading it."""
        record = self.records.get(key)
        return record is not None and now < record.expires_at and not (self.sweeps and self._swept(key))

    def put(self, entry: CacheEntry, now: float) -> None:
        """Add one variant; of the others of its key, those it replaces or that have ended go."""
        self.update(entry.key, (entry,), (), (), now)

    def update(
        self,
        key: bytes,
        put: Collection[CacheEntry],
        gone: Collection[CacheEntry],
        known: Collection[CacheEntry],
        now: float,
    ) -> None:
        """Take the variants ``gone`` out of ``key`` and put others in or in place.

        ``known`` are the variants that the store has, for when nothing is here. A record keeps its end while any
        variant of it stays.
        """
        old = self.records.get(key)
        if old is not None and self.sweeps and self._swept(key):
            self._remove(key)
            old = None
        if old is None and not known:
            self.put_all(key, put, now)
            return
        ends = inf
        if old is not None and now < old.expires_at:
            known, ends = old.entries, old.expires_at
        names = {field_name(entry) for entry in (*put, *gone)}
        kept = [entry for entry in known if now < entry.gone_at and field_name(entry) not in names]
        self.put_all(key, [*kept, *put], now, ends if kept else inf)

    def put_all(self, key: bytes, entries: Iterable[CacheEntry], now: float, ends: float = inf) -> bool:
        """Make ``entries`` the only variants of ``key``, until ``ends`` at the latest, if they fit; whether they do."""
        if key in self.records:
            self._remove(key)
        for sweep in self.sweeps:
            sweep.spared.add(key)
        kept = tuple(entries)
        if len(kept) > 1:
            kept = self._bounded(kept)
        if not kept or self._max_entries <= 0:
            return False
        ends = min(ends, now + self._ttl)
        for entry in kept:
            gone_at = entry.received_at + entry.keep
            if gone_at < ends:
                ends = gone_at
        record = HotRecord(arranged(kept) if len(kept) > 1 or kept[0].selecting else kept, ends)
        if self.compression is not None and any(map(self.compression.negotiates, kept)):
            record.named = tuple(sorted({*record.named, ACCEPT_ENCODING}))
        if record.size > self._max_bytes or now >= record.expires_at:
            return False
        self.records[key] = record
        if not key.startswith(NAMED_BY_ROLE):
            self._targets.add(key)
        if record.tags:
            self._tags.add(key, record.tags)
        self.entries += record.whole
        self.bytes += record.size
        if self.entries > self._max_entries or self.bytes > self._max_bytes:
            self._make_room()
        return True

    def _make_room(self) -> None:
        while self.entries > self._max_entries or self.bytes > self._max_bytes:
            key, record = self.records.popitem(last=False)
            self._forget(key, record)
            self.evictions += 1

    def _bounded(self, entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
        """``entries`` as far as one key may have them; the first ones give up their bodies first."""
        kept = list(entries[-self._max_variants :])
        most = min(len(kept), self._max_entries)
        whole = sum(entry.missing is None for entry in kept)
        size = sum(entry.weight for entry in kept)
        for at, entry in enumerate(kept[:-1]):
            if size <= self._max_variant_bytes - OVERHEAD * len(kept) and whole <= most:
                break
            if entry.missing is None:
                kept[at] = outline_of(entry)
                size += kept[at].weight - entry.weight
                whole -= 1
        return tuple(kept)

    def form(self, head: RequestHead, entry: CacheEntry, key: bytes, record: HotRecord) -> tuple[CacheEntry, bool]:
        """What answers ``head`` of an ``entry`` of ``record``, compressed or not, and whether that stays so."""
        if self.compression is None or ACCEPT_ENCODING not in record.named:
            return entry, True
        if record.forms is _NO_FORMS:
            record.forms = {}
        return self.compression.form(head, entry, record.forms, partial(self._keep_form, key, record))

    def _keep_form(self, key: bytes, record: HotRecord, name: Name, form: CacheEntry | None) -> None:
        """Keep ``form`` if there is room for it; what is gone by now needs none."""
        if self.records.get(key) is not record:
            return
        size = OVERHEAD
        if form is not None:
            size += len(form.head) + (len(form.body) if name[1] else 0)
        if record.size + size > self._max_bytes:
            form, size = None, OVERHEAD
        record.forms[name] = form
        record.size += size
        self.bytes += size
        self._make_room()

    def remove(self, key: bytes) -> bool:
        """Drop ``key``; whether it was here."""
        return self._remove(key)

    def all_keys(self) -> list[bytes]:
        """Every key, those among them that may not be used any more."""
        return list(self.records)

    def remove_target(self, target: bytes) -> list[bytes]:
        """Drop every key of ``target``, whatever its role; the keys that were here."""
        gone = self._targets.of(target)
        for key in gone:
            self._remove(key)
        return gone

    def take_tagged(self, tags: Iterable[bytes]) -> set[bytes]:
        """The same for a caller who removes all of them: they are not found by these tags any more."""
        return self._tags.take(tags)

    def tagged(self, tags: Iterable[bytes]) -> set[bytes]:
        """The keys with a variant that carries one of ``tags``."""
        return set().union(*map(self._tags.of, tags))

    def keys(self, now: float) -> list[bytes]:
        """Keys that may still be used."""
        return [key for key in list(self.records) if self.holds(key, now)]

    def clear(self) -> None:
        """Forget everything."""
        self.records.clear()
        self._targets.clear()
        self._tags.clear()
        self.entries = self.bytes = 0

    def _swept(self, key: bytes) -> bool:
        """Whether a sweep under way covers what is here for ``key``; each that does is told."""
        return sum(sweep.takes(key) for sweep in self.sweeps) > 0

    def _remove(self, key: bytes) -> bool:
        record = self.records.pop(key, None)
        if record is None:
            return False
        self._forget(key, record)
        return True

    def _forget(self, key: bytes, record: HotRecord) -> None:
        if not key.startswith(NAMED_BY_ROLE):
            self._targets.discard(key)
        if record.tags:
            self._tags.discard(key, record.tags)
        self.entries -= record.whole
        self.bytes -= record.size
