"""The request line: method, target and version (RFC 9112 §3), and the valid spelling of a host."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import attrs

from caching_proxy.http.framing import BadMessage
from caching_proxy.http.tokens import TOKEN
from caching_proxy.server.limits import Limits

EMPTY_LINES = 2
"""How many are passed over before a request line: some clients end a body with one that is not counted."""

EMPTY_LINE = (b"\r\n", b"\n")

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([^ \r\n]+) HTTP/([0-9])\.([0-9])")
_PLAIN_LINE = re.compile(rb"(GET|HEAD) (/[!\"$-~]*) HTTP/1\.([01])")
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]+)(.*)", re.DOTALL)
# RFC 3986 §3.2.2 and 3.2.3, less the comma (it would join two Host lines) and an empty host
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]+)(?::([0-9]{0,5}))?")

L = TypeVar("L")
"""What the hot path keeps with a request line."""

_PLAIN_METHODS = frozenset((b"GET", b"HEAD"))


@attrs.define(slots=True, eq=False)
class RequestLine(Generic[L]):
    """A request line that was found valid.

    ``target`` is in origin-form or ``*``; ``authority`` is that of an absolute-form target, which takes the place of
    Host. ``minor`` is the HTTP/1 minor version. ``plain``: GET or HEAD of a path. ``room`` is for what the hot
    path makes of it, as lines repeat.
    """

    method: bytes
    target: bytes
    minor: int
    authority: bytes | None = None
    plain: bool = False
    room: L | None = None


def check_request_line(line: bytes, limits: Limits) -> tuple[bytes, bytes, int]:
    """Method, target as sent, minor version of ``line``, which stands without its CRLF; raises :class:`BadMessage`."""
    match = _REQUEST_LINE.fullmatch(line)
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


def parse_request_line(line: bytes, limits: Limits) -> RequestLine[Any]:
    """The request line ``line``, which stands without its CRLF; raises :class:`BadMessage` (400, 414, 501, 505)."""
    match = _PLAIN_LINE.fullmatch(line)
    if match is not None and len(line) <= limits.target_bytes:  # most, at less than half the cost
        method, target, digit = match.groups()
        return RequestLine(method, target, 1 if digit == b"1" else 0, None, True)
    method, target, minor = check_request_line(line, limits)
    if target.startswith(b"/"):
        return RequestLine(method, target, minor, plain=method in _PLAIN_METHODS)
    if target == b"*":
        if method != b"OPTIONS":
            raise BadMessage(400, "asterisk-form is for OPTIONS")
        return RequestLine(method, target, minor)
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not valid_host(match[1]):
        raise BadMessage(400, "malformed request target")
    authority, rest = match.groups()
    if not rest and method == b"OPTIONS":
        return RequestLine(method, b"*", minor, authority)  # RFC 9112 §3.2.4
    return RequestLine(method, rest if rest.startswith(b"/") else b"/" + rest, minor, authority)


def valid_host(value: bytes) -> bool:
    """Whether ``value`` may stand in Host."""
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or b"0") <= 65535


def past_empty_lines(data: bytes, at: int, skipped: int) -> tuple[int, int]:
    """Where the line behind empty ones at ``at`` begins, and how many of them were passed over; ``skipped`` before."""
    while skipped < EMPTY_LINES and data.startswith(EMPTY_LINE, at):  # RFC 9112 §2.2
        at += 1 if data.startswith(b"\n", at) else 2
        skipped += 1
    return at, skipped
