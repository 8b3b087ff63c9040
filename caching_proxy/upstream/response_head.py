"""The head of a backend's response, from bytes.

Tolerant where RFC 9112 asks it of a recipient: obs-fold becomes one space (§5.2), whitespace before a colon goes
(§5.1), lines may end in LF alone (§2.2), the reason may be missing (§4), and any status from 100 to 999 is taken.
Strict otherwise: bare CR, NUL, a line that is no field, whitespace where the first field line should start (§2.2),
other versions of HTTP. Every expression here takes time in proportion to the length of the head, whatever is in it.

The split is our own, not llhttp's: llhttp refuses what a proxy has to take (Transfer-Encoding beside Content-Length)
and stops at a 101, so its view of a head would need correcting anyway; one regular expression that must account for
every line takes half as long (1.5 against 2.8 µs for eight fields).
"""

from __future__ import annotations

import re

from caching_proxy.http.framing import BadMessage, Framing, FramingKind, response_framing
from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.http.tokens import TOKEN
from caching_proxy.interfaces import UpstreamProtocolError

MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 256
_LENGTH = FramingKind.LENGTH  # finding a member costs several times what a name of the module does

START = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\x00\r\n]*))?\r\n(?![ \t])")
# A match starts at the beginning of a line and holds one LF: as many matches as LFs means that no line was missed.
_LINE = re.compile(rb"(?<=\n)(" + TOKEN + rb"):[ \t]*+([^\x00\r\n]*+)\r\n")
_SPACE_BEFORE_COLON = re.compile(rb"(?<=\n)(" + TOKEN + rb")[ \t]++:")
_BARE = re.compile(rb"\r[^\n]|\x00")
_BARE_LF = re.compile(rb"(?<!\r)\n")


def parse_response_head(data: bytes) -> ResponseHead:
    """The head in ``data``, which ends with the empty line. Raises :class:`UpstreamProtocolError`."""
    if len(data) > MAX_HEAD_BYTES:
        raise UpstreamProtocolError("the response head is too large")
    if data.count(b"\n") != data.count(b"\r\n"):
        data = _BARE_LF.sub(b"\r\n", data)
    start = START.match(data)
    if start is None or not data.endswith(b"\r\n\r\n"):
        raise UpstreamProtocolError("the response does not start with an HTTP/1 status line")
    return ResponseHead(int(start[2]), (start[3] or b"").strip(b" \t"), _fields(data, start.end()), int(start[1]))


def _fields(data: bytes, begin: int) -> Fields:
    pairs = _LINE.findall(data, begin)
    if len(pairs) != data.count(b"\n", begin) - 1:
        data, begin = _mended(data[begin - 1 :]), 1
        pairs = _LINE.findall(data, begin)
        if len(pairs) != data.count(b"\n", begin) - 1:
            raise UpstreamProtocolError("the response head has a malformed field line")
    if len(pairs) > MAX_FIELDS:
        raise UpstreamProtocolError("the response head has too many fields")
    if data.find(b" \r\n", begin) >= 0 or data.find(b"\t\r\n", begin) >= 0:
        pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]
    return Fields(pairs)


def _mended(data: bytes) -> bytes:
    """Field lines unfolded and without whitespace before their colons (RFC 9112 §5.1, §5.2)."""
    lines: list[list[bytes]] = []
    for line in data.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and lines:
            lines[-1][-1] = lines[-1][-1].rstrip(b" \t")
            lines[-1].append(line.strip(b" \t"))
        else:
            lines.append([line])
    return _SPACE_BEFORE_COLON.sub(rb"\1:", b"\r\n".join(b" ".join(parts) for parts in lines))


def end_of_head(data: bytes, seen: int = 0) -> int:
    """Where the head at the beginning of ``data`` ends, its empty line included; -1 while that is not there.

    Bytes before ``seen`` were looked at before.
    """
    at = max(seen - 2, 0)
    crlf = data.find(b"\n\r\n", at)
    lf = data.find(b"\n\n", at, len(data) if crlf < 0 else crlf + 1)
    if lf >= 0:
        return lf + 2
    return crlf + 3 if crlf >= 0 else -1


def hopeless(data: bytes, seen: int = 0) -> bool:
    """Whether ``data``, the beginning of a head, can no longer become one; so that nobody waits for its end.

    Bytes before ``seen`` were looked at before.
    """
    expected = b"HTTP/1."
    return data[: len(expected)] != expected[: len(data)] or _BARE.search(data, seen) is not None


def delimited(method: bytes, head: ResponseHead) -> tuple[ResponseHead, Framing, bool, int | None]:
    """``head``, the answer to ``method``, :func:`settled`; how its body ends; whether the connection may serve another
    request after it, and :func:`keep_alive`. Raises :class:`UpstreamProtocolError`."""
    ordinary = head.ordinary
    if ordinary is not None and method != b"HEAD":
        return head, Framing(_LENGTH, ordinary.length), ordinary.manner.persistent, ordinary.manner.keep_alive
    try:
        framing, reusable = response_framing(method, head)
    except BadMessage as error:
        raise UpstreamProtocolError(error.text) from None
    head = settled(head, framing)
    return head, framing, reusable, keep_alive(head.fields)


def settled(head: ResponseHead, framing: Framing) -> ResponseHead:
    """The head with at most one Content-Length, and only one that is true (RFC 9112 §6.3, RFC 9110 §8.6)."""
    lengths = head.fields.index.get(b"content-length")
    if lengths is None:
        return head
    proper: list[bytes] = []
    if framing.kind is FramingKind.LENGTH:
        proper = [b"%d" % (framing.length or 0)]
    elif (
        framing.kind is FramingKind.NONE and _describes_a_get(head) and len(set(lengths)) == 1 and lengths[0].isdigit()
    ):
        proper = lengths[:1]
    if proper == lengths:
        return head
    fields = head.fields.without((b"content-length",))
    return ResponseHead(
        head.status, head.reason, fields.plus(*((b"Content-Length", value) for value in proper)), head.minor
    )


def _describes_a_get(head: ResponseHead) -> bool:
    """Whether a Content-Length without a body, after HEAD or in a 304, says how long the body of a 200 would be."""
    return head.status >= 200 and head.status != 204 and b"transfer-encoding" not in head.fields


def keep_alive(fields: Fields) -> int | None:
    """Seconds for which the backend says it keeps an idle connection (``Keep-Alive: timeout=…``), if it does."""
    for line in fields.all(b"keep-alive"):
        for part in line.split(b","):
            name, _, value = part.strip(b" \t").partition(b"=")
            if name.lower() == b"timeout" and value.isdigit() and len(value) < 10:
                return int(value)
    return None
