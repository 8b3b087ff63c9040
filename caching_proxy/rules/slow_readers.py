"""When a client that reads slowly has to go, because what is kept for such clients has become too much.

Bodies that nobody else needs stay in memory for as long as one client has not read them to the end. A few slow phones
harm nobody; hundreds of clients that trickle large bodies of their own would hold gigabytes.
"""

from __future__ import annotations

KEPT_BYTES = 64 * 1024 * 1024
"""What may be kept for slow clients, of one kind, before the slowest are dropped."""

AT_ONCE = 1.25
"""How many times as much may be kept at any moment."""

SLOWEST_RATE = 4 * 1024
"""Bytes a second that a client has to take at least, on average, when just too much is kept."""

SLOW_SECONDS = 10.0
"""After how long a client's average counts."""


def too_slow(taken: int, seconds: float, kept: int, most: int = KEPT_BYTES) -> bool:
    """Whether who took ``taken`` bytes in ``seconds`` has to go while ``kept`` bytes are kept and ``most`` may be.

    Never while there is room. The rate that is asked for grows with the square of what is kept.
    """
    if kept <= most or seconds < SLOW_SECONDS:
        return False
    return taken < SLOWEST_RATE * (kept / most) ** 2 * seconds
