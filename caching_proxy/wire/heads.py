"""The head of a request: exact bytes in, :class:`RequestHead` out, or a refusal.

The rules are stricter than RFC 9112 where it allows leniency: lines end in CRLF, no control bytes, no obs-fold, one
valid Host, targets of visible ASCII. llhttp splits the field lines; everything that it lets pass is checked here on
the raw bytes first.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import httptools

from caching_proxy.core.framing import (
    NONE,
    BadMessage,
    Framing,
    connection_options,
    keeps_alive,
    request_framing,
)
from caching_proxy.core.messages import Field, Fields, RequestHead
from caching_proxy.wire.limits import DEFAULT_LIMITS, Limits

END: Final = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([^ \r\n]+) HTTP/([0-9])\.([0-9])\r\n")
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
# RFC 3986 §3.2.2 and 3.2.3, less the comma (it would join two Host lines) and an empty host
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]+)(?::([0-9]{0,5}))?")
_TEXT = bytes(set(range(256)) - set(range(32)) - {127}) + b"\t"
_TOKEN_FIRST = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]")
_PLAIN_METHODS = frozenset((b"GET", b"HEAD"))
_NOT_NOMINATED = frozenset((b"authorization", b"cookie", b"host", b"content-length", b"transfer-encoding"))
# llhttp knows a fixed list of methods; the request line is parsed here, so it always sees this one
_LINE_FOR_LLHTTP = b"POST / HTTP/1.1\r\n"


@attrs.define(slots=True, eq=False)
class ParsedHead:
    """A head with what follows from it for the connection.

    ``plain``: a GET or HEAD of HTTP/1.1 without body, Expect or Upgrade on a connection that persists, hence one that
    may be answered without building a request; ``persistent`` says the same but for the method. ``expects``: it waits
    for 100 Continue (RFC 9110 §10.1.1). ``plan`` is room for the hot path, as a head that repeats is one object.
    """

    head: RequestHead
    framing: Framing
    keep_alive: bool
    plain: bool
    expects: bool
    persistent: bool = False
    plan: object = None


def parse_request_head(data: bytes, limits: Limits = DEFAULT_LIMITS) -> RequestHead:
    """The head in ``data``, which ends with an empty line; raises :class:`BadMessage` (400, 414, 431, 501, 505)."""
    _bounded(data, limits)
    method, target, minor = _request_line(data, limits)
    residue = data.translate(None, _TEXT)  # RFC 9112 §2.2, §5.5: CR and LF only as CRLF, no NUL, no other controls
    if residue != b"\r\n" * (len(residue) // 2):
        raise BadMessage(400, "control character in the head")
    if b"\r\n " in data or b"\r\n\t" in data:
        raise BadMessage(400, "folded field line")  # RFC 9112 §5.2; also white space after the start line, §2.2
    count = len(residue) // 2 - 2
    if count > limits.field_count:
        raise BadMessage(431, "too many fields")
    pairs = _split(data[data.index(b"\n") + 1 :], minor)
    if len(pairs) != count:
        raise BadMessage(400, "malformed field")  # llhttp and the line ends disagree: never guess
    authority, target = _origin_form(method, target)
    fields = _with_host(Fields(pairs), authority, minor)
    for option in connection_options(fields):
        if option in _NOT_NOMINATED:
            raise BadMessage(400, "Connection nominates a field that may not be removed")
    if minor < 1 and b"expect" in fields:
        fields = fields.without((b"expect",))  # RFC 9110 §10.1.1: such a client cannot wait for an answer
    return RequestHead(method, target, fields, minor)


class HeadParser:
    """Parses heads and remembers the last ones by their exact bytes: clients repeat themselves.

    A client that asks for something else sends the same fields again, mostly: field lines are remembered too, with
    what was parsed from them. At most ``2 * remembered`` of each, of heads of up to ``MEMO_BYTES`` bytes, are kept.
    """

    MEMO_BYTES = 2048

    def __init__(self, limits: Limits = DEFAULT_LIMITS, remembered: int = 2048) -> None:
        self.limits = limits
        self._heads = _Memo(remembered)
        self._blocks = _Memo(remembered)  # field lines → some head that they came with

    def parse(self, data: bytes) -> ParsedHead:
        """Like :func:`parse_request_head`, with the framing decided too."""
        parsed = self._heads.get(data)
        if parsed is not None:
            return parsed
        memorable = len(data) <= self.MEMO_BYTES
        block = data[data.find(b"\n") + 1 :]
        other = self._blocks.get(block) if memorable else None
        parsed = None if other is None else self._with_fields_of(other, data)
        if parsed is None:
            parsed = _consequences(parse_request_head(data, self.limits))
            if memorable and data.startswith(b"/", len(parsed.head.method) + 1):  # in absolute-form it sets Host
                self._blocks.put(block, parsed)
        if memorable:
            self._heads.put(data, parsed)
        return parsed

    def _with_fields_of(self, other: ParsedHead, data: bytes) -> ParsedHead | None:
        """The head in ``data``, whose field lines are those of ``other``; None where they may mean something else."""
        _bounded(data, self.limits)
        method, target, minor = _request_line(data, self.limits)
        if minor != other.head.minor or not target.startswith(b"/"):
            return None
        head = RequestHead(method, target, other.head.fields, minor)
        plain = other.persistent and method in _PLAIN_METHODS
        return ParsedHead(head, other.framing, other.keep_alive, plain, other.expects, other.persistent)


class _Memo:
    """The last heads by some of their bytes, at most ``2 * size``: a full generation takes the place of the older.

    Only what comes a second time is kept: holding on to heads that never come again costs more than parsing them.
    """

    __slots__ = ("_old", "_seen", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: set[int] = set()  # hashes of what came once
        self._young: dict[bytes, ParsedHead] = {}
        self._old: dict[bytes, ParsedHead] = {}

    def get(self, data: bytes) -> ParsedHead | None:
        parsed = self._young.get(data)
        if parsed is None:
            parsed = self._old.get(data)
            if parsed is not None:
                self.put(data, parsed)
        return parsed

    def put(self, data: bytes, parsed: ParsedHead) -> None:
        mark = hash(data)
        if mark not in self._seen:
            if len(self._seen) >= 4 * self._size:
                self._seen.clear()
            self._seen.add(mark)
            return
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[data] = parsed


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
        _request_line(data, limits)


def _bounded(data: bytes, limits: Limits) -> None:
    if len(data) > limits.head_bytes:
        if data.find(b"\n", 0, limits.head_bytes) < 0:
            raise BadMessage(414, "request target too long")
        raise BadMessage(431, "request head too large")


def _consequences(head: RequestHead) -> ParsedHead:
    framing = request_framing(head)
    keep_alive = keeps_alive(head.minor, head.fields)
    expects = head.minor >= 1 and any(value.lower() == b"100-continue" for value in head.fields.all(b"expect"))
    persistent = (
        framing is NONE
        and keep_alive
        and head.minor == 1
        and b"expect" not in head.fields
        and b"upgrade" not in head.fields
    )
    plain = persistent and head.method in _PLAIN_METHODS
    return ParsedHead(head, framing, keep_alive, plain, expects, persistent)


def _request_line(data: bytes, limits: Limits) -> tuple[bytes, bytes, int]:
    """Method, target as sent, HTTP/1 minor version (RFC 9112 §3)."""
    match = _REQUEST_LINE.match(data)
    if match is None:
        raise BadMessage(400, "malformed request line")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise BadMessage(505, "HTTP version not supported")
    if len(target) > limits.target_bytes:
        raise BadMessage(414, "request target too long")
    if not _VISIBLE.fullmatch(target) or b"#" in target:
        raise BadMessage(400, "malformed request target")
    if method == b"CONNECT":
        raise BadMessage(501, "CONNECT is not supported")
    return method, target, int(minor)


class _Collector:
    """llhttp's callbacks."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value.rstrip(b" \t")))


def _split(lines: bytes, minor: int) -> list[Field]:
    """The field lines in order; a fresh parser each time, so that nothing is carried from one head to the next."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(_LINE_FOR_LLHTTP + lines)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as problem:
        # llhttp judges framing as well; our own judgement has the better status where it agrees
        request_framing(RequestHead(b"", b"", Fields(collector.pairs), minor))
        raise BadMessage(400, f"malformed field: {problem}") from None
    return collector.pairs


def _origin_form(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """The authority of an absolute-form target or None, and the target in origin-form or ``*`` (RFC 9112 §3.2)."""
    if target.startswith(b"/"):
        return None, target
    if target == b"*":
        if method != b"OPTIONS":
            raise BadMessage(400, "asterisk-form is for OPTIONS")
        return None, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _valid_host(match[1]):
        raise BadMessage(400, "malformed request target")
    authority, rest = match.groups()
    if not rest and method == b"OPTIONS":
        return authority, b"*"  # RFC 9112 §3.2.4
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def _with_host(fields: Fields, authority: bytes | None, minor: int) -> Fields:
    """The fields with exactly one valid Host; an absolute-form authority takes its place (RFC 9112 §3.2, §3.2.2)."""
    hosts = fields.all(b"host")
    if len(hosts) > 1 or (not hosts and minor >= 1):
        raise BadMessage(400, "a request needs one Host")
    if hosts and not _valid_host(hosts[0]):
        raise BadMessage(400, "malformed Host")
    if authority is None:
        return fields
    if not hosts:
        return fields.plus((b"Host", authority))
    return Fields((name, authority if name.lower() == b"host" else value) for name, value in fields)


def _valid_host(value: bytes) -> bool:
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or b"0") <= 65535
