"""Which stored response fits which request: ``Vary`` (RFC 9111 §4.1).

Two values of a field are equal when they are the same bytes, or become so when written in one form: list members
without the whitespace around them, and for the negotiation fields whose meaning is known also without case, order
and ``q=1``. That form is computed only where the bytes differ.
"""

from __future__ import annotations

import hashlib
import re

from caching_proxy.core.entry import CacheEntry, Selecting
from caching_proxy.core.messages import Fields, RequestHead

PLAIN_VARIANT = b"-"
"""The hash field of a response that does not vary."""

_PART_SUFFIX = b"+part"
_PLAIN_PART = PLAIN_VARIANT + _PART_SUFFIX
_UNORDERED = frozenset({b"accept-language", b"accept-encoding", b"accept-charset"})
_QUOTED = re.compile(rb'("(?:[^"\\]|\\.)*"?)', re.DOTALL)
_FULL_WEIGHT = re.compile(rb";q=1(?:\.0{0,3})?$")
_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_BLANK = b" \t"


def selecting_of(request: RequestHead, response_fields: Fields) -> Selecting | None:
    """The request values that ``Vary`` names, sorted by name; None where ``*`` says that nothing can match."""
    lines = response_fields.index.get(b"vary")
    if not lines:
        return ()
    names = {name.strip(_BLANK).lower() for line in lines for name in line.split(b",")}
    if b"*" in names:
        return None
    return tuple((name, request.fields.joined(name)) for name in sorted(names) if name)


def matches(entry: CacheEntry, request: RequestHead) -> bool:
    """Whether every field that the stored ``Vary`` names has an equal value in ``request``."""
    if not entry.selecting:
        return True
    for name, stored in entry.selecting:
        offered = request.fields.joined(name)
        if offered == stored:
            continue
        if offered is None:
            return False
        if stored is not None and normal_form(name, stored) == normal_form(name, offered):
            continue
        if name == b"accept-language" and _is_preferred_language(entry, offered):
            continue
        return False
    return True


def variant_id(selecting: Selecting, partial: bool = False) -> bytes:
    """The hash field under which a variant is stored: equal variants get the same one and replace each other.

    A part (206) of a variant has a place of its own, so that it never replaces the complete response.
    """
    if not selecting:
        return _PLAIN_PART if partial else PLAIN_VARIANT
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(selecting, key=_name):
        digest.update(b"%d:%b" % (len(name), name))
        if value is None:
            digest.update(b"-")
        else:
            normal = normal_form(name, value)
            digest.update(b"%d:%b" % (len(normal), normal))
    return digest.hexdigest().encode() + (_PART_SUFFIX if partial else b"")


def normal_form(name: bytes, value: bytes) -> bytes:
    """``value`` of the field ``name`` (lower case) written so that equal meanings are equal bytes."""
    if name not in _UNORDERED:
        return b",".join([member.strip(_BLANK) for member in _members(value)])
    members = (b"".join(member.split()).lower() for member in value.split(b","))
    return b",".join(sorted(_FULL_WEIGHT.sub(b"", member) for member in members if member))


def _name(pair: tuple[bytes, bytes | None]) -> bytes:
    return pair[0]


def _members(value: bytes) -> list[bytes]:
    """Split at the commas that stand outside quoted strings; empty members stay."""
    if b'"' not in value:
        return value.split(b",")
    members = [b""]
    for place, piece in enumerate(_QUOTED.split(value)):
        if place % 2:
            members[-1] += piece
        else:
            first, *rest = piece.split(b",")
            members[-1] += first
            members.extend(rest)
    return members


def _is_preferred_language(entry: CacheEntry, offered: bytes) -> bool:
    """Whether the one language stored is the one that the request prefers to all others."""
    languages = entry.fields.all(b"content-language")
    if len(languages) != 1:
        return False
    language = languages[0].strip(_BLANK).lower()
    return bool(language) and b"," not in language and language == _preferred(offered)


def _preferred(value: bytes) -> bytes | None:
    """The single range with the highest weight; None when two share it or a weight cannot be read."""
    best: bytes | None = None
    highest = 0.0
    for member in value.split(b","):
        text = b"".join(member.split()).lower()
        if not text:
            continue
        name, _, parameter = text.partition(b";")
        weight = _weight(parameter)
        if weight is None:
            return None
        if weight > highest:
            best, highest = name, weight
        elif weight == highest:
            best = None
    return best


def _weight(parameter: bytes) -> float | None:
    """A quality value (RFC 9110 §12.4.2); 1 when absent, None when malformed."""
    if not parameter:
        return 1.0
    name, _, number = parameter.partition(b"=")
    if name != b"q" or not _WEIGHT.fullmatch(number):
        return None
    return float(number)
