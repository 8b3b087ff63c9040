"""The cursor of a walk over all masters of a Cluster: which master, its own cursor, and what map there was."""

from __future__ import annotations

import re

import attrs

_STEP = re.compile(rb"([0-9]{1,20})-([0-9]{1,5})-([0-9a-f]{8})")


@attrs.frozen(slots=True)
class WalkPosition:
    """``master`` is a position among the masters in order, ``mark`` the checksum of the map (``SlotMap.mark``)."""

    cursor: bytes
    master: int
    mark: int

    def __bytes__(self) -> bytes:
        return b"%b-%d-%08x" % (self.cursor, self.master, self.mark)


def parse_step(text: bytes) -> WalkPosition | None:
    """None for what is no cursor of ours, the beginning of a walk among it."""
    match = _STEP.fullmatch(text)
    return WalkPosition(match[1], int(match[2]), int(match[3], 16)) if match else None
