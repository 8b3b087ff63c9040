"""Content in several buffers, most of them windows on a stored body: to send a part of it nobody needs a copy."""

from __future__ import annotations

from collections.abc import Iterable

SHARED_BYTES = 16 * 1024
"""Size from which content is sent as it lies in memory; joining less with its head costs less than a second write."""


class Pieces:
    """Content to be sent in order; its length is the number of bytes in all."""

    __slots__ = ("parts", "size")

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        self.parts = tuple(parts)
        self.size = sum(map(len, self.parts))

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


Content = bytes | Pieces


def window(content: bytes, start: int, stop: int) -> bytes | memoryview:
    """``content[start:stop]``: a copy where it is short, a window that keeps ``content`` alive where it is not."""
    if stop - start < SHARED_BYTES:
        return content[start:stop]
    return memoryview(content)[start:stop]
