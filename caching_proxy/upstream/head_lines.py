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
from caching_proxy.http.messages import Fields, Ordinary, Persistence, ResponseHead, Telling
from caching_proxy.http.response_names import OWN_OF_RESPONSE, READ_OF_RESPONSE
from caching_proxy.http.values import transient
from caching_proxy.upstream.response_head import MAX_FIELDS, MAX_HEAD_BYTES, START, keep_alive, parse_response_head

COMBINATIONS = 256
"""How many of them a generation remembers."""

COMBINATION_BYTES = 1024
"""The longest that is remembered."""

_NAMING = frozenset((b"location", b"content-location", b"cache-status"))
"""They say by being there that the response is not ordinary."""

_EXPIRES = frozenset((b"expires",))
_OWN = frozenset((b"date", b"content-length")) | _EXPIRES | _NAMING | OWN_OF_RESPONSE
"""Told by the name: they differ each time, or most responses have none."""

_READ_WITHOUT_EXPIRES = READ_OF_RESPONSE | _EXPIRES
"""What is the same in all responses of a combination in which Expires is not among the names."""

_SHARED = (READ_OF_RESPONSE | {b"connection", b"keep-alive", b"transfer-encoding"}) - _OWN
_TEXT = bytes(set(range(256)) - set(b"\0\r\n"))
_WITHOUT_CONTENT = (204, 304)
_DIGITS = 15  # of a length, which no reader takes for another number
_START_BYTES = 64  # of a status line that is worth remembering
_PARTICULAR = Persistence(persistent=False, keep_alive=None)


@transient(slots=True, eq=False)
class _Told:
    """What a combination of lines tells: ``dated`` and ``sized`` are where among the lines told by their name Date and
    Content-Length stand, None where a response with them is not ordinary."""

    manner: Persistence
    dated: int | None
    sized: int
    telling: Telling | None


class HeadLines:
    """Reads heads; remembers lines, status lines and combinations, each bounded."""

    def __init__(self) -> None:
        self._lines = FieldLines(_OWN, _SHARED.__contains__, _TEXT)
        self._told: Memo[tuple[bytes, ...], _Told] = Memo(COMBINATIONS)

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
        told, ordinary = self._told[counting] or self._new(counting), None
        if told.dated is not None and minor and status >= 200 and status not in _WITHOUT_CONTENT:
            length = own[told.sized][1]
            if length.isdigit() and len(length) <= _DIGITS and (length[:1] != b"0" or length == b"0"):
                ordinary = Ordinary(int(length), own[told.dated][1], told.manner)
        return ResponseHead(status, reason, Fields.received(lines, told.telling), minor, ordinary)

    def _new(self, counting: tuple[bytes, ...]) -> _Told:
        names = [one for one in counting if b":" not in one]
        fields = Fields.received([one for one in counting if b":" in one])
        if b"transfer-encoding" in fields or not NAMES_NO_FIELD.issuperset(connection_options(fields)):
            manner = _PARTICULAR
        else:
            manner = Persistence(keeps_alive(1, fields), keep_alive(fields))
        dated, sized = None, 0
        once = names.count(b"date") == names.count(b"content-length") == 1
        if once and manner is not _PARTICULAR and _NAMING.isdisjoint(names):
            dated, sized = names.index(b"date"), names.index(b"content-length")
        telling = None
        if OWN_OF_RESPONSE.isdisjoint(names):
            telling = Telling(fields, READ_OF_RESPONSE if b"expires" in names else _READ_WITHOUT_EXPIRES)
        told = _Told(manner, dated, sized, telling)
        if sum(map(len, counting)) <= COMBINATION_BYTES:
            self._told.keep(counting, told)
        return told


def _start(line: bytes) -> tuple[int, bytes, int] | None:
    """Status, reason and minor version of a status line without its CRLF."""
    found = START.fullmatch(line + b"\r\n")
    return None if found is None else (int(found[2]), (found[3] or b"").strip(b" \t"), int(found[1]))


_known_start = lru_cache(256)(_start)

HEADS = HeadLines()
"""One for all connections: there is one backend."""
