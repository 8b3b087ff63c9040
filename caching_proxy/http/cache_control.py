"""Cache-Control: one ordered list of directives, for requests and responses alike (RFC 9111 §5.2).

The parser is total: no bytes make it raise, and whatever it cannot make sense of errs on the side of not reusing.
A lifetime that is no number counts as zero, never as absent; an argument that a restriction does not expect leaves
the restriction in force. Nothing here rewrites the field: messages are forwarded with the bytes they came with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

import attrs

from caching_proxy.http.tokens import is_token

SATURATED = 2**31
"""Delta-seconds above this count as this: 68 years (RFC 9111 §1.2.2)."""

_OBSTACLES = frozenset((b"no-store", b"no-cache", b"private", b"must-understand"))
_KNOWN = frozenset((b"no-store", b"no-cache", b"private", b"max-age", b"s-maxage"))
_MEANT = re.compile(rb"(?<![a-z0-9])(?:no[-_ \t]*(?:store|cache)|private|(?:s[-_ \t]*)?max[-_ \t]*age)(?![a-z0-9])")
_REMEMBERED = 128  # bytes of a line whose parsed form is kept: a backend says the same thing over and over
_OWS = b" \t"
_MEMBER = re.compile(rb'(?:[^",]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


@attrs.frozen(slots=True)
class Directive:
    """One member of the list: lower-case ``name``, unquoted ``value`` (None without ``=``).

    ``malformed`` marks a stray space beside ``=`` or a broken quoted string: the value means nothing then.
    """

    name: bytes
    value: bytes | None = None
    malformed: bool = False


@attrs.frozen(slots=True)
class CacheControl:
    """The directives of all lines of one field, in order.

    What they mean for storing a response is asked of every response, so it is worked out once for each line: the
    attributes below the methods. Seconds are as :meth:`seconds` gives them. ``discarded``: another field, which would
    have decided, was malformed and spoke of a restriction.
    """

    directives: tuple[Directive, ...] = ()
    discarded: bool = False
    _first: dict[bytes, Directive] = attrs.field(init=False, eq=False, repr=False)

    @_first.default
    def _index(self) -> dict[bytes, Directive]:
        return {directive.name: directive for directive in reversed(self.directives)}

    @classmethod
    def parse(cls, values: Sequence[bytes]) -> CacheControl:
        """The directives of the field lines ``values``; never raises."""
        if not values:
            return NO_DIRECTIVES
        if len(values) == 1 and len(values[0]) <= _REMEMBERED:
            return _known_line(values[0])
        return cls(tuple(_directive(member) for line in values for member in _members(line)))

    def has(self, name: bytes) -> bool:
        """Whether the directive ``name`` (lower case) is there, with whatever argument (P13)."""
        return name in self._first

    def find(self, name: bytes) -> Directive | None:
        """The first directive called ``name``: of repeated ones it alone counts (§4.2.1)."""
        return self._first.get(name)

    def seconds(self, name: bytes) -> int | None:
        """The delta-seconds of ``name``, at most ``SATURATED``; None if absent, 0 if not a number (§4.2.1)."""
        directive = self.find(name)
        return None if directive is None else _delta_seconds(directive) or 0

    def malformed(self, name: bytes) -> bool:
        """Whether ``name`` is there with something else than delta-seconds: that means *stale*."""
        directive = self.find(name)
        return directive is not None and _delta_seconds(directive) is None

    def valueless(self, name: bytes) -> bool:
        """Whether ``name`` is there without an ``=`` (``max-stale`` alone accepts any staleness)."""
        directive = self.find(name)
        return directive is not None and directive.value is None

    def fields_of(self, name: bytes) -> tuple[bytes, ...]:
        """The lower-case field names that ``private="…"`` or ``no-cache="…"`` lists, of all its occurrences.

        A single bare token is accepted for a list (§5.2.2.4). Lists that cannot be parsed name nothing here:
        they make the directive :meth:`unqualified`.
        """
        if name not in self._first:
            return ()
        found: dict[bytes, None] = {}
        for directive in self.directives:
            if directive.name == name:
                found.update(dict.fromkeys(_field_names(directive)))
        return tuple(found)

    def unqualified(self, name: bytes) -> bool:
        """Whether ``name`` is there at least once without a usable list of fields: the whole response is meant."""
        return name in self._first and any(
            directive.name == name and not _field_names(directive) for directive in self.directives
        )

    @cached_property
    def lifetime(self) -> int | None:
        """What a shared cache takes for the lifetime: s-maxage, else max-age (§4.2.1)."""
        shared = self.seconds(b"s-maxage")
        return self.seconds(b"max-age") if shared is None else shared

    @cached_property
    def stale_windows(self) -> tuple[int | None, int | None]:
        """``stale-while-revalidate`` and ``stale-if-error`` (RFC 5861)."""
        return self.seconds(b"stale-while-revalidate"), self.seconds(b"stale-if-error")

    @cached_property
    def excluded(self) -> frozenset[bytes]:
        """The fields that ``private`` and ``no-cache`` keep out of a stored response."""
        return frozenset(self.fields_of(b"private") + self.fields_of(b"no-cache"))

    @cached_property
    def unobstructive(self) -> bool:
        """Whether nothing here can keep a response, or a field of it, from being stored and used."""
        return _OBSTACLES.isdisjoint(self._first) and not self.misspelt

    @cached_property
    def misspelt(self) -> bool:
        """Whether a restriction or a lifetime seems to be meant by what says neither (``no-store; max-age=0``).

        It has no effect as a directive; but a lifetime must not be guessed where the backend tried to state one.
        """
        return self.discarded or any(map(_seems_meant, self.directives))


NO_DIRECTIVES = CacheControl()


def speaks_of_restriction(text: bytes) -> bool:
    """Whether the word of a restriction or of a lifetime stands in ``text``, in whatever form."""
    return _MEANT.search(text.lower()) is not None


def _seems_meant(directive: Directive) -> bool:
    name, value = directive.name, directive.value
    if name in _KNOWN:
        return False
    return speaks_of_restriction(name if value is None else name + b"=" + value)


@lru_cache(256)
def _known_line(line: bytes) -> CacheControl:
    return CacheControl(tuple(map(_directive, _members(line))))


def delta_seconds(value: bytes) -> int | None:
    """One or more ASCII digits as a number, at most ``SATURATED``; None for anything else (§1.2.2)."""
    if not value.isdigit():
        return None
    if len(value) > 10:
        value = value.lstrip(b"0") or b"0"
        if len(value) > 10:
            return SATURATED
    number = int(value)
    return number if number < SATURATED else SATURATED


def _delta_seconds(directive: Directive) -> int | None:
    if directive.malformed or directive.value is None:
        return None
    return delta_seconds(directive.value)


def _field_names(directive: Directive) -> tuple[bytes, ...]:
    if directive.malformed or directive.value is None:
        return ()
    names = [name for name in (part.strip(_OWS) for part in directive.value.split(b",")) if name]
    if not all(map(is_token, names)):
        return ()
    return tuple(name.lower() for name in names)


def _members(line: bytes) -> Iterator[bytes]:
    """The non-empty members of a comma-separated line; quoted strings stay whole wherever they stand."""
    if b'"' not in line:
        yield from _plain_members(line)
        return
    start = 0
    while start < len(line):
        found = _MEMBER.match(line, start)
        end = found.end() if found else start
        if line[end : end + 1] == b'"':
            # A quote that never closes hides nothing: the rest is split as if it were not quoted, so that a
            # restriction behind it still counts.
            yield from _plain_members(line[start:])
            return
        if member := line[start:end].strip(_OWS):
            yield member
        start = end + 1


def _plain_members(line: bytes) -> list[bytes]:
    return [member for member in [part.strip(_OWS) for part in line.split(b",")] if member]


def _directive(member: bytes) -> Directive:
    name, equals, value = member.partition(b"=")
    bare = name.rstrip(_OWS)
    if not equals:
        return Directive(bare.lower())
    malformed = bare != name or value[:1] in (b" ", b"\t")  # §5.2: no whitespace around "="
    if b'"' in value:
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            return Directive(bare.lower(), value, True)
        value = _ESCAPE.sub(rb"\1", quoted[1])
    return Directive(bare.lower(), value, malformed)
