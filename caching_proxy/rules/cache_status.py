"""The ``Cache-Status`` field (RFC 9211): one member per cache on the way, the one nearest the origin first.

A member is written as a Structured Field item; the members of caches before us stay as they came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from caching_proxy.http.messages import Fields
from caching_proxy.rules.outcome import Forward

_TOKEN = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_UNSAFE = re.compile(rb"[^\x20-\x7e]")
_LARGEST = 10**15 - 1  # RFC 8941 §3.3.1


@lru_cache(1024)
def member(
    proxy_name: bytes,
    *,
    hit: bool = False,
    forward: Forward | None = None,
    forward_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool | None = None,
    key: bytes | None = None,
    detail: bytes | None = None,
) -> bytes:
    """Our own member. ``hit`` and ``forward`` exclude each other (RFC 9211 §2.2); ``ttl`` is in whole seconds.

    ``collapsed`` is None where collapsing was not tried, False where it was tried in vain.
    """
    if hit and forward is not None:
        raise ValueError("a response is either a hit or was forwarded")
    parts = [_word(proxy_name)]
    if hit:
        parts.append(b"hit")
    if forward is not None:
        parts.append(b"fwd=" + forward.token)
    if forward_status is not None:
        parts.append(b"fwd-status=%d" % forward_status)
    if ttl is not None:
        parts.append(b"ttl=%d" % max(-_LARGEST, min(_LARGEST, ttl)))
    if stored:
        parts.append(b"stored")
    if collapsed is not None:
        parts.append(b"collapsed" if collapsed else b"collapsed=?0")
    if key is not None:
        parts.append(b"key=" + _string(key))
    if detail is not None:
        parts.append(b"detail=" + _word(detail))
    return b"; ".join(parts)


def forwarded_as(fields: Fields, status: int) -> Fields:
    """``fields`` whose last member, if it says that the request was forwarded, also says what was answered to it."""

    def told(value: bytes) -> bytes:
        before, reason, rest = value.rpartition(b"; fwd=")
        token, semicolon, more = rest.partition(b";")
        return b"%b%b%b; fwd-status=%d%b%b" % (before, reason, token, status, semicolon, more) if reason else value

    return Fields((name, told(value) if name.lower() == b"cache-status" else value) for name, value in fields)


def append(existing: Sequence[bytes], member: bytes) -> bytes:
    """The whole field value: the lines that came, then our member (RFC 9211 §2)."""
    return b", ".join([*(line for line in existing if line.strip()), member])


def _word(value: bytes) -> bytes:
    """As a Token where it can be one, else as a String."""
    return value if _TOKEN.fullmatch(value) else _string(value)


def _string(value: bytes) -> bytes:
    """A quoted String; bytes that it cannot hold are percent-encoded."""
    safe = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], value) if _UNSAFE.search(value) else value
    return b'"%b"' % safe.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
