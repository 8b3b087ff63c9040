"""Which stored response fits which request: ``Vary`` (RFC 9111 §4.1).

Each response has an identifier made of its scope and of the values, in their normal form, of the fields that its
``Vary`` names. A request selects it if the same fields of the request give the same identifier, so the variant that
a request selects is looked up by name, however many there are and however long the values are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from hashlib import blake2b

import attrs

from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.negotiation import (
    ACCEPT_LANGUAGE,
    normal_form,
    preferred_language,
    weighted,
)
from caching_proxy.http.tokens import is_token
from caching_proxy.rules.entry import Asked, CacheEntry, Flag, Selecting

__all__ = [
    "PLAIN_VARIANT",
    "alike",
    "asked_of",
    "language_asked",
    "language_of",
    "matches",
    "normal_form",
    "normal_value",
    "outline_of",
    "part_of",
    "selecting_of",
    "variant_asked",
    "variant_id",
    "variant_of",
    "whole_of",
]

PLAIN_VARIANT = b"-"
"""The identifier of a response that does not vary."""

MAX_NAMES = 32
"""Names in ``Vary`` past which no request is believed to match: each costs at every lookup."""

LONG_NAME = 64
"""Bytes past which the name of a field is not worth remembering with a value."""

MAX_REMEMBERED = 1024
"""Bytes of names of a request's fields past which they are not remembered."""

_PART_SUFFIX = b"+part"
_PLAIN_PART = PLAIN_VARIANT + _PART_SUFFIX
_BLANK = b" \t"
_IN_OUTLINE = frozenset((b"date", b"etag", b"last-modified", b"content-range"))
_LONG_TAG = 256

Names = tuple[bytes, ...]
"""What a ``Vary`` names: lower case, sorted, each once."""


def selecting_of(request: RequestHead, response_fields: Fields, more: Names = ()) -> Selecting | None:
    """The request values that ``Vary`` names, and those of ``more`` fields (lower case), sorted by name.

    None where nothing can match: ``*``, and whatever else is no list of field names.
    """
    names = names_in_vary(response_fields, more)
    return None if names is None else values_of(request.fields, names)


def names_in_vary(response_fields: Fields, more: Names = ()) -> Names | None:
    """What the ``Vary`` of a response names, and ``more``; None where nothing can match."""
    lines = response_fields.all(b"vary")
    if not lines and not more:
        return ()
    names = {name.strip(_BLANK).lower() for line in lines for name in line.split(b",")}
    names.update(more)
    names.discard(b"")
    if b"*" in names or len(names) > MAX_NAMES or not all(map(is_token, names)):
        return None
    return tuple(sorted(names))


def values_of(fields: Fields, names: Names) -> Selecting:
    """The values that a request with ``fields`` has of those called ``names``."""
    return tuple([(name, fields.joined(name)) for name in names])


def matches(entry: CacheEntry, request: RequestHead) -> bool:
    """Whether every field that the stored ``Vary`` names has an equal value in ``request``."""
    if not entry.selecting:
        return True
    names, scope, fields = names_of(entry), entry.scope, request.fields
    if variant_asked(fields, names, scope) == whole_of(variant_of(entry)):
        return True
    language = language_of(entry)
    return bool(language) and language == language_asked(fields, names, scope)


def alike(entry: CacheEntry, fields: Fields, names: Collection[bytes]) -> bool:
    """Whether ``fields`` equal what selected ``entry`` in those of ``names`` that its ``Vary`` names."""
    ours = [(name, value) for name, value in entry.selecting if name in names]
    return all(normal == normal_value(fields, name) for name, normal in _normal_forms(tuple(ours)))


def names_of(entry: CacheEntry) -> Names:
    """The fields that select ``entry``."""
    return tuple([name for name, _ in entry.selecting])


# -- identifiers ---------------------------------------------------------------------------------


def variant_of(entry: CacheEntry) -> bytes:
    """The identifier of a stored response, under which it stands in its key's hash."""
    known = entry.variant
    if known is None:
        flags = entry.flags  # to ask an IntFlag costs; most have none
        if not flags and not entry.selecting and not entry.scope:
            return PLAIN_VARIANT  # for less than it takes to remember it
        partial = bool(flags) and Flag.PARTIAL in flags
        known = variant_id(entry.selecting, partial, entry.scope)
        entry.keep_identifiers(variant=known)
    return known


def variant_id(selecting: Selecting, partial: bool = False, scope: bytes = b"") -> bytes:
    """The identifier of responses so selected: equal variants get the same one and replace each other.

    A part (206) of a variant has one of its own, so that it never replaces the complete response.
    """
    if not selecting and not scope:
        return _PLAIN_PART if partial else PLAIN_VARIANT
    return _identifier(scope, _normal_forms(selecting)) + (_PART_SUFFIX if partial else b"")


def variant_asked(fields: Fields, names: Names, scope: bytes) -> bytes:
    """The identifier that a request in ``scope`` with these ``fields`` selects under a ``Vary`` of ``names``."""
    if not names and not scope:
        return PLAIN_VARIANT
    return _identifier(scope, [(name, normal_value(fields, name)) for name in names])


def part_of(variant: bytes) -> bytes:
    """The identifier of a part of ``variant``."""
    return variant + _PART_SUFFIX


def whole_of(variant: bytes) -> bytes:
    """The identifier of what ``variant`` may be a part of."""
    return variant.removesuffix(_PART_SUFFIX)


def language_of(entry: CacheEntry) -> bytes:
    """A second identifier of ``entry``, by the one language that it is in; empty where there is none.

    Both that and the Accept-Language it was fetched with have to follow their grammar: a request could otherwise
    have the backend answer others in what it asked for (RFC 9110 §12.5.4).
    """
    known = entry.language
    if known is None:
        known = _language_of(entry)
        entry.keep_identifiers(language=known)
    return known


def _language_of(entry: CacheEntry) -> bytes:
    value = dict(entry.selecting).get(ACCEPT_LANGUAGE)
    if value is None or weighted(ACCEPT_LANGUAGE, value) is None:
        return b""
    lines = entry.fields.all(b"content-language")
    language = lines[0].strip(_BLANK).lower() if len(lines) == 1 else b""
    if not language or language == b"*" or preferred_language(language) != language:  # not one tag
        return b""
    return _identifier(entry.scope, _normal_forms(entry.selecting), language)


def language_asked(fields: Fields, names: Names, scope: bytes) -> bytes | None:
    """The identifier by language that a request selects; None where it prefers no single one."""
    language = fields.derived(_preferred) if ACCEPT_LANGUAGE in names else None
    if language is None:
        return None
    return _identifier(scope, [(name, normal_value(fields, name)) for name in names], language)


def normal_value(fields: Fields, name: bytes) -> bytes | None:
    """The normal form of a field's value, None where there is none; worked out once for each set of fields."""
    if name not in fields.index:
        return None
    return fields.derived(_normal(name))


@lru_cache(256)
def _normal(name: bytes) -> Callable[[Fields], bytes | None]:
    def rule(fields: Fields) -> bytes | None:
        value = fields.joined(name)
        return None if value is None else normal_form(name, value)

    return rule


def _preferred(fields: Fields) -> bytes | None:
    value = fields.joined(ACCEPT_LANGUAGE)
    return None if value is None else preferred_language(value)


def _identifier(scope: bytes, normal: Iterable[tuple[bytes, bytes | None]], language: bytes | None = None) -> bytes:
    """A digest of what selects a response; with ``language`` that stands for the value of Accept-Language."""
    digest = blake2b(b"%d:%b" % (len(scope), scope), digest_size=16)
    for name, value in normal:
        digest.update(b"%d:%b" % (len(name), name))
        if language is not None and name == ACCEPT_LANGUAGE:
            digest.update(b"=%d:%b" % (len(language), language))
        elif value is None:
            digest.update(b"-")
        else:
            digest.update(b"%d:" % len(value))
            digest.update(value)
    return digest.hexdigest().encode()


def _normal_forms(selecting: Selecting) -> list[tuple[bytes, bytes | None]]:
    ordered = sorted(selecting, key=_name)
    return [(name, None if value is None else normal_form(name, value)) for name, value in ordered]


def _name(pair: tuple[bytes, bytes | None]) -> bytes:
    return pair[0]


# -- what is remembered of a response beside what selects it --------------------------------------


def asked_of(fields: Fields, worth: Collection[bytes] = ()) -> Asked | None:
    """What to remember of the request with these ``fields`` that a response without ``Vary`` answers: the names, and
    the values of those fields that are ``worth`` it, since some ``Vary`` has named them."""
    lines = fields.lines  # as they came: an index would have to be made for this alone
    if lines is None:
        names = asked_with(tuple([name for name, _ in fields.pairs]))
    else:
        names = asked_with(tuple([line.partition(b":")[0] for line in lines]))
    if not names or not names.names or not worth:
        return names
    known = [name for name in worth if name in fields.index and len(name) <= LONG_NAME]
    values = tuple([(name, _short(normal_value(fields, name))) for name in known])
    return Asked(names.names, values) if values else names


def equals_own(asked: Asked | None, fields: Fields, names: Iterable[bytes]) -> bool:
    """Whether a request with ``fields`` is known to equal the one remembered in the fields called ``names``."""
    if asked is None:
        return False
    present, values = asked.names.split(b","), dict(asked.values)
    for name in names:
        offered = normal_value(fields, name)
        if offered is None:
            if name in present:
                return False
        elif values.get(name) != _short(offered):
            return False
    return True


def outline_of(entry: CacheEntry) -> CacheEntry:
    """``entry`` without its body and what else choosing does not need."""
    outline = attrs.evolve(
        entry,
        reason=b"",
        head=_short_head(entry),
        body=b"",
        missing=entry.length,
        selecting=tuple([(name, None) for name, _ in entry.selecting]),
        tags=(),
    )
    outline.keep_identifiers(variant_of(entry), language_of(entry))
    return outline


def _short_head(entry: CacheEntry) -> bytes:
    """Validators and Date; nothing where there is nothing to compare with."""
    if entry.missing is not None:
        return entry.head
    if not entry.selecting and not entry.scope and Flag.PARTIAL not in entry.flags:
        return b""
    kept = (pair for pair in entry.fields.pairs if pair[0].lower() in _IN_OUTLINE)
    return Fields([(name, value) for name, value in kept if len(value) <= _LONG_TAG]).encoded()


@lru_cache(256)
def asked_with(names: tuple[bytes, ...]) -> Asked | None:
    """One object for all requests with the same names, as those of one program have."""
    joined = b",".join(sorted({name.lower() for name in names}))
    return _asked(joined) if len(joined) <= MAX_REMEMBERED else None


_asked = lru_cache(256)(Asked)  # however they are spelt, and in whatever order


def _short(value: bytes | None) -> bytes:
    """A value, or its digest where that is shorter."""
    value = value or b""
    return value if len(value) <= 32 else blake2b(value, digest_size=16).digest() + b"\0"
