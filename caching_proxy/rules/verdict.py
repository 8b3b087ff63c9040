"""What is decided about storing a response."""

from __future__ import annotations

from caching_proxy.http.values import transient
from caching_proxy.rules.entry import NO_FLAGS, Flag, Selecting
from caching_proxy.rules.freshness import Freshness
from caching_proxy.rules.outcome import Refusal


@transient(slots=True)
class Verdict:
    """``refusal`` is None for a response that may be stored. ``drop`` holds the lower-case names of fields that the
    backend excluded from storing (``private="…"``, ``no-cache="…"``); the first client still receives them."""

    refusal: Refusal | None
    freshness: Freshness
    flags: Flag = NO_FLAGS
    drop: frozenset[bytes] = frozenset()
    selecting: Selecting = ()

    @property
    def storable(self) -> bool:
        return self.refusal is None
