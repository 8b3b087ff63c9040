"""Values of request fields written in one form, so that equal meanings are equal bytes (RFC 9111 §4.1).

What may be changed without changing the meaning is for the grammar of the field to say. The negotiation fields (RFC
9110 §12.5.2 to §12.5.4) are lists without case and order, with weights; a value that does not follow that grammar
is none of it. Fields known to hold one value are only trimmed. All others are taken for lists, as RFC 9110 §5.3 lets
whoever joins lines do.
"""

from __future__ import annotations

import re

from caching_proxy.http.tokens import TOKEN

LONG = 2048
"""Bytes from which on a value is compared as it is: what browsers send is shorter, and every step costs."""

ACCEPT_LANGUAGE = b"accept-language"

_BLANK = b" \t"
_QUOTED = re.compile(rb'("(?:[^"\\]|\\.)*"?)', re.DOTALL)
_RANGE = rb"(?:\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)"
_WEIGHTED = rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
_GRAMMARS = {
    ACCEPT_LANGUAGE: re.compile(b"(%b)%b" % (_RANGE, _WEIGHTED)),
    b"accept-encoding": re.compile(b"(%b)%b" % (TOKEN, _WEIGHTED)),
    b"accept-charset": re.compile(b"(%b)%b" % (TOKEN, _WEIGHTED)),
}
_SINGLE = frozenset(
    (
        *(b"authorization", b"cookie", b"date", b"from", b"host", b"if-modified-since", b"if-range"),
        *(b"if-unmodified-since", b"max-forwards", b"origin", b"proxy-authorization", b"range", b"referer"),
        *(b"user-agent", b"content-type", b"content-length", b"access-control-request-method"),
    )
)

Weighted = list[tuple[bytes, int]]
"""Ranges or codings in lower case, each with its weight in thousandths."""


def normal_form(name: bytes, value: bytes) -> bytes:
    """``value`` of the field ``name`` (lower case) written so that equal meanings are equal bytes."""
    if len(value) > LONG:
        return value
    members = weighted(name, value)
    if members is not None:
        return b",".join(sorted(item if weight == 1000 else b"%b;q=%d" % (item, weight) for item, weight in members))
    if name in _SINGLE:
        return value.strip(_BLANK)
    return b",".join([member.strip(_BLANK) for member in _members(value)])


def weighted(name: bytes, value: bytes) -> Weighted | None:
    """The members of a negotiation field; None for other fields, and where the value does not follow the grammar."""
    grammar = _GRAMMARS.get(name)
    if grammar is None or len(value) > LONG:
        return None
    members = []
    for member in value.split(b","):
        text = member.strip(_BLANK)
        if not text:  # an empty member counts for nothing (RFC 9110 §5.6.1.2)
            continue
        found = grammar.fullmatch(text)
        if found is None:
            return None
        item, weight = found.groups()
        members.append((item.lower(), 1000 if weight is None else round(float(weight) * 1000)))
    return members


def preferred_language(value: bytes) -> bytes | None:
    """The single range with the highest weight; None where two share it, or the value does not follow the grammar."""
    best, highest = None, 0
    for item, weight in weighted(ACCEPT_LANGUAGE, value) or ():
        if weight > highest:
            best, highest = item, weight
        elif weight == highest:
            best = None
    return best


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
