"""Heads in the spelling of HTTP/2 and in that of HTTP/1.1 (RFC 9113 §8): the same request, told the other way.

A request's fields become the bytes of a head, which the one parser of heads then judges; nothing here may let through
what would be two lines there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import Field
from caching_proxy.http.tokens import is_token

CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings")
)
"""Fields that speak of an HTTP/1.1 connection (RFC 9113 §8.2.2)."""

_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_BROKEN = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")


def request_head(fields: Iterable[Field]) -> bytes:
    """The HTTP/1.1 head that says what ``fields``, pseudo-fields among them, do; raises :class:`BadMessage`."""
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    crumbs: list[bytes] = []
    host: bytes | None = None
    for name, value in fields:
        if _BROKEN.search(value):
            raise _malformed("a value")
        if name.startswith(b":"):
            if lines or crumbs or host is not None or name not in _PSEUDO or name in pseudo:
                raise _malformed("a pseudo-field")
            pseudo[name] = value
        elif not _NAME.fullmatch(name):
            raise _malformed("a name")
        elif name in CONNECTION_SPECIFIC or (name == b"te" and value.lower() != b"trailers"):
            raise _malformed("a field of HTTP/1.1 connections")
        elif name == b"cookie":
            crumbs.append(value)
        elif name == b"host":
            if host is not None:
                raise _malformed("Host")
            host = value
        elif name != b"te":
            lines.append(b"%b: %b\r\n" % (name, value))
    if crumbs:  # RFC 9113 §8.2.3
        lines.append(b"cookie: %b\r\n" % b"; ".join(crumbs))
    return b"%b%b\r\n" % (_start(pseudo, host), b"".join(lines))


def _start(pseudo: dict[bytes, bytes], host: bytes | None) -> bytes:
    """Request line and Host."""
    method, path, authority = pseudo.get(b":method", b""), pseudo.get(b":path", b""), pseudo.get(b":authority")
    if method == b"CONNECT":
        raise BadMessage(501, "CONNECT is not supported")
    if not is_token(method) or pseudo.get(b":scheme", b"").lower() not in (b"http", b"https"):
        raise _malformed("a pseudo-field")
    if not _TARGET.fullmatch(path) or not path.startswith((b"/", b"*")):
        raise _malformed("a pseudo-field")
    if authority is not None and host is not None and authority.lower() != host.lower():
        raise _malformed("Host")  # RFC 9113 §8.3.1: two readers could take either
    named = host if authority is None else authority
    if not named:
        raise BadMessage(400, "a request needs one Host")
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, path, named)


def check_trailers(fields: Iterable[Field]) -> None:
    """Trailers end here, but malformed ones make the request so; raises :class:`BadMessage`."""
    for name, value in fields:
        if not _NAME.fullmatch(name) or name in CONNECTION_SPECIFIC or _BROKEN.search(value):
            raise _malformed("a trailer")


def response_fields(status: int, fields: Iterable[Field]) -> list[Field]:
    """What a response's head says in HTTP/2."""
    found = [(b":status", b"%d" % status)]
    for name, value in fields:
        lower = name.lower()
        if lower not in CONNECTION_SPECIFIC:
            found.append((lower, value))
    return found


def response_lines(head: bytes) -> list[Field]:
    """The same for the bytes of an HTTP/1.1 head, without the empty line."""
    start, *lines = head.split(b"\r\n")
    split = (line.partition(b": ") for line in lines if line)
    return response_fields(int(start[9:12]), [(name, value) for name, _, value in split])


def _malformed(what: str) -> BadMessage:
    return BadMessage(400, f"malformed request: {what}")
