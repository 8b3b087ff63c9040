"""Stored bodies that slow readers keep in memory, after the tiers may have let go of them."""

from __future__ import annotations

from caching_proxy.rules.slow_readers import KEPT_BYTES
from caching_proxy.rules.slow_readers import too_slow as is_too_slow

IMPATIENT_SECONDS = 2.0
"""For how long a client may take nothing of its answer then."""


class Pinned:
    """Bytes of the bodies of which some connection has a part left to send, each body counted once."""

    __slots__ = ("_holders", "bytes", "most")

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self.most = most
        self.bytes = 0
        self._holders: dict[int, int] = {}  # identity of a body → connections; they keep it alive meanwhile

    @property
    def too_many(self) -> bool:
        return self.bytes > self.most

    def too_slow(self, taken: int, seconds: float) -> bool:
        """Whether who took ``taken`` bytes of a body in ``seconds`` has to go, so that others have room."""
        return is_too_slow(taken, seconds, self.bytes, self.most)

    def hold(self, body: bytes) -> None:
        """One more connection sends ``body``."""
        name = id(body)
        holders = self._holders.get(name, 0)
        if not holders:
            self.bytes += len(body)
        self._holders[name] = holders + 1

    def release(self, body: bytes) -> None:
        """It does so no longer."""
        name = id(body)
        self._holders[name] -= 1
        if not self._holders[name]:
            del self._holders[name]
            self.bytes -= len(body)
