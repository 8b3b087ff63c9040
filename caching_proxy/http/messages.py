"""HTTP messages as immutable values on bytes.

A head is a start line and its fields; bodies travel beside it. Field names keep the spelling and order in which
they arrived (RFC 9110 §5.3); look-ups take the name in lower case.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TypeVar, cast

from caching_proxy.http.values import transient

_BLANK = b" \t"

Field = tuple[bytes, bytes]
T = TypeVar("T")

_ITSELF = object()
"""Stands for fields from which a rule took nothing away."""


class Fields:
    """An ordered sequence of ``(name, value)`` lines.

    It has two forms, pairs and the bytes that stand on the wire; each is made from the other when first asked for,
    as is the index by lower-case name. Those of a request that has come in are split when somebody looks at them.
    """

    __slots__ = ("_block", "_derived", "_index", "_lines", "_pairs")

    def __init__(self, pairs: Iterable[Field] = ()) -> None:
        self._pairs: tuple[Field, ...] | None = tuple(pairs)
        self._block: bytes | None = None
        self._lines: Sequence[bytes] = ()
        self._index: dict[bytes, list[bytes]] | None = None
        self._derived: dict[object, object] | None = None

    @classmethod
    def decoded(cls, block: bytes) -> Fields:
        """The inverse of :meth:`encoded`, for blocks that this class encoded."""
        fields = cls()
        fields._pairs = None
        fields._block = block
        return fields

    @classmethod
    def received(cls, lines: Sequence[bytes]) -> Fields:
        """The fields in ``lines``, as they stand in a head: each without its CRLF, and found well-formed."""
        fields = cls()
        fields._pairs = None
        fields._lines = lines
        return fields

    @property
    def pairs(self) -> tuple[Field, ...]:
        pairs = self._pairs
        if pairs is None and self._lines:
            received = [line.partition(b":") for line in self._lines]
            pairs = self._pairs = tuple([(name, value.strip(_BLANK)) for name, _, value in received])
            self._lines = ()
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
            found = known[rule]
            return cast("T", self if found is _ITSELF else found)
        value = rule(self)
        known[rule] = _ITSELF if value is self else value  # a reference to itself would wait for the cycle collector
        return value

    def first(self, name: bytes) -> bytes | None:
        """The value of the first line called ``name`` (lower case), or None."""
        values = self.index.get(name)
        return values[0] if values else None

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name`` (lower case), in order; not to be changed by the caller."""
        return self.index.get(name, [])

    def joined(self, name: bytes) -> bytes | None:
        """The lines of ``name`` as one list value (RFC 9110 §5.3), or None when there is no such line."""
        values = self.index.get(name)
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


@transient(slots=True)
class ResponseHead:
    """A response without its body. ``reason`` may be empty; ``minor`` is the HTTP/1 minor version."""

    status: int
    reason: bytes = b""
    fields: Fields = NO_FIELDS
    minor: int = 1
