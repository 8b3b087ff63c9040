"""The head of a request: exact bytes in, :class:`ParsedHead` out, or a refusal.

The rules are stricter than RFC 9112 where it allows leniency: lines end in CRLF, no control bytes, no obs-fold, one
valid Host, targets of visible ASCII. A head is split once at its line ends. Each line is understood by itself
(:mod:`caching_proxy.http.field_lines`); what follows from the lines that some rule reads is worked out once for each
combination of them. Nobody looks at the others unless a request walks the full path.
"""

from __future__ import annotations

import re
from typing import Any, Final, Generic, TypeVar

import attrs

from caching_proxy.http.field_lines import TEXT, FieldLines, Malformed
from caching_proxy.http.framing import (
    NONE,
    BadMessage,
    Framing,
    connection_options,
    keeps_alive,
    request_framing,
)
from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import Field, Fields, RequestHead, Telling
from caching_proxy.http.tokens import TCHAR
from caching_proxy.rules.relevance import OWN, READ, is_read
from caching_proxy.server.limits import DEFAULT_LIMITS, Limits
from caching_proxy.server.request_line import L, RequestLine, check_request_line, parse_request_line, valid_host

END: Final = b"\r\n\r\n"

_TOKEN_FIRST = re.compile(TCHAR)
M = TypeVar("M")
"""What the hot path keeps with a combination of lines."""

_DECIDE_NOTHING = frozenset((b"authorization", b"forwarded", b"x-request-id"))
"""Names told by themselves of which no trait of a request depends."""

_NOT_NOMINATED = frozenset((b"authorization", b"cookie", b"host", b"content-length", b"transfer-encoding"))


@attrs.define(slots=True, eq=False)
class Meaning(Generic[M]):
    """What the lines that count say, the same for all heads that are told by the same.

    ``fields`` are those lines less the ones that are told by their name alone. ``persistent``: HTTP/1.1 without body,
    Expect or Upgrade on a connection that persists. ``expects``: it waits for 100 Continue (RFC 9110 §10.1.1).
    ``telling``: what rules need not look for in each head, None where too much is told by its name alone.
    ``room`` is for what the hot path makes of them, ``manner`` for what becomes of requests that pass through.
    """

    fields: Fields
    framing: Framing
    keep_alive: bool
    expects: bool
    persistent: bool
    telling: Telling | None = None
    room: M | None = None
    manner: Any = None


class ParsedHead(Generic[L, M]):
    """A head with what follows from it for the connection.

    ``lines`` are all as they came, ``own`` the lines that count and differ in every request: lower-case name and value.
    ``plain``: a GET or HEAD of a persistent connection, hence one that may be answered without building a request.
    """

    __slots__ = ("_data", "_head", "_news", "_parser", "line", "lines", "meaning", "own", "plain")

    def __init__(
        self,
        line: RequestLine[L],
        meaning: Meaning[M],
        own: list[Field],
        lines: list[bytes],
        data: bytes,
        parser: HeadParser[L, M],
        news: bool,
    ) -> None:
        self.line = line
        self.meaning = meaning
        self.own = own
        self.plain = line.plain and meaning.persistent
        self.lines = lines
        self._data = data
        self._parser = parser
        self._news = news
        self._head: RequestHead | None = None

    @property
    def framing(self) -> Framing:
        return self.meaning.framing

    @property
    def keep_alive(self) -> bool:
        return self.meaning.keep_alive

    @property
    def expects(self) -> bool:
        return self.meaning.expects

    @property
    def head(self) -> RequestHead:
        """The request with all its fields, made when it is first asked for."""
        head = self._head
        if head is None:
            line = self.line
            if self._news:
                fields = Fields.received(self.lines, self.meaning.telling)
            else:
                fields = self._parser.all_fields(self._data, self.lines, self.meaning.telling)
            if line.authority is not None:
                fields = _with_authority(fields, line.authority)
            if line.minor < 1 and b"expect" in fields:
                fields = fields.without((b"expect",))  # RFC 9110 §10.1.1: such a client cannot wait for an answer
            head = self._head = RequestHead(line.method, line.target, fields, line.minor)
        return head

    def lines_of(self, name: bytes) -> list[bytes]:
        """The lines called ``name`` (lower case), as they came."""
        data, start = self._data, b"\r\n" + name + b":"
        lowered, lines = data.lower(), []
        at = lowered.find(start)
        while at >= 0:
            end = data.find(b"\r\n", at + 2)
            lines.append(data[at + 2 : end])
            at = lowered.find(start, end)
        return lines


AnyHead = ParsedHead[Any, Any]


def parse_request_head(data: bytes, limits: Limits = DEFAULT_LIMITS) -> RequestHead:
    """The head in ``data``, as :meth:`HeadParser.parse` has it."""
    parser: HeadParser[None, None] = HeadParser(limits)
    return parser.parse(data).head


class HeadParser(Generic[L, M]):
    """Parses heads, and remembers the last ones by their exact bytes, and request lines, field lines and what those
    that count come to by themselves: clients repeat themselves, and where they do not, their lines do.

    Each memory is bounded; ``remembered`` is how many bytes a generation of whole heads may take.
    """

    MEMO_BYTES = 2048
    """The longest head that is remembered as a whole."""

    MEANINGS = 1024
    """Combinations of lines that a generation of them remembers."""

    LINES_BYTES = 4 << 20
    """What a generation of request lines may take, with what the hot path keeps beside them."""

    COUNTING_BYTES = 1024
    """The longest of them."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, remembered: int = 2 << 20) -> None:
        self.limits = limits
        self._heads: Memo[bytes, ParsedHead[L, M]] = Memo(remembered, _weight)
        self._blocks: Memo[bytes, Fields] = Memo(remembered, _weight)
        self._field_lines = FieldLines(OWN, is_read)
        self._request_lines: Memo[bytes, RequestLine[L]] = Memo(self.LINES_BYTES, _line_weight)
        self._meanings: Memo[tuple[bytes, ...], Meaning[M]] = Memo(self.MEANINGS)

    def parse(self, data: bytes) -> ParsedHead[L, M]:
        """The head in ``data``, which ends with an empty line, the first there.

        Raises :class:`BadMessage` (400, 413, 414, 431, 501, 505).
        """
        return self._heads[data] or self._read(data)

    def alone(self, data: bytes) -> ParsedHead[L, M] | None:
        """The head in ``data``, if that is one from end to end; None where it takes :meth:`parse` to say what it is.

        So nobody need look for the end of a head that came as one with nothing behind it.
        """
        if len(data) > self.limits.head_bytes or not data.endswith(END):
            return None
        parsed = self._heads[data]
        if parsed is not None:
            return parsed
        try:
            return self._read(data)  # an empty line before the last one is malformed
        except BadMessage:
            return None

    def _read(self, data: bytes) -> ParsedHead[L, M]:
        if len(data) > self.limits.head_bytes:
            _bounded(data, self.limits)
        lines = data[:-4].split(b"\r\n")
        start = lines.pop(0)
        line = self._request_lines[start] or self._new_line(start)
        if len(lines) > self.limits.field_count:
            raise _count_refusal(data)
        try:
            counting, own = self._field_lines.read(lines)
        except Malformed:
            raise BadMessage(400, "malformed field") from None
        meaning = self._meanings[counting] if line.minor else None
        if meaning is None:
            meaning = self._new_meaning(counting, line)
        parsed = ParsedHead(line, meaning, own, lines, data, self, self._field_lines.news)
        if not parsed._news and len(data) <= self.MEMO_BYTES:
            self._heads.keep_repeated(data, parsed)
        return parsed

    def forget(self) -> None:
        """Forget heads and request lines, with what others keep of them: where they lead has changed."""
        self._heads.clear()
        self._request_lines.clear()

    def all_fields(self, data: bytes, lines: list[bytes], telling: Telling | None) -> Fields:
        """The fields of the head ``data``, which are ``lines``: one object for the same lines if they come again, as
        that object keeps what rules have worked out."""
        if len(data) > self.MEMO_BYTES:
            return Fields.received(lines, telling)
        block = data[data.find(b"\n") + 1 :]
        fields = self._blocks[block]
        if fields is None:
            fields = Fields.received(lines, telling)
            self._blocks.keep_repeated(block, fields)
        return fields

    def _new_line(self, start: bytes) -> RequestLine[L]:
        line: RequestLine[L] = parse_request_line(start, self.limits)
        if len(start) <= self.COUNTING_BYTES:
            self._request_lines.keep(start, line)
        return line

    def _new_meaning(self, counting: tuple[bytes, ...], line: RequestLine[L]) -> Meaning[M]:
        fields = Fields.received([one for one in counting if b":" in one])
        meaning: Meaning[M] = _meaning(RequestHead(line.method, line.target, fields, line.minor))
        own = {one for one in counting if b":" not in one}
        if own <= _DECIDE_NOTHING:
            meaning.telling = Telling(fields, READ - own)
        if line.minor and sum(map(len, counting)) <= self.COUNTING_BYTES:
            self._meanings.keep(counting, meaning)
        return meaning


def _weight(data: bytes) -> int:
    """What a head takes with its lines, about, or a block of lines."""
    return 3 * len(data) + 600


def _line_weight(start: bytes) -> int:
    return len(start) + 1000  # what the hot path keeps with it, too


def check_unfinished(data: bytes, limits: Limits, since: int = 0) -> None:
    """Refuse what can no longer become a valid head: ``data`` has no empty line yet, ``data[since:]`` is new."""
    line_end = data.find(b"\n")
    _bounded(data, limits)
    if not _TOKEN_FIRST.match(data) and data != b"\r":
        raise BadMessage(400, "not an HTTP request")
    if line_end < 0:
        if len(data) > limits.target_bytes + 128:
            raise BadMessage(414, "request target too long")
        return
    start = max(0, since - 1)
    if data.count(b"\n", start) != data.count(b"\r\n", start) + (since > 0 and data[start] == 10):
        raise BadMessage(400, "bare LF in the head")
    if since <= line_end:
        check_request_line(data[: max(0, line_end - 1)], limits)


def _bounded(data: bytes, limits: Limits) -> None:
    if len(data) > limits.head_bytes:
        if data.find(b"\n", 0, limits.head_bytes) < 0:
            raise BadMessage(414, "request target too long")
        raise BadMessage(431, "request head too large")


def _meaning(head: RequestHead) -> Meaning[Any]:
    """What the lines that count say; raises :class:`BadMessage` (400, 413, 501)."""
    fields = head.fields
    if any(len(value) > 19 and len(value.lstrip(b"0")) > 19 for value in fields.all(b"content-length")):
        raise BadMessage(400, "malformed Content-Length")  # beyond 64 bits nobody can mean it
    framing = request_framing(head)
    _check_host(fields, head.minor)
    if not _NOT_NOMINATED.isdisjoint(connection_options(fields)):
        raise BadMessage(400, "Connection nominates a field that may not be removed")
    keep_alive = keeps_alive(head.minor, fields)
    expects = head.minor >= 1 and any(value.lower() == b"100-continue" for value in fields.all(b"expect"))
    persistent = (
        framing is NONE and keep_alive and head.minor == 1 and b"expect" not in fields and b"upgrade" not in fields
    )
    return Meaning(fields, framing, keep_alive, expects, persistent)


def _check_host(fields: Fields, minor: int) -> None:
    """There is one Host and it is valid; HTTP/1.0 may do without (RFC 9112 §3.2)."""
    hosts = fields.all(b"host")
    if len(hosts) > 1 or (not hosts and minor >= 1):
        raise BadMessage(400, "a request needs one Host")
    if hosts and not valid_host(hosts[0]):
        raise BadMessage(400, "malformed Host")


def _with_authority(fields: Fields, authority: bytes) -> Fields:
    """The fields with the authority of an absolute-form target in place of Host (RFC 9112 §3.2.2)."""
    if b"host" not in fields:
        return fields.plus((b"Host", authority))
    return Fields((name, authority if name.lower() == b"host" else value) for name, value in fields)


def _count_refusal(data: bytes) -> BadMessage:
    """What is wrong with the head ``data``, which has too many fields."""
    residue = data.translate(None, TEXT)
    if residue != b"\r\n" * (len(residue) // 2) or b"\r\n " in data or b"\r\n\t" in data:
        return BadMessage(400, "malformed field")
    return BadMessage(431, "too many fields")
