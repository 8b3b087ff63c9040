"""The cursor of a listing of keys that comes in pages, and which keys of a step belong on a page.

A page may end within a step of the store's walk. The step's keys are then taken in the order of their digests, and
the cursor says behind which digest the next page goes on, in the same step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import attrs

_CURSOR = re.compile(rb"([sm])([0-9]{1,20}(?:-[0-9]{1,5}-[0-9a-f]{8})?)(?:\.([0-9a-f]{16}))?(?:@([0-9]{1,3}))?")

STORE, MEMORY = b"s", b"m"
"""Stages of a listing: what the store has, then what only this process has."""


@attrs.frozen(slots=True)
class Cursor:
    """Where a listing goes on: a stage, the store's own cursor, and the digest of the last key given.

    Among several workers ``slot`` says whose listing it is.
    """

    stage: bytes
    step: bytes
    after: bytes = b""
    slot: int = 0

    def __bytes__(self) -> bytes:
        after = b"." + self.after if self.after else b""
        return b"%b%b%b%b" % (self.stage, self.step, after, b"@%d" % self.slot if self.slot else b"")


@attrs.frozen(slots=True)
class Page:
    """Some keys, sorted; ``cursor`` is for the next page, None if this is the last."""

    keys: list[bytes]
    cursor: bytes | None = None


def parse_cursor(text: bytes) -> Cursor | None:
    """None for what no listing gave."""
    match = _CURSOR.fullmatch(text)
    return Cursor(match[1], match[2], match[3] or b"", int(match[4] or 0)) if match else None


def digest(key: bytes) -> bytes:
    """Where ``key`` stands within its step."""
    return blake2b(key, digest_size=8).hexdigest().encode()


def take(keys: Sequence[bytes], after: bytes, room: int) -> tuple[list[bytes], bytes]:
    """Up to ``room`` of a step's keys that stand behind ``after``, and the last one's digest, empty if that was all."""
    if not after and len(keys) <= room:
        return list(keys), b""
    left = sorted((where, key) for key in keys if (where := digest(key)) > after)
    if len(left) <= room:
        return [key for _, key in left], b""
    taken = left[:room]
    return [key for _, key in taken], taken[-1][0] if taken else after
