"""Entries as bytes, for stores outside this process.

Layout, big-endian::

    magic (3) | version (1) | checksum (16) | fixed numbers | key | reason | head | selecting | body

The checksum is BLAKE2b-128 over everything but itself, the full key included, so a value that was cut, damaged, or
copied to another key is refused. It guards against accidents, not against somebody who can write to the store; even
a forged value can do no more than fail to decode or give a wrong entry for its own key.

Versions: magic, version byte and checksum keep their places for ever. A change of the rest gets the next number, its
own ``_decode_vN`` beside the old ones in ``_DECODERS``, and ``encode`` writes only the newest; an old decoder goes
when no entry written by it can still be alive. A number that this program does not know raises
:class:`UnknownVersion`: with old and new proxies on one store it is a miss to leave alone rather than damage to delete.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import isfinite
from struct import Struct
from struct import error as StructError

from caching_proxy.core.entry import CacheEntry, Flag, Selecting

MAGIC = b"\xc5CP"
VERSION = 1
_VERSION = bytes((VERSION,))

_PREAMBLE = len(MAGIC) + 1
_START = _PREAMBLE + 16
# status, received_at, initial_age, lifetime, stale_while_revalidate, stale_if_error, keep, flags, part (first, total);
# lengths of key, reason, head and body; number of selecting fields
_FIXED = Struct("!HdqqqqqIqqIIIQH")
_SELECTING = Struct("!HI")
_FLAGS = tuple(map(Flag, range(2 ** len(Flag))))
_ABSENT = 0xFFFFFFFF  # length of a selecting value that was not there
_NONE = -1  # in the numbers of ``part``


class CodecError(ValueError):
    """These bytes are not what ``encode`` wrote for this key."""


class UnknownVersion(CodecError):
    """Intact to all appearance, but written by another version of the program."""


def encode(entry: CacheEntry) -> bytes:
    """``entry`` in the newest version; CodecError where a number does not fit."""
    try:
        content = b"".join(_parts(entry))
    except StructError as error:
        raise CodecError(f"entry cannot be encoded: {error}") from error
    checksum = _BEGUN[VERSION].copy()
    checksum.update(content)
    checksum.update(entry.body)
    return b"".join((MAGIC, _VERSION, checksum.digest(), content, entry.body))


def decode(data: bytes, key: bytes) -> CacheEntry:
    """The entry that was encoded into ``data`` for ``key``; CodecError, and nothing else, for any other bytes."""
    if len(data) < _START or not data.startswith(MAGIC):
        raise CodecError("not an encoded entry")
    version = data[_PREAMBLE - 1]
    decoder = _DECODERS.get(version)
    if decoder is None:
        raise UnknownVersion(f"version {version}")
    checksum = _BEGUN[version].copy()
    checksum.update(memoryview(data)[_START:])
    if checksum.digest() != data[_PREAMBLE:_START]:
        raise CodecError("checksum differs")
    try:
        return decoder(data, key)
    except StructError as error:
        raise CodecError("too short for what it says to hold") from error


def _parts(entry: CacheEntry) -> list[bytes]:
    first, total = entry.part if entry.part is not None else (_NONE, None)
    numbers = _FIXED.pack(
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
        len(entry.key),
        len(entry.reason),
        len(entry.head),
        len(entry.body),
        len(entry.selecting),
    )
    parts = [numbers, entry.key, entry.reason, entry.head]
    for name, value in entry.selecting:
        parts += (_SELECTING.pack(len(name), _ABSENT if value is None else len(value)), name, value or b"")
    return parts


def _decode_v1(data: bytes, key: bytes) -> CacheEntry:
    (
        status, received_at, initial_age, lifetime, while_revalidate, if_error, keep, flags, first, total,
        key_size, reason_size, head_size, body_size, count,
    ) = _FIXED.unpack_from(data, _START)  # fmt: skip
    key_at = _START + _FIXED.size
    reason_at = key_at + key_size
    head_at = reason_at + reason_size
    head_end = head_at + head_size
    if data[key_at:reason_at] != key:
        raise CodecError("written for another key")
    selecting, body_at = _selecting(data, head_end, count)
    if body_at + body_size != len(data):
        raise CodecError("lengths do not add up")
    if not isfinite(received_at):
        raise CodecError("no time")
    return CacheEntry(
        key,
        status,
        data[reason_at:head_at],
        data[head_at:head_end],
        data[body_at:],
        received_at,
        initial_age,
        lifetime,
        while_revalidate,
        if_error,
        keep,
        _FLAGS[flags] if flags < len(_FLAGS) else Flag(flags),
        selecting,
        None if first == _NONE else (first, None if total == _NONE else total),
    )


def _selecting(data: bytes, at: int, count: int) -> tuple[Selecting, int]:
    """The selecting fields from ``at`` on, and where they end."""
    if not count:
        return (), at
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


_DECODERS: dict[int, Callable[[bytes, bytes], CacheEntry]] = {1: _decode_v1}
_BEGUN = {version: blake2b(MAGIC + bytes((version,)), digest_size=16) for version in _DECODERS}
