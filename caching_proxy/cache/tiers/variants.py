"""The variants of a key: what each is called, which of two copies is the later one, and which to ask the store for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.variance import PLAIN_VARIANT, Names, names_of, part_of, variant_asked, variant_of
from caching_proxy.rules.variants import Variants

field_name = variant_of
"""The field of the key's hash under which an entry is stored: its variant, parts apart from the whole."""


def arranged(entries: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
    """``entries`` as they are looked into: the arrangement is kept where it is worth anything."""
    if not entries or (len(entries) == 1 and not entries[0].selecting):
        return entries
    return entries if isinstance(entries, Variants) else Variants(entries)


def latest_of_each(nearby: Iterable[CacheEntry], stored: Sequence[CacheEntry]) -> Sequence[CacheEntry]:
    """Both tiers' variants; where both have one, the later. A write to the store may still be under way.

    Those that were read now come last, outlines first: what has to leave a tier leaves at the front.
    """
    nearby = tuple(nearby)
    if not nearby:
        return stored
    merged: dict[bytes, CacheEntry] = {}
    for entry in (*nearby, *stored):
        name = field_name(entry)
        other = merged.pop(name, None)
        merged[name] = entry if other is None or _rank(entry) >= _rank(other) else other
    return arranged(sorted(merged.values(), key=_is_whole))


def _is_whole(entry: CacheEntry) -> bool:
    return entry.missing is None


def _rank(entry: CacheEntry) -> tuple[float, int, bool]:
    """Later receipt first; of one receipt the copy that was cut short since (a HEAD outdated it); one with a body."""
    return entry.received_at, -entry.lifetime, entry.missing is None


_ONLY_PLAIN: tuple[Names, ...] = ((),)
PLAIN_GUESS: tuple[bytes, ...] = (PLAIN_VARIANT,)
"""What is asked for where no field of a request matters."""


class VaryNames:
    """What ``Vary`` has named lately: a bounded memory by which to guess, before anything is read, which variant of a
    key a request selects.

    ``keys`` is how many keys it remembers for themselves. ``worth`` are the names that responses have varied by: empty
    while nothing has varied.
    """

    KINDS = 4
    """Different sets of names that are tried for one key."""

    MAX_WORTH = 32

    def __init__(self, keys: int = 10_000) -> None:
        self._by_key: OrderedDict[bytes, tuple[Names, ...]] = OrderedDict()
        self._recent = _ONLY_PLAIN
        self._limit = keys
        self.known = self._by_key.keys()
        """Those that it remembers for themselves."""
        self.worth: dict[bytes, None] = {}

    def none_known(self, key: bytes) -> bool:
        """Whether no field of a request matters to what is asked for, but for ``Range`` and what makes a scope."""
        return ((self._by_key and self._by_key.get(key)) or self._recent) is _ONLY_PLAIN

    def guess(self, key: bytes, fields: Fields, scope: bytes) -> tuple[bytes, ...]:
        """The variants to ask for: of a key that is not known, those that others like it would have."""
        sets = (self._by_key and self._by_key.get(key)) or self._recent
        if sets is _ONLY_PLAIN and not scope and b"range" not in fields.index:
            return PLAIN_GUESS
        guesses = [variant_asked(fields, names, scope) for names in sets]
        if b"range" in fields.index:
            guesses += [part_of(guess) for guess in guesses]
        return tuple(dict.fromkeys(guesses))

    def selected(self, key: bytes, fields: Fields, scope: bytes) -> tuple[bytes, ...]:
        """What tells requests for ``key`` apart as far as is known of this very key; empty where nothing is."""
        sets = self._by_key.get(key)
        if sets is None:
            return (scope,) if scope else ()
        return tuple([variant_asked(fields, names, scope) for names in sets])

    def learn(self, key: bytes, entries: Sequence[CacheEntry]) -> None:
        """Remember by what the variants of ``key`` differ."""
        if len(entries) == 1 and not entries[0].selecting:
            if self._by_key:
                self._by_key.pop(key, None)
            return
        kinds = dict.fromkeys(map(names_of, entries))
        if kinds:
            self._remember(key, kinds)

    def add(self, entry: CacheEntry) -> None:
        """Another variant was stored."""
        if entry.selecting:
            self._remember(entry.key, {names_of(entry): None, **dict.fromkeys(self._by_key.get(entry.key, ()))})

    def __len__(self) -> int:
        return len(self._by_key)

    def _remember(self, key: bytes, kinds: dict[Names, None]) -> None:
        self._by_key[key] = sets = tuple(kinds)[: self.KINDS]
        self._by_key.move_to_end(key)
        if len(self._by_key) > self._limit:
            self._by_key.popitem(last=False)
        latest = sets[0] or (sets[1] if len(sets) > 1 else ())
        if latest and latest not in self._recent[:2]:
            others = [names for names in self._recent if names and names != latest]
            self._recent = ((), latest, *others)[: self.KINDS]
        for names in sets:
            for name in names:
                if name not in self.worth:
                    self._note(name)

    def _note(self, name: bytes) -> None:
        if len(self.worth) >= self.MAX_WORTH:
            del self.worth[next(iter(self.worth))]
        self.worth[name] = None
