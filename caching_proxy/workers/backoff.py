"""When a worker that died is started again: at once, unless it keeps dying soon after its start."""

from __future__ import annotations

import attrs

SHORT_SECONDS = 5.0
"""A worker that lived for less could not live."""

FIRST_SECONDS = 0.25
MOST_SECONDS = 30.0


@attrs.define(slots=True)
class Backoff:
    """The deaths in one place, in a row and each soon after its start."""

    short_lives: int = 0

    def died(self, lived: float) -> float:
        """Seconds to wait before the next start, after a worker that lived for ``lived`` seconds.

        The first short life may have been an accident; from the second on each wait is twice the one before.
        """
        if lived >= SHORT_SECONDS:
            self.short_lives = 0
            return 0.0
        self.short_lives += 1
        if self.short_lives == 1:
            return 0.0
        return min(FIRST_SECONDS * 2.0 ** min(self.short_lives - 2, 16), MOST_SECONDS)
