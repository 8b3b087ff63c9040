"""Content codings (RFC 9110 §8.4.1): bytes in, compressed bytes out. All of them let other threads run meanwhile."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable

GZIP, BROTLI, ZSTD = b"gzip", b"br", b"zstd"

_MODULES = {GZIP: "zlib", BROTLI: "brotli", ZSTD: "zstandard"}

GZIP_LEVEL, BROTLI_QUALITY, ZSTD_LEVEL = 6, 5, 6
"""Where each has most of its gain and little of its cost."""


def available(coding: bytes) -> bool:
    """Whether what ``coding`` needs is installed."""
    return importlib.util.find_spec(_MODULES[coding]) is not None


def compress(coding: bytes, data: bytes) -> bytes:
    """``data`` in ``coding``, which is available; the same bytes each time."""
    return _COMPRESSORS[coding](data)


def _gzip(data: bytes) -> bytes:
    made = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)  # 31: with the head and trailer of gzip, without a time
    return made.compress(data) + made.flush()


def _brotli(data: bytes) -> bytes:
    import brotli

    found: bytes = brotli.compress(data, mode=brotli.MODE_TEXT, quality=BROTLI_QUALITY)
    return found


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


_COMPRESSORS: dict[bytes, Callable[[bytes], bytes]] = {GZIP: _gzip, BROTLI: _brotli, ZSTD: _zstd}
