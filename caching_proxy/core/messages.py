"""HTTP messages as immutable values on bytes.

A head is a start line and its fields; bodies travel beside it. Field names keep the spelling and order in which
they arrived (RFC 9110 §5.3); look-ups take the name in lower case.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import attrs

Field = tuple[bytes, bytes]


class Fields:
    """An ordered sequence of ``(name, value)`` lines, indexed by lower-case name on first use."""

    __slots__ = ("_index", "pairs")

    def __init__(self, pairs: Iterable[Field] = ()) -> None:
        self.pairs: tuple[Field, ...] = tuple(pairs)
        self._index: dict[bytes, list[bytes]] | None = None

    @property
    def index(self) -> dict[bytes, list[bytes]]:
        """Lower-case name → its values in order."""
        if self._index is None:
            index = {name.lower(): [value] for name, value in self.pairs}
            if len(index) != len(self.pairs):  # a name occurs more than once
                index = {}
                for name, value in self.pairs:
                    index.setdefault(name.lower(), []).append(value)
            self._index = index
        return self._index

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
        return Fields(pair for pair in self.pairs if pair[0].lower() not in names)

    def plus(self, *pairs: Field) -> Fields:
        """These fields with ``pairs`` appended."""
        return Fields(self.pairs + pairs)

    def encoded(self) -> bytes:
        """The field lines as they stand on the wire, each ended by CRLF, without the empty line."""
        return b"".join([b"%b: %b\r\n" % pair for pair in self.pairs])

    @classmethod
    def decoded(cls, block: bytes) -> Fields:
        """The inverse of :meth:`encoded`, for blocks that this class encoded."""
        lines = block.split(b"\r\n")
        return cls((name, value) for name, _, value in (line.partition(b": ") for line in lines if line))

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


@attrs.frozen(slots=True)
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


@attrs.frozen(slots=True)
class ResponseHead:
    """A response without its body. ``reason`` may be empty; ``minor`` is the HTTP/1 minor version."""

    status: int
    reason: bytes = b""
    fields: Fields = NO_FIELDS
    minor: int = 1
