"""Field lines, each understood by itself and remembered by itself: what of a head counts.

Heads hardly ever repeat where a load balancer gives every request an identifier; most of their lines do. Once seen,
a line is a look into a dictionary. Lines that some rule reads make up what a head is told by; the others only have to
be well-formed. What is remembered is bounded in bytes, and for each name in lines, so that a name whose values never
come again does not push out the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import Field
from caching_proxy.http.tokens import is_token

MAX_BYTES = 1 << 20
"""What all remembered lines may take, their places in the dictionary included."""

MAX_NAME_BYTES = 1 << 18
"""What all remembered names may take."""

MAX_LINE = 512
"""Bytes of a line beyond which it is not remembered."""

MAX_VALUES = 512
"""Lines of one name that are remembered."""

_PLACE = 150  # bytes that an object and its place in a dictionary take
TEXT = bytes(set(range(256)) - set(range(32)) - {127}) + b"\t"
"""What a value may consist of (RFC 9110 §5.5): no controls; CR and LF only as CRLF."""

_NOTHING, _SHARED = b"", b":"  # what a name can count as beside itself


class Malformed(Exception):
    """A line that is no field line, or has a byte in it that may not stand there."""


class _Name:
    """What lines of one name count as, and how many more of them are remembered."""

    __slots__ = ("counts", "left")

    def __init__(self, counts: bytes) -> None:
        self.counts = counts
        self.left = MAX_VALUES if counts in (_NOTHING, _SHARED) else 0


def _weight(line: bytes) -> int:
    return len(line) + _PLACE


class FieldLines(Memo[bytes, bytes]):
    """Line → what it counts as: itself, or its name where only that is to be told by, or nothing.

    A line that is missing is understood on the way, and refused with :class:`Malformed`. ``own`` has the lower-case
    names that lines are told by; ``is_read`` says of all others whether their lines count. ``text`` are the bytes of
    which a line may consist.
    """

    __slots__ = ("_is_read", "_names", "_other", "_own", "_own_names", "_room", "news")

    def __init__(self, own: frozenset[bytes], is_read: Callable[[bytes], bool], text: bytes = TEXT) -> None:
        super().__init__(MAX_BYTES // 2, _weight)
        self._own_names = own
        self._is_read = is_read
        # To translate into other bytes and compare costs a quarter of taking bytes out.
        self._other = bytes(byte if byte in text else 255 - byte for byte in range(256))
        self._names: dict[bytes, _Name] = {}
        self._room = MAX_NAME_BYTES
        self._own: list[Field] = []
        self.news = False
        """Whether the lines read last have one that is not told by its name and was not remembered."""

    def read(self, lines: Sequence[bytes]) -> tuple[tuple[bytes, ...], list[Field]]:
        """What ``lines`` are told by, in order, and name (lower case) and value of those told by their name alone."""
        own: list[Field] = []
        self._own = own
        self.news = False
        counting = tuple(filter(None, map(self.__getitem__, lines)))
        return counting, own

    def __missing__(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        known = self._names.get(name) or self._named(name)
        if not colon or line.translate(self._other) != line:
            raise Malformed
        counts = known.counts
        if counts is _SHARED:
            counts = line
        elif counts:
            self._own.append((counts, value.strip(b" \t")))
            return counts
        older = self._older.get(line)
        if older is not None:
            self.keep(line, older)
            return older
        self.news = True
        if known.left and len(line) <= MAX_LINE:
            known.left -= 1
            self.keep(line, counts)
        return counts

    def _named(self, name: bytes) -> _Name:
        if not is_token(name):  # also a folded line (RFC 9112 §5.2), white space before the colon (§5.1)
            raise Malformed
        lower = name.lower()
        known = _Name(lower if lower in self._own_names else _SHARED if self._is_read(lower) else _NOTHING)
        if len(name) <= MAX_LINE:
            if self._room <= 0:
                self.turn()
            self._room -= len(name) + 2 * _PLACE
            self._names[name] = known
        return known

    def turn(self) -> None:
        """Begin a new generation, of names as well: each may have its number of lines again."""
        super().turn()
        self._names.clear()
        self._room = MAX_NAME_BYTES
