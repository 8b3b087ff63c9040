"""The order of invalidations on one store, and which of them a proxy has yet to apply.

The store numbers them and remembers the last ones. A *mark* names one: its number, a colon, and a word that nobody
uses twice, so that a number that is given once more, after a failover that lost the first, is not taken for the same.
An *entry* of the ledger is a mark, a blank, and the message. What is published has the mark before in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from caching_proxy.rules.bus_message import EVERYTHING, Invalidation, decode

UNKNOWN = b""
"""The mark of a proxy that has applied nothing yet: it stands for no number, and no ledger has it."""

LEDGER_LENGTH = 1000
"""Invalidations that a ledger remembers."""

MAX_PATTERNS = 50
"""Patterns that are applied one by one when many invalidations were missed; more are taken for everything."""

MAX_ENTRY_BYTES = 8192
"""A longer message is remembered as an invalidation of everything."""


@attrs.frozen(slots=True)
class Entry:
    """One invalidation, in its place: ``mark`` is its own, ``previous`` that of the one before, empty if that is not
    told; ``origin`` is who made it."""

    mark: bytes
    origin: bytes
    invalidation: Invalidation
    previous: bytes = UNKNOWN


def number_of(mark: bytes) -> int:
    """The number in ``mark``; -1 if there is none."""
    digits = mark.partition(b":")[0]
    return int(digits) if digits.isdigit() and len(digits) < 20 else -1


def published(payload: bytes) -> Entry:
    """What was published. What cannot be read, perhaps of another release, is everything, in no place."""
    words = payload.split(b" ", 2)
    if len(words) == 3 and number_of(words[1]) >= 0:
        origin, invalidation = decode(words[2])
        return Entry(words[1], origin, invalidation, words[0])
    if payload.startswith(b"{"):  # a release without numbers
        return Entry(UNKNOWN, *decode(payload))
    return Entry(UNKNOWN, b"", EVERYTHING)


def missed(known: bytes, newest: bytes, log: Sequence[bytes | None]) -> tuple[Entry, ...] | None:
    """What to apply after ``known`` to be where the ledger is; None if nobody can tell: then nothing is to be trusted.

    ``log`` are the ledger's entries from that of ``known`` on up to that of ``newest``, None where there is none.
    That of ``known`` shows that this is the ledger we knew, and not one that lost, or never had, what we applied.
    """
    if known == newest:
        return ()
    first = number_of(known)
    if first < 0 or number_of(newest) - first + 1 != len(log) or len(log) < 2:
        return None
    entries = []
    for number, written in enumerate(log, first):
        mark, blank, message = (written or b"").partition(b" ")
        if not blank or number_of(mark) != number:
            return None
        entries.append(Entry(mark, *decode(message)) if number > first else Entry(mark, b"", EVERYTHING))
    return tuple(entries[1:]) if entries[0].mark == known and entries[-1].mark == newest else None


def merged(invalidations: Iterable[Invalidation]) -> Invalidation:
    """One that covers what all of these do, perhaps more: to apply a thousand patterns one after another takes long."""
    targets, keys, patterns, tags = dict[bytes, None](), dict[bytes, None](), dict[bytes, None](), dict[bytes, None]()
    for each in invalidations:
        targets.update(dict.fromkeys(each.targets))
        keys.update(dict.fromkeys(each.keys))
        patterns.update(dict.fromkeys(each.patterns))
        tags.update(dict.fromkeys(each.tags))
    if len(patterns) > MAX_PATTERNS:
        return EVERYTHING
    return Invalidation(tuple(targets), tuple(keys), tuple(patterns), tuple(tags))
