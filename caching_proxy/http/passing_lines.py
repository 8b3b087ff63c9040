"""Field lines as they go on to the next hop, each worked out once: heads hardly ever repeat, most of their lines do.

Bounded in bytes, and for each name in lines, so that a name whose values never come again does not push out the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from caching_proxy.http.memo import Memo

MAX_BYTES = 1 << 20
"""What all remembered lines may take, with what was made of them and their places."""

LONGEST = 512
"""Bytes of a line beyond which neither it nor its name is remembered."""

LINES_OF_A_NAME = 512
"""How many lines of one name a generation remembers."""

_PLACES = 250  # bytes that two objects and their places in dictionaries take


def _weight(line: bytes) -> int:
    return 2 * len(line) + _PLACES


class PassingLines(Memo[bytes, bytes]):
    """``passing[line]`` is the line on the wire, CRLF included, or empty where a field of its name ends here.

    ``passes`` decides by the lower-case name and nothing else. A ``line`` is well-formed and stands without its CRLF.
    """

    __slots__ = ("_left", "_passes")

    def __init__(self, passes: Callable[[bytes], bool]) -> None:
        super().__init__(MAX_BYTES // 2, _weight)
        self._passes = passes
        self._left: dict[bytes, int] = {}
        """Name → how many more of its lines are remembered, and one; negative where they end here."""

    def __missing__(self, line: bytes) -> bytes:
        known = self._older.get(line)
        if known is not None:
            self.keep(line, known)
            return known
        name, _, value = line.partition(b":")
        left = self._left.get(name)
        if left is None:
            left = LINES_OF_A_NAME + 1 if self._passes(name.lower()) else -LINES_OF_A_NAME - 1
        made = b"%b: %b\r\n" % (name, value.strip(b" \t")) if left > 0 else b""
        if -1 <= left <= 1 or len(line) > LONGEST:
            return made
        weight = 2 * len(line) + _PLACES  # as keep() does, for less: much of what comes here never comes again
        if weight > self._free:
            self.turn()
        self._free -= weight
        self[line] = made
        self._left[name] = left - 1 if left > 0 else left + 1
        return made

    def together(self, lines: Iterable[bytes]) -> bytes:
        """The ``lines`` that pass, one after another."""
        return b"".join(filter(None, map(self.__getitem__, lines)))

    def turn(self) -> None:
        """Begin a new generation, of names as well."""
        super().turn()
        self._left.clear()
