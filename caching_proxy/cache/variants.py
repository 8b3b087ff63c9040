"""The variants of a key: what each is called, and which of two copies is the later one."""

from __future__ import annotations

from collections.abc import Iterable

from caching_proxy.core.entry import CacheEntry, Flag
from caching_proxy.core.variance import variant_id


def field_name(entry: CacheEntry) -> bytes:
    """The field of the key's hash under which ``entry`` is stored: its variant, parts apart from the whole."""
    flags = entry.flags
    return variant_id(entry.selecting, bool(flags) and Flag.PARTIAL in flags)  # to ask an IntFlag costs; most have none


def latest_of_each(nearby: Iterable[CacheEntry], stored: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
    """Both tiers' variants; where both have one, the later. A write to the store may still be under way."""
    nearby = tuple(nearby)
    if not nearby:
        return stored
    merged = {field_name(entry): entry for entry in stored}
    for entry in nearby:
        other = merged.setdefault(field_name(entry), entry)
        if other is not entry and _rank(entry) > _rank(other):
            merged[field_name(entry)] = entry
    return tuple(merged.values())


def _rank(entry: CacheEntry) -> tuple[float, int]:
    """Later receipt first; of one receipt the copy that was cut short since (a HEAD outdated it)."""
    return entry.received_at, -entry.lifetime
