"""Heads of responses by their lines: of those that a backend sends, most are the same each time.

Each line is understood by itself and remembered, and what follows from those about the connection is worked out once
for each combination of them. What is not well-formed is left to :mod:`.response_head`, which mends or refuses it.
"""

from __future__ import annotations

from functools import lru_cache

from caching_proxy.http.field_lines import FieldLines, Malformed
from caching_proxy.http.framing import connection_options, keeps_alive
from caching_proxy.http.hop_by_hop import NAMES_NO_FIELD
from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import Field, Fields, Manner, Ordinary, ResponseHead
from caching_proxy.upstream.response_head import MAX_FIELDS, MAX_HEAD_BYTES, START, keep_alive, parse_response_head

COMBINATIONS = 256
"""How many of them a generation remembers."""

COMBINATION_BYTES = 1024
"""The longest that is remembered."""

_OWN = frozenset((b"date", b"content-length", b"location", b"content-location", b"cache-status"))
"""Told by the name: they differ each time, or say by being there that the response is not ordinary."""

_SHARED = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))
_TEXT = bytes(set(range(256)) - set(b"\0\r\n"))
_WITHOUT_CONTENT = (204, 304)
_DIGITS = 15  # of a length, which no reader takes for another number
_START_BYTES = 64  # of a status line that is worth remembering
_PARTICULAR = Manner(persistent=False, keep_alive=None)


class HeadLines:
    """Reads heads; remembers lines, status lines and combinations, each bounded."""

    def __init__(self) -> None:
        self._lines = FieldLines(_OWN, _SHARED.__contains__, _TEXT)
        self._manners: Memo[tuple[bytes, ...], Manner] = Memo(COMBINATIONS)

    def read(self, data: bytes) -> ResponseHead:
        """:func:`.response_head.parse_response_head`, which also says whether the response is :class:`Ordinary`."""
        if data.count(b"\n") != data.count(b"\r\n") or len(data) > MAX_HEAD_BYTES or data[-4:] != b"\r\n\r\n":
            return parse_response_head(data)
        lines = data[:-4].split(b"\r\n")
        start = lines.pop(0)
        known = _known_start(start) if len(start) <= _START_BYTES else _start(start)
        if known is None or len(lines) > MAX_FIELDS:
            return parse_response_head(data)
        try:
            counting, own = self._lines.read(lines)
        except Malformed:
            return parse_response_head(data)
        status, reason, minor = known
        ordinary = None
        if len(own) == 2 and minor and status >= 200 and status not in _WITHOUT_CONTENT:
            ordinary = _ordinary(own[0], own[1], self._manners[counting] or self._new_manner(counting))
        return ResponseHead(status, reason, Fields.received(lines), minor, ordinary)

    def _new_manner(self, counting: tuple[bytes, ...]) -> Manner:
        fields = Fields.received([one for one in counting if b":" in one])
        if b"transfer-encoding" in fields or not NAMES_NO_FIELD.issuperset(connection_options(fields)):
            manner = _PARTICULAR
        else:
            manner = Manner(keeps_alive(1, fields), keep_alive(fields))
        if sum(map(len, counting)) <= COMBINATION_BYTES:
            self._manners.keep(counting, manner)
        return manner


def _ordinary(first: Field, second: Field, manner: Manner) -> Ordinary | None:
    if first[0] == b"content-length":
        first, second = second, first
    (dated, date), (sized, length) = first, second
    if dated != b"date" or sized != b"content-length" or manner is _PARTICULAR:
        return None
    if not length.isdigit() or len(length) > _DIGITS or (length[:1] == b"0" and length != b"0"):
        return None
    return Ordinary(int(length), date, manner)


def _start(line: bytes) -> tuple[int, bytes, int] | None:
    """Status, reason and minor version of a status line without its CRLF."""
    found = START.fullmatch(line + b"\r\n")
    return None if found is None else (int(found[2]), (found[3] or b"").strip(b" \t"), int(found[1]))


_known_start = lru_cache(256)(_start)

HEADS = HeadLines()
"""One for all connections: there is one backend."""
