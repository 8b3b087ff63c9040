"""HTTP messages as immutable values on bytes.

A head is a start line and its fields; bodies travel beside it. Field names keep the spelling and order in which
they arrived (RFC 9110 §5.3); look-ups take the name in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs

from caching_proxy.http.values import transient

_BLANK = b" \t"

Field = tuple[bytes, bytes]
T = TypeVar("T")

_bare = object.__new__  # without __init__, which works on pairs

_ITSELF = object()
"""Stands for fields from which a rule took nothing away."""

_NOTHING = object()
"""Stands for what was not worked out yet."""


class Fields:
    """An ordered sequence of ``(name, value)`` lines.

    It has two forms, pairs and the bytes that stand on the wire; each is made from the other when first asked for,
    as is the index by lower-case name. Those of a message that has come in are split when somebody looks at them.
    """

    __slots__ = ("_block", "_derived", "_index", "_pairs", "lines", "telling")

    def __init__(self, pairs: Iterable[Field] = ()) -> None:
        self._pairs: tuple[Field, ...] | None = tuple(pairs)
        self._block: bytes | None = None
        self.lines: Sequence[bytes] | None = None
        """The lines as they came, where that is known."""
        self.telling: Telling | None = None
        """Those of the fields that rules ask for by name, where many messages share them."""
        self._index: dict[bytes, list[bytes]] | None = None
        self._derived: dict[object, object] | None = None

    @classmethod
    def decoded(cls, block: bytes) -> Fields:
        """The inverse of :meth:`encoded`, for blocks that this class encoded."""
        fields = _bare(cls)
        fields._pairs = fields._index = fields._derived = fields.lines = fields.telling = None
        fields._block = block
        return fields

    @classmethod
    def received(cls, lines: Sequence[bytes], telling: Telling | None = None) -> Fields:
        """The fields in ``lines``, as they stand in a head: each without its CRLF, and found well-formed."""
        fields = _bare(cls)
        fields._pairs = fields._index = fields._derived = fields._block = None
        fields.lines = lines
        fields.telling = telling
        return fields

    @property
    def pairs(self) -> tuple[Field, ...]:
        pairs = self._pairs
        if pairs is None and self.lines is not None:
            received = [line.partition(b":") for line in self.lines]
            pairs = self._pairs = tuple([(name, value.strip(_BLANK)) for name, _, value in received])
        elif pairs is None:
            lines = (self._block or b"").split(b"\r\n")
            split = [line.partition(b": ") for line in lines if line]
            pairs = self._pairs = tuple([(name, value) for name, _, value in split])
        return pairs

    def encoded(self) -> bytes:
        """The field lines as they stand on the wire, each ended by CRLF, without the empty line."""
        block = self._block
        if block is None:
            block = self._block = b"".join([b"%b: %b\r\n" % pair for pair in self.pairs])
        return block

    @property
    def index(self) -> dict[bytes, list[bytes]]:
        """Lower-case name → its values in order."""
        index = self._index
        if index is None:
            pairs = self.pairs
            index = {name.lower(): [value] for name, value in pairs}
            if len(index) != len(pairs):  # a name occurs more than once
                index = {}
                for name, value in pairs:
                    index.setdefault(name.lower(), []).append(value)
            self._index = index
        return index

    def derived(self, rule: Callable[[Fields], T]) -> T:
        """What ``rule`` makes of these fields, worked out once and kept as long as they are.

        Clients repeat themselves: the parser hands out one object for the same field lines. ``rule`` must be pure and
        live long, as a function of a module does, or a bound method that its owner keeps.
        """
        known = self._derived
        if known is None:
            known = self._derived = {}
        elif rule in known:
            found: Any = known[rule]
            if found is _ITSELF:
                found = self
            return found  # type: ignore[no-any-return]
        value = rule(self)
        known[rule] = _ITSELF if value is self else value  # a reference to itself would wait for the cycle collector
        return value

    def told(self, rule: Callable[[Fields], T]) -> T:
        """:meth:`derived`, for a ``rule`` that looks at no field that :class:`Telling` does not know: worked out once
        for all messages that share it."""
        telling = self.telling
        shared = self if telling is None else telling.fields
        known = shared._derived
        found: Any = _NOTHING if known is None else known.get(rule, _NOTHING)
        if found is _NOTHING or found is _ITSELF:
            return shared.derived(rule)
        return found  # type: ignore[no-any-return]

    def first(self, name: bytes) -> bytes | None:
        """The value of the first line called ``name`` (lower case), or None."""
        index, telling = self._index, self.telling
        if index is None:
            index = telling.fields.index if telling is not None and name in telling.names else self.index
        values = index.get(name)
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name`` (lower case), in order; not to be changed by the caller."""
        index, telling = self._index, self.telling
        if index is None:
            index = telling.fields.index if telling is not None and name in telling.names else self.index
        return index.get(name, [])

    def joined(self, name: bytes) -> bytes | None:
        """The lines of ``name`` as one list value (RFC 9110 §5.3), or None when there is no such line."""
        values = self.all(name)
        return b", ".join(values) if values else None

    def without(self, names: Container[bytes]) -> Fields:
        """These fields less those whose lower-case name is in ``names``."""
        return Fields([pair for pair in self.pairs if pair[0].lower() not in names])

    def plus(self, *pairs: Field) -> Fields:
        """These fields with ``pairs`` appended."""
        return Fields(self.pairs + pairs)

    def plus_lines(self, block: bytes) -> Fields:
        """These fields with the lines of ``block``, in the form of :meth:`encoded`, appended."""
        return Fields.decoded(self.encoded() + block)

    def __contains__(self, name: object) -> bool:
        telling = self.telling
        if self._index is None and telling is not None and name in telling.names:
            return name in telling.fields.index
        return name in self.index

    def __iter__(self) -> Iterator[Field]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        return f"Fields({list(self.pairs)!r})"


@transient(slots=True, eq=False)
class Telling:
    """What of a message's fields is the same in many messages: all there is of those called ``names``."""

    fields: Fields
    names: Container[bytes]

    def less(self, rule: Callable[[Fields], Fields]) -> Telling:
        """What is left of it where ``rule`` has taken lines away by their names."""
        fields = self.fields.derived(rule)
        return self if fields is self.fields else Telling(fields, self.names)


NO_FIELDS = Fields()


@transient(slots=True)
class RequestHead:
    """A request without its body.

    ``target`` is in origin-form (``/path?query``) or ``*``, exactly as the client sent it; an absolute-form
    target has been reduced to origin-form and its authority moved to ``Host`` (RFC 9112 §3.2.2).
    ``minor`` is the HTTP/1 minor version.
    """

    method: bytes
    target: bytes
    fields: Fields = NO_FIELDS
    minor: int = 1


@transient(slots=True, eq=False)
class Persistence:
    """What becomes of the connection: ``persistent``: it may serve another request, ``keep_alive``: for so many seconds
    as the sender says, None where it does not."""

    persistent: bool
    keep_alive: int | None


@transient(slots=True, eq=False)
class Ordinary:
    """A final response with content, of HTTP/1.1, that most are like.

    It has one Content-Length of plain digits, ``length``, and no other framing; one Date, which may be no valid one;
    and a Connection, if any, that names no field. It has no Location, Content-Location and Cache-Status.
    """

    length: int
    date: bytes
    manner: Persistence


@transient(slots=True)
class ResponseHead:
    """A response without its body. ``reason`` may be empty; ``minor`` is the HTTP/1 minor version.

    ``ordinary``: what is known of it as it came, None where it has to be looked at more closely.
    """

    status: int
    reason: bytes = b""
    fields: Fields = NO_FIELDS
    minor: int = 1
    ordinary: Ordinary | None = attrs.field(default=None, eq=False, repr=False)
