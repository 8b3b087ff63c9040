"""The chunked transfer coding, decoded as it arrives (RFC 9112 §7.1); used towards clients and the backend.

Strict where smuggling lives: sizes are bare hex digits, every line ends in CRLF, nothing may stand between a chunk
and its CRLF. Extensions are read over, but what a sender spends on framing is bounded.
"""

from __future__ import annotations

import re

from caching_proxy.http.framing import BadMessage
from caching_proxy.http.messages import NO_FIELDS, Field, Fields
from caching_proxy.http.tokens import TOKEN

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?")
_LENIENT_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?")
_TRAILER = re.compile(b"(" + TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_NO_BYTES = b""


_SIZES = {b"%x" % size: size for size in range(1, 4096)} | {b"%X" % size: size for size in range(1, 4096)}


def _plain_chunks(data: bytes, at: int, pieces: list[bytes]) -> int:
    """Take the short chunks without extensions that are whole in ``data[at:]``; where they end.

    What the states would do, in one loop: a read may hold forty thousand chunks of one byte.
    """
    sizes = _SIZES
    while True:
        start = data.find(b"\r\n", at, at + 5) + 2
        size = sizes.get(data[at : start - 2]) if start > 1 else None
        if size is None:
            return at
        stop = start + size
        if data[stop : stop + 2] != b"\r\n":
            return at
        pieces.append(data[start:stop])
        at = stop + 2


class ChunkedDecoder:
    """Turns the bytes of one chunked body into its content.

    After ``done`` the bytes behind the body are in ``rest`` and the trailer section in ``trailers``. Violations raise
    :class:`BadMessage` with ``status``; the decoder is of no use afterwards.

    ``line_bytes`` bounds a chunk-size line, ``trailer_bytes`` and ``trailer_count`` the trailer section. A sender may
    spend 16 bytes of framing on a chunk plus twice its content; beyond that it has ``overhead_bytes`` in all.
    ``lenient`` takes blanks behind a size, as some backends write them.
    """

    __slots__ = (
        "_buffer",
        "_fields",
        "_left",
        "_line_bytes",
        "_line",
        "_overhead",
        "_overhead_bytes",
        "_state",
        "_status",
        "_trailer_bytes",
        "_trailer_count",
        "done",
        "rest",
        "trailers",
    )

    def __init__(
        self,
        status: int = 400,
        *,
        lenient: bool = False,
        line_bytes: int = 4096,
        overhead_bytes: int = 16 * 1024,
        trailer_bytes: int = 8192,
        trailer_count: int = 64,
    ) -> None:
        self.done = False
        self.rest = _NO_BYTES
        self.trailers = NO_FIELDS
        self._status = status
        self._line = _LENIENT_SIZE_LINE if lenient else _SIZE_LINE
        self._line_bytes = line_bytes
        self._overhead_bytes = overhead_bytes
        self._trailer_bytes = trailer_bytes
        self._trailer_count = trailer_count
        self._buffer = _NO_BYTES
        self._left = 0
        self._overhead = 0
        self._fields: list[Field] = []
        self._state = ChunkedDecoder._size

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of content that ``data`` completes, none of them empty, in order."""
        if self.done:
            self.rest += data
            return []
        if self._buffer:
            data = self._buffer + data
            self._buffer = _NO_BYTES
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._overhead == 0 and self._state is ChunkedDecoder._size:
                at = _plain_chunks(data, at, pieces)
                if at == end:
                    break
            after = self._state(self, data, at, pieces)
            if after < 0:  # an unfinished line
                self._buffer = data[at:]
                break
            at = after
            if self.done:
                self.rest = data[at:]
                break
        return pieces

    # Each state takes what it can from data[at:] and returns where it stopped, or -1 when it needs more bytes. A
    # decoder has the function of its state, not the method, which would refer back to it.

    def _size(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = self._line_end(data, at, self._line_bytes)
        if end < 0:
            return -1
        match = self._line.fullmatch(data, at, end)
        if match is None:
            raise self._bad("malformed chunk size")
        size = int(match[1], 16)
        # RFC 9112 §7.1.1: limit the total length of extensions
        self._overhead = max(0, self._overhead + end - at - 14 - 2 * size)
        if self._overhead > self._overhead_bytes:
            raise self._bad("too much chunk framing")
        self._left = size
        self._state = ChunkedDecoder._content if size else ChunkedDecoder._trailer
        return end + 2

    def _content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        left = self._left
        piece = data[at : at + left] if at or len(data) > left else data
        pieces.append(piece)
        self._left = left - len(piece)
        if not self._left:
            self._state = ChunkedDecoder._after_content
        return at + len(piece)

    def _after_content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        crlf = data[at : at + 2]
        if crlf == b"\r\n":
            self._state = ChunkedDecoder._size
            return at + 2
        if crlf == b"\r":
            return -1
        raise self._bad("chunk longer than its size")

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = self._line_end(data, at, self._trailer_bytes)
        if end < 0:
            return -1
        if end == at:
            self.trailers = Fields(self._fields) if self._fields else NO_FIELDS
            self.done = True
            return end + 2
        match = _TRAILER.fullmatch(data, at, end)
        self._trailer_bytes -= end - at
        if match is None:
            raise self._bad("malformed trailer field")
        if len(self._fields) >= self._trailer_count:
            raise self._bad("too many trailer fields")
        self._fields.append((match[1], match[2].strip(b" \t")))
        return end + 2

    def _line_end(self, data: bytes, at: int, limit: int) -> int:
        """Where the line that starts at ``at`` has its CRLF, -1 while it has none."""
        end = data.find(b"\n", at, at + limit + 2)
        if end < 0:
            if len(data) - at >= limit + 2:
                raise self._bad("line of a chunked body too long")
            return -1
        if end == at or data[end - 1] != 13:
            raise self._bad("bare LF in a chunked body")  # RFC 9112 §2.2: only CRLF is safe here
        return end - 1

    def _bad(self, text: str) -> BadMessage:
        return BadMessage(self._status, text)
