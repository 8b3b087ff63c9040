"""Targeted cache control (RFC 9213): which field decides about a response.

``CDN-Cache-Control`` and its like are Structured Field Dictionaries (RFC 8941) and are parsed strictly: one error
anywhere discards the whole field, and ``Cache-Control`` decides as if it were not there. A field that counts
replaces ``Cache-Control`` *and* ``Expires`` for every decision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from caching_proxy.http.cache_control import CacheControl, Directive, speaks_of_restriction
from caching_proxy.http.messages import Fields

_LIFETIMES = frozenset((b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"))
_LISTS = frozenset((b"no-cache", b"private"))
_FLAGS = frozenset(
    (
        b"immutable",
        b"must-revalidate",
        b"must-understand",
        b"no-store",
        b"no-transform",
        b"proxy-revalidate",
        b"public",
    )
)

# RFC 8941 §3: the grammar is regular, so one expression takes one dictionary member.
_KEY = rb"[a-z*][a-z0-9_\-.*]*"
_STRING = rb'"(?:[ !#-\[\]-~]|\\["\\])*"'
_BARE = (
    rb"(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}|\?[01]|:[A-Za-z0-9+/=]*:|"
    + _STRING
    + rb"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)"
)
_PARAMETERS = rb"(?:; *+" + _KEY + rb"(?:=" + _BARE + rb")?)*"
_ITEM = _BARE + _PARAMETERS
_INNER_LIST = rb"\( *+(?:" + _ITEM + rb"(?: ++" + _ITEM + rb")* *+)?\)"  # no blank is read twice in vain
_MEMBER = re.compile(rb"(" + _KEY + rb")(?:=(" + _INNER_LIST + rb"|" + _BARE + rb"))?" + _PARAMETERS)
_SEPARATOR = re.compile(rb"[ \t]*,[ \t]*(?=.)")
_REST = re.compile(rb"[ \t]*")
_INTEGER = re.compile(rb"-?[0-9]{1,15}")
_ESCAPE = re.compile(rb"\\(.)")


def select_control(fields: Fields, targets: Sequence[bytes]) -> tuple[CacheControl, bool]:
    """The control that decides about a response with ``fields``, and whether ``Expires`` still counts.

    ``targets`` are lower-case field names, most important first; the first that is valid and not empty decides (§2.2).
    """
    index = fields.index
    discarded = False
    for target in targets:
        if target in index:
            control = parse_targeted(index[target])
            if control is not None and control.directives:
                return control, False
            discarded = discarded or any(map(speaks_of_restriction, index[target]))
    control = CacheControl.parse(index.get(b"cache-control", ()))
    return attrs.evolve(control, discarded=True) if discarded else control, True


def parse_targeted(lines: Sequence[bytes]) -> CacheControl | None:
    """The directives of one targeted field, or None if any part of it breaks the syntax or has a wrong type."""
    members = _dictionary(b", ".join(lines))
    if members is None:
        return None
    directives = []
    for key, value in members.items():
        directive = _typed(key, value)
        if directive is None:
            return None
        directives.append(directive)
    return CacheControl(tuple(directives))


def _dictionary(text: bytes) -> dict[bytes, bytes | None] | None:
    """Key → source text of its value (None for a bare key); the last duplicate wins (RFC 8941 §4.2.2)."""
    members: dict[bytes, bytes | None] = {}
    text = text.lstrip(b" ")
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            return None
        members[member[1]] = member[2]
        separator = _SEPARATOR.match(text, member.end())
        if separator is None:
            return members if _REST.fullmatch(text, member.end()) else None
        position = separator.end()
    return members


def _typed(key: bytes, value: bytes | None) -> Directive | None:
    """The directive, or None if the value's type is not the one that the directive needs (RFC 9213 §2.1)."""
    flag = value is None or value == b"?1"
    if key in _LIFETIMES:
        number = value is not None and _INTEGER.fullmatch(value) and not value.startswith(b"-")
        return Directive(key, value) if number else None
    if key in _FLAGS:
        return Directive(key) if flag else None
    if key in _LISTS:
        if flag:
            return Directive(key)
        if value is not None and value.startswith(b'"'):
            return Directive(key, _ESCAPE.sub(rb"\1", value[1:-1]))
        return None
    return Directive(key, value)
