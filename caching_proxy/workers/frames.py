"""Messages between supervisor and workers: a JSON object, and bytes that belong to it.

On the wire a frame is its length, the length of the JSON text (four bytes each, big-endian), the text, the bytes.
Both ends are ours, so whatever does not fit this is a bug, and ends the connection.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import attrs

MAX_FRAME_BYTES = 1024 * 1024
"""Bytes after the first length. What is longer is sent in pieces."""

PIECE_BYTES = 128 * 1024
"""What one frame of a long answer carries: parsing it takes about a millisecond."""

_LENGTHS = struct.Struct(">II")


class BadFrame(Exception):
    """What came is no frame."""


@attrs.frozen(slots=True)
class WorkerFrame:
    """One message."""

    words: dict[str, Any]
    blob: bytes = b""

    def encode(self) -> bytes:
        """Raises ValueError if it is longer than a frame may be, or not JSON."""
        text = json.dumps(self.words, separators=(",", ":")).encode("ascii")
        length = 4 + len(text) + len(self.blob)
        if length > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {length} bytes")
        return b"".join((_LENGTHS.pack(length, len(text)), text, self.blob))


class FrameReader:
    """Takes bytes as they come and gives frames; holds less than one frame and one chunk."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[WorkerFrame]:
        """The frames that are complete now; raises :class:`BadFrame`."""
        self._waiting += data
        at = 0
        try:
            while len(self._waiting) - at >= _LENGTHS.size:
                length, text = _LENGTHS.unpack_from(self._waiting, at)
                if length > MAX_FRAME_BYTES or text > length - 4:
                    raise BadFrame(f"lengths of {length} and {text}")
                end = at + 4 + length
                if len(self._waiting) < end:
                    break
                content = bytes(self._waiting[at + _LENGTHS.size : end])
                at = end
                yield WorkerFrame(_words(content[:text]), content[text:])
        finally:
            del self._waiting[:at]


def _words(text: bytes) -> dict[str, Any]:
    try:
        words = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrame("not JSON") from error
    if not isinstance(words, dict):
        raise BadFrame("not a JSON object")
    return words


def pieces(blob: bytes) -> Iterator[bytes]:
    """``blob`` in parts that fit frames; one empty part if it is empty."""
    for start in range(0, len(blob) or 1, PIECE_BYTES):
        yield blob[start : start + PIECE_BYTES]
