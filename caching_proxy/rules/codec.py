"""Entries as bytes, for stores outside this process.

Layout of a value, big-endian::

    magic (3) | version (1) | length of the outline (4) | outline | key | reason | head | selecting | tags | body

and of an outline, which stands in the index of its key as well::

    seal (16) | checksum (16) | fixed numbers | scope | variant | language | names | short head | asked

Tags, with their length (4), are what is left between the others and the body, whose length the outline tells: an
entry without any looks as it did before there were tags.

The checksum is BLAKE2b-128 over the value from the key on, the seal over the outline less the seal itself and
the key. So a value or outline that was cut, damaged, or copied to another key or variant is refused, and so is a
value that is not the one that the index speaks of. This guards against accidents, not against somebody who can
write to the store; even a forged value can do no more than fail to decode or give a wrong entry for its own key.

Versions: magic and version byte keep their places for ever. A change of the rest gets the next number, and its own
decoder beside the old ones as long as entries written by those can be alive and are worth reading. A number that this
program does not know raises :class:`UnknownVersion`: with old and new proxies on one store it is a miss to leave
alone rather than damage to delete. Version 1 had no outline.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from struct import Struct
from struct import error as StructError
from typing import Any, NoReturn

from caching_proxy.rules.entry import Asked, CacheEntry, Flag, Selecting
from caching_proxy.rules.tags import Tags, joined, split
from caching_proxy.rules.variance import language_of, names_of, outline_of, variant_of

MAGIC = b"\xc5CP"
VERSION = 2

PREAMBLE = MAGIC + bytes((VERSION,))
"""What values and indexes of the newest version begin with."""

_LENGTH = Struct("!I")
_VERSIONED = len(PREAMBLE)
_START = _VERSIONED + _LENGTH.size
_SUM = 16
# status, received_at, initial_age, lifetime, stale_while_revalidate, stale_if_error, keep, flags, part (first, total);
# length of the body; lengths of scope, variant, language, names, short head and the names asked with; number of values
_FACTS = Struct("!HdqqqqqIqqQHHHHIIH")
# lengths of key, reason and head; number of selecting fields
_CONTENT = Struct("!IIIH")
_CONTENT_SIZE = _CONTENT.size
_SELECTING = Struct("!HI")
_FLAGS = tuple(map(Flag, range(2 ** len(Flag))))
_ABSENT = 0xFFFFFFFF  # length of something that was not there
_NONE = -1  # in the numbers of ``part``


class CodecError(ValueError):
    """These bytes are not what ``encode`` wrote for this key."""


class UnknownVersion(CodecError):
    """Intact to all appearance, but written by another version of the program."""


def encode(entry: CacheEntry) -> bytes:
    """``entry`` in the newest version; CodecError where a number does not fit."""
    try:
        content = _content(entry)
        checksum = blake2b(content, digest_size=_SUM)
        checksum.update(entry.body)
        facts = checksum.digest() + _facts(entry)
    except StructError as error:
        raise CodecError(f"entry cannot be encoded: {error}") from error
    outline = blake2b(facts + entry.key, digest_size=_SUM).digest() + facts
    return b"".join((PREAMBLE, _LENGTH.pack(len(outline)), outline, content, entry.body))


def outline_in(value: bytes) -> bytes:
    """The outline as it stands in ``value``, unchecked; empty where there is none.

    For a value of another version it is what tells so.
    """
    if len(value) < _START or not value.startswith(PREAMBLE):
        return value[: len(PREAMBLE)] if value.startswith(MAGIC) else b""
    return value[_START : _START + _LENGTH.unpack_from(value, len(PREAMBLE))[0]]


def decode(value: bytes, key: bytes) -> CacheEntry:
    """The entry that was encoded into ``value`` for ``key``; CodecError, and nothing else, for any other bytes."""
    selecting: Selecting = ()
    tags: Tags = ()
    size = len(value)
    if size < _START or value[:_VERSIONED] != PREAMBLE:
        _refuse(value)
    try:
        start = _START + _LENGTH.unpack_from(value, _VERSIONED)[0]
        outline = value[_START:start]
        checksum = blake2b(memoryview(value)[start:], digest_size=_SUM).digest()
        if size < start or checksum != outline[_SUM : 2 * _SUM]:
            raise CodecError("checksum differs")
        key_size, reason_size, head_size, selecting_count = _CONTENT.unpack_from(value, start)
        key_at = start + _CONTENT_SIZE
        reason_at = key_at + key_size
        if value[key_at:reason_at] != key:
            raise CodecError("written for another key")
        if outline[:_SUM] != blake2b(outline[_SUM:] + key, digest_size=_SUM).digest():
            raise CodecError("seal differs")
        facts = _FACTS.unpack_from(outline, 2 * _SUM)
        head_at = reason_at + reason_size
        at = head_end = head_at + head_size
        body_at = size - facts[_MISSING]
        if selecting_count:
            selecting, at = _selecting(value, at, selecting_count)
        if body_at < at:
            raise CodecError("lengths do not add up")
        if body_at > at:
            tags = _tags(value, at, body_at)
        rest = value[reason_at:head_at], value[head_at:head_end], selecting, tags, value[body_at:]
        return _entry(outline, key, facts, rest)
    except StructError as error:
        raise CodecError("too short for what it says to hold") from error


def decode_outline(outline: bytes, key: bytes) -> CacheEntry:
    """The outline of an entry for ``key``; CodecError, and nothing else, for bytes that are none."""
    try:
        return _entry(outline, key, _facts_in(outline, key), None)
    except StructError as error:
        raise CodecError("too short for what it says to hold") from error


def _facts_in(outline: bytes, key: bytes) -> tuple[Any, ...]:
    """The fixed numbers of an outline that is sealed for ``key``."""
    if len(outline) == _VERSIONED and outline.startswith(MAGIC):
        raise UnknownVersion(f"version {outline[-1]}")
    if outline[:_SUM] != blake2b(outline[_SUM:] + key, digest_size=_SUM).digest():
        raise CodecError("seal differs")
    return _FACTS.unpack_from(outline, 2 * _SUM)


def _refuse(value: bytes) -> NoReturn:
    """Say why ``value`` is none of this version."""
    if len(value) < _START or not value.startswith(MAGIC):
        raise CodecError("not an encoded entry")
    raise UnknownVersion(f"version {value[len(MAGIC)]}")


# -- writing -------------------------------------------------------------------------------------


def _facts(entry: CacheEntry) -> bytes:
    first, total = entry.part if entry.part is not None else (_NONE, None)
    names = language = head = b""
    if entry.selecting or entry.scope or entry.part is not None:
        names, language = b",".join(names_of(entry)), language_of(entry)
        head = outline_of(entry).head
    variant, asked = entry.variant or variant_of(entry), entry.asked
    numbers = _FACTS.pack(
        entry.status,
        entry.received_at,
        entry.initial_age,
        entry.lifetime,
        entry.stale_while_revalidate,
        entry.stale_if_error,
        entry.keep,
        entry.flags,
        first,
        _NONE if total is None else total,
        len(entry.body),
        len(entry.scope),
        len(variant),
        len(language),
        len(names),
        len(head),
        _ABSENT if asked is None else len(asked.names),
        0 if asked is None else len(asked.values),
    )
    facts = b"".join((numbers, entry.scope, variant, language, names, head, b"" if asked is None else asked.names))
    return facts if asked is None or not asked.values else facts + _pairs(asked.values)


def _content(entry: CacheEntry) -> bytes:
    numbers = _CONTENT.pack(len(entry.key), len(entry.reason), len(entry.head), len(entry.selecting))
    content = b"".join((numbers, entry.key, entry.reason, entry.head))
    if entry.selecting:
        content += _pairs(entry.selecting)
    if entry.tags:
        tags = joined(entry.tags)
        content = b"".join((content, _LENGTH.pack(len(tags)), tags))
    return content


def _pairs(pairs: Selecting) -> bytes:
    parts: list[bytes] = []
    for name, value in pairs:
        parts += (_SELECTING.pack(len(name), _ABSENT if value is None else len(value)), name, value or b"")
    return b"".join(parts)


# -- reading -------------------------------------------------------------------------------------


_Rest = tuple[bytes, bytes, Selecting, Tags, bytes]
"""What a value adds to its outline: reason, head, selecting fields, tags, body."""

_MISSING = 10  # which of the facts says how long the body is


def _entry(outline: bytes, key: bytes, facts: tuple[Any, ...], rest: _Rest | None) -> CacheEntry:
    """The entry with the rest of it, or without: an outline."""
    (
        status, received_at, initial_age, lifetime, while_revalidate, if_error, keep, flags, first, total,
        missing, scope_size, variant_size, language_size, names_size, head_size, asked_size, asked_count,
    ) = facts  # fmt: skip
    scope_at = 2 * _SUM + _FACTS.size
    variant_at = scope_at + scope_size
    language_at = variant_at + variant_size
    names_at = language_at + language_size
    head_at = names_at + names_size
    asked_at = head_at + head_size
    asked, end = None, asked_at
    if asked_size != _ABSENT:
        end = asked_at + asked_size
        asked = _names_only(outline[asked_at:end])
        if asked_count:
            values, end = _selecting(outline, end, asked_count)
            asked = Asked(asked.names, values)
    if end != len(outline):
        raise CodecError("lengths do not add up")
    if not isfinite(received_at):
        raise CodecError("no time")
    if rest is None:
        names = outline[names_at:head_at]
        selecting: Selecting = tuple([(name, None) for name in names.split(b",")]) if names else ()
        rest = (b"", outline[head_at:asked_at], selecting, (), b"")
    else:
        missing = None
    reason, head, selecting, tags, body = rest
    known = _FLAGS[flags] if flags < len(_FLAGS) else Flag(flags)
    part = None if first == _NONE else (first, None if total == _NONE else total)
    entry = CacheEntry(
        key, status, reason, head, body, received_at, initial_age, lifetime, while_revalidate, if_error, keep, known,
        selecting, part, outline[scope_at:variant_at], asked, missing, tags,
    )  # fmt: skip
    entry.variant = outline[variant_at:language_at]  # type: ignore[misc]  # as keep_identifiers does, for less
    entry.language = outline[language_at:names_at]  # type: ignore[misc]
    return entry


def _tags(value: bytes, at: int, end: int) -> Tags:
    """Those that stand between ``at`` and ``end``."""
    start = at + _LENGTH.size
    if start + _LENGTH.unpack_from(value, at)[0] != end:
        raise CodecError("lengths do not add up")
    return split(value[start:end])


_names_only = lru_cache(256)(Asked)


def _selecting(data: bytes, at: int, count: int) -> tuple[Selecting, int]:
    """So many names with values from ``at`` on, and where they end."""
    fields: list[tuple[bytes, bytes | None]] = []
    for _ in range(count):
        name_size, value_size = _SELECTING.unpack_from(data, at)
        name_at = at + _SELECTING.size
        at = name_at + name_size
        name = data[name_at:at]
        if value_size == _ABSENT:
            fields.append((name, None))
        else:
            fields.append((name, data[at : at + value_size]))
            at += value_size
    return tuple(fields), at
