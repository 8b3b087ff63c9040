"""All that is stored for one key, arranged so that finding what a request selects is a look into a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.scope import View
from caching_proxy.rules.variance import (
    Names,
    equals_own,
    language_asked,
    language_of,
    names_of,
    variant_asked,
    variant_of,
    whole_of,
)


class _Scope:
    """The variants of one scope: by identifier, by language, and those without ``Vary``."""

    __slots__ = ("by_language", "by_variant", "names", "plain")

    def __init__(self) -> None:
        self.by_variant: dict[bytes, list[CacheEntry]] = {}
        self.by_language: dict[bytes, list[CacheEntry]] = {}
        self.plain: list[CacheEntry] = []
        self.names: dict[Names, None] = {}

    def add(self, entry: CacheEntry) -> None:
        if not entry.selecting:
            self.plain.append(entry)
            return
        self.names[names_of(entry)] = None
        self.by_variant.setdefault(whole_of(variant_of(entry)), []).append(entry)
        language = language_of(entry)
        if language:
            self.by_language.setdefault(language, []).append(entry)

    def varying(self, fields: Fields, scope: bytes) -> list[CacheEntry]:
        """Those with ``Vary`` that a request selects, each judged by its own."""
        found: dict[int, CacheEntry] = {}
        for names in self.names:
            for entry in self.by_variant.get(variant_asked(fields, names, scope), ()):
                found[id(entry)] = entry
            if self.by_language:
                for entry in self.by_language.get(language_asked(fields, names, scope) or b"", ()):
                    found[id(entry)] = entry
        return list(found.values())

    def without_vary(self, fields: Fields) -> list[CacheEntry]:
        """Those without ``Vary`` that may answer: if others vary, only for a request equal to their own in that."""
        if not self.names or not self.plain:
            return self.plain
        concerned = {name for names in self.names for name in names}
        return [entry for entry in self.plain if equals_own(entry.asked, fields, concerned)]


class Variants(Sequence[CacheEntry]):
    """The variants of a key; the arrangement is made when it is first needed."""

    __slots__ = ("_entries", "_scopes")

    def __init__(self, entries: Iterable[CacheEntry]) -> None:
        self._entries = tuple(entries)
        self._scopes: dict[bytes, _Scope] | None = None

    def matching(self, fields: Fields, view: View) -> list[CacheEntry]:
        """The responses that a request with ``fields`` selects; those without ``Vary`` only where no other does."""
        scope = self._arranged().get(view.scope)
        if scope is None:
            return []
        found = _seen(view, scope.varying(fields, view.scope)) if scope.names else []
        return found or _seen(view, scope.without_vary(fields))

    def within(self, view: View) -> list[CacheEntry]:
        """Everything that requests with ``view`` could select."""
        return _seen(view, [entry for entry in self._entries if entry.scope == view.scope])

    def names(self, scope: bytes) -> list[Names]:
        """What the ``Vary`` of the responses in a scope name, each set once."""
        arranged = self._arranged().get(scope)
        return [] if arranged is None else list(arranged.names)

    def _arranged(self) -> dict[bytes, _Scope]:
        scopes = self._scopes
        if scopes is None:
            scopes = self._scopes = {}
            for entry in self._entries:
                scopes.setdefault(entry.scope, _Scope()).add(entry)
        return scopes

    @overload
    def __getitem__(self, at: int) -> CacheEntry: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[CacheEntry]: ...

    def __getitem__(self, at: int | slice) -> CacheEntry | Sequence[CacheEntry]:
        return self._entries[at]

    def __iter__(self) -> Iterator[CacheEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _seen(view: View, entries: list[CacheEntry]) -> list[CacheEntry]:
    """RFC 9111 §3.5: with credentials of its own a request gets only what everybody may share."""
    if not view.credentials:
        return entries
    return [entry for entry in entries if Flag.SHARED in entry.flags]
