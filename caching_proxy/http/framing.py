"""Where the body of a message ends (RFC 9112 §6): one strict answer, or a refusal.

Everything here reads already split fields. What two readers could understand differently is refused with
:class:`BadMessage`, never guessed.
"""

from __future__ import annotations

import enum
from functools import lru_cache

from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.tokens import is_token
from caching_proxy.http.values import transient

_REGISTERED = frozenset((b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"))
_MAX_DIGITS = 18  # anything longer overflows somewhere downstream
_REMEMBERED = 64  # bytes of a Connection line worth remembering: senders repeat themselves


class BadMessage(Exception):
    """A message that must not be processed; ``status`` is what an answer would say (4xx/5xx)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class FramingKind(enum.Enum):
    """The four ways in which a body can end."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@transient(slots=True)
class Framing:
    """How a body is delimited; ``length`` is its size in bytes where that is known beforehand, else None."""

    kind: FramingKind
    length: int | None = None

    @classmethod
    def of(cls, length: int) -> Framing:
        """A body of exactly ``length`` bytes."""
        return cls(FramingKind.LENGTH, length)


NONE = Framing(FramingKind.NONE, 0)
CHUNKED = Framing(FramingKind.CHUNKED)
CLOSE = Framing(FramingKind.CLOSE)


def connection_options(fields: Fields) -> tuple[bytes, ...]:
    """The options of every ``Connection`` line in lower case and in order, each once; what is no token is skipped
    (RFC 9110 §7.6.1)."""
    lines = fields.all(b"connection")
    if not lines:
        return ()
    line = lines[0] if len(lines) == 1 else b",".join(lines)
    return _known_options(line) if len(line) <= _REMEMBERED else _options(line)


def _options(line: bytes) -> tuple[bytes, ...]:
    parts = dict.fromkeys(line.lower().split(b","))  # a sender may repeat one fifteen thousand times
    return tuple([option for part in parts if is_token(option := part.strip(b" \t"))])


_known_options = lru_cache(256)(_options)


def keeps_alive(minor: int, fields: Fields) -> bool:
    """Whether the sender lets the connection persist after this message (RFC 9112 §9.3)."""
    options = connection_options(fields)
    return (minor >= 1 or b"keep-alive" in options) and b"close" not in options


def has_no_body(method: bytes, status: int) -> bool:
    """Whether a response ends with its head, whatever its fields say (RFC 9112 §6.3, rules 1 and 2)."""
    return method == b"HEAD" or status < 200 or status in (204, 304)


def request_framing(head: RequestHead) -> Framing:
    """How the body of a request ends; raises :class:`BadMessage` with 400, 413 or 501."""
    fields = head.fields
    if b"transfer_encoding" in fields or b"content_length" in fields:
        raise BadMessage(400, "framing field spelt with an underscore")  # some backends read "_" as "-"
    codings, lengths = fields.all(b"transfer-encoding"), fields.all(b"content-length")
    if codings:
        if lengths:
            raise BadMessage(400, "Transfer-Encoding together with Content-Length")  # RFC 9112 §6.1
        if head.minor < 1:
            raise BadMessage(400, "Transfer-Encoding in an HTTP/1.0 request")  # RFC 9112 §6.1
        _check_request_codings(_codings(codings, 400))
        return CHUNKED
    if not lengths:
        return NONE
    if len(lengths) > 1:
        raise BadMessage(400, "repeated Content-Length")
    return Framing.of(_length(lengths[0], 400, 413))


def response_framing(method: bytes, head: ResponseHead) -> tuple[Framing, bool]:
    """How the body of the response to a ``method`` request ends, and whether the connection may serve another one.

    Raises :class:`BadMessage` with 502. When both Transfer-Encoding and Content-Length are present the caller must
    drop the latter (RFC 9112 §6.3), unless the coding is ``identity``, which means that there is none.
    """
    index = head.fields.index
    codings, lengths = index.get(b"transfer-encoding"), index.get(b"content-length", [])
    reusable = keeps_alive(head.minor, head.fields) and not (codings and (lengths or head.minor < 1))
    if has_no_body(method, head.status):
        announced = bool(codings) or any(value.strip(b"0 \t") for value in lengths)
        stray = announced and method != b"HEAD" and head.status != 304  # a body may follow all the same
        return NONE, reusable and not stray
    if codings:
        names = _codings(codings, 502)
        if not lengths or any(name != b"identity" for name in names):
            return _response_codings(names, reusable)
        # "identity" was no coding even when it was one (RFC 2616 §3.6): the length tells, but nothing follows it
    if not lengths:
        return CLOSE, False
    if len(lengths) == 1 and lengths[0].isdigit():
        return Framing(FramingKind.LENGTH, _length(lengths[0], 502, 502)), reusable
    sizes = {_length(part.strip(b" \t"), 502, 502) for value in lengths for part in value.split(b",")}
    if len(sizes) > 1:
        raise BadMessage(502, "differing Content-Length values")
    return Framing.of(sizes.pop()), reusable


def _codings(lines: list[bytes], status: int) -> list[bytes]:
    """Every transfer coding in order, in lower case; anything but a list of plain tokens is refused."""
    names = [part.strip(b" \t").lower() for line in lines for part in line.split(b",")]
    if not all(map(is_token, names)):
        raise BadMessage(status, "malformed Transfer-Encoding")
    return names


def _check_request_codings(names: list[bytes]) -> None:
    if names == [b"chunked"]:
        return
    if b"chunked" in names[:-1]:
        raise BadMessage(400, "chunked is not the last transfer coding")  # RFC 9112 §6.1
    if names[-1] in _REGISTERED:
        raise BadMessage(400, "the last transfer coding is not chunked")  # RFC 9112 §6.3
    raise BadMessage(501, "unsupported transfer coding")  # RFC 9112 §6.1


def _response_codings(names: list[bytes], reusable: bool) -> tuple[Framing, bool]:
    if names == [b"chunked"]:
        return CHUNKED, reusable
    if len(names) > 1:
        raise BadMessage(502, "unsupported transfer codings")  # undone only in part, the content would be garbled
    if names[0] in _REGISTERED and names[0] != b"identity":
        raise BadMessage(502, "unsupported transfer coding")  # known to change the content, which nobody would undo
    return CLOSE, False  # RFC 9112 §6.3: the body runs until the connection closes


def _length(value: bytes, malformed: int, too_long: int) -> int:
    if not value.isdigit():
        raise BadMessage(malformed, "malformed Content-Length")
    if len(value) > _MAX_DIGITS:
        value = value.lstrip(b"0") or b"0"
        if len(value) > _MAX_DIGITS:
            raise BadMessage(too_long, "Content-Length too large")
    return int(value)
