"""The answer of ``GET /keys``, written piece by piece: no piece takes long to make, and none is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator

from caching_proxy.rules.key import key_text, role_label

PIECE = 1000
"""Keys to a piece."""


def listing(keys: list[bytes], cursor: bytes | None) -> Iterator[bytes]:
    """The JSON text of ``keys`` (sorted), together and by role; some pieces are empty, where work had to be cut."""
    roles: dict[str, list[bytes]] = {}
    for start in range(0, len(keys), PIECE):
        for key in keys[start : start + PIECE]:
            roles.setdefault(role_label(key), []).append(key)
        yield b""
    yield b'{"keyCount":%d,"keysByRole":{' % len(keys)
    for number, (role, members) in enumerate(roles.items()):
        yield b"%b%b:[" % (b"," if number else b"", json.dumps(role).encode("ascii"))
        yield from _texts(members)
        yield b"]"
    yield b'},"keys":['
    yield from _texts(keys)
    yield b"]"
    if cursor is not None:
        yield b',"cursor":"%b"' % cursor
    yield b"}\n"


def _texts(keys: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(keys), PIECE):
        texts = json.dumps([key_text(key) for key in keys[start : start + PIECE]], separators=(",", ":"))
        yield (b"," if start else b"") + texts[1:-1].encode("ascii")
