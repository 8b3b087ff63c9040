"""Fields of responses in HPACK (RFC 7541) without its dynamic table: the same field is always the same bytes.

So a line that was written once is looked up the next time, whatever the connection; nothing has to be remembered for
one of them, and no table tells a client what was sent to it before. nginx does the same. Literals are not
Huffman-coded: they are a quarter longer so, and written a hundred times as fast.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Encoder
from hpack.table import HeaderTable

from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import Field

MAX_LINES = 2048
MAX_LINE = 256
"""How many lines are remembered, and bytes of the longest."""

SENSITIVE = frozenset((b"set-cookie", b"authorization", b"proxy-authorization"))
"""Fields that no hop further on may index either (RFC 7541 §7.1.3)."""

_NEVER = 0x10
_EXACT = {pair: index for index, pair in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
"""The static table (RFC 7541 appendix A): the first entry with a name counts."""


class StaticEncoder(Encoder):
    """Takes the place of ``hpack``'s encoder. It uses no table, but has to say when the table's size changes (§4.2)."""

    def encode(self, headers: Iterable[Field], huffman: bool = True) -> bytes:  # type: ignore[override]
        block = b"".join([_lines[pair] or _written(pair) for pair in headers])
        if self.header_table.resized:
            self.header_table.resized = False
            return bytes(self._encode_table_size_change()) + block
        return block


_lines: Memo[Field, bytes] = Memo(MAX_LINES)


def _written(pair: Field) -> bytes:
    line = field(*pair)
    if len(line) <= MAX_LINE:
        _lines.keep_repeated(pair, line)
    return line


def field(name: bytes, value: bytes) -> bytes:
    """One field: indexed where the static table has it, else a literal that nobody is to index (RFC 7541 §6)."""
    exact = _EXACT.get((name, value))
    if exact is not None:
        return integer(0x80, 7, exact)
    index = _NAMES.get(name)
    first = _NEVER if name in SENSITIVE else 0
    named = integer(first, 4, index) if index is not None else bytes((first,)) + integer(0, 7, len(name)) + name
    return named + integer(0, 7, len(value)) + value


def integer(first: int, bits: int, value: int) -> bytes:
    """``value`` with a prefix of so many bits beside those of ``first`` (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    rest, written = value - most, bytearray((first | most,))
    while rest >= 128:
        written.append(rest & 127 | 128)
        rest >>= 7
    written.append(rest)
    return bytes(written)
