"""What a connection of HTTP/1.1 is doing."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """What arriving bytes are."""

    HEAD = "head"  # a request's head, or nothing yet
    BUSY = "busy"  # the body of the request under way, or sent ahead
    CLOSING = "closing"  # thrown away: the last answer is written
    TUNNEL = "tunnel"  # somebody else's
    GONE = "gone"
