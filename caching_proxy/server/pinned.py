"""What slow readers keep in memory: stored bodies that the tiers may have let go of, and what is theirs alone."""

from __future__ import annotations

from typing import Protocol

from caching_proxy.rules.slow_readers import AT_ONCE, KEPT_BYTES
from caching_proxy.rules.slow_readers import too_slow as is_too_slow

IMPATIENT_SECONDS = 2.0
"""For how long a client may take nothing of its answer then."""


class Reader(Protocol):
    """A connection for which something waits."""

    def abort(self) -> None:
        """Drop it; nothing waits for it any more when this returns."""


class Kept:
    """Bytes of one kind that slow readers keep, and how many of them may be before the slowest have to go."""

    __slots__ = ("bytes", "most")

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self.most = most
        self.bytes = 0

    @property
    def too_many(self) -> bool:
        return self.bytes > self.most

    def too_slow(self, taken: int, seconds: float) -> bool:
        """Whether who took ``taken`` bytes of a body in ``seconds`` has to go, so that others have room."""
        return is_too_slow(taken, seconds, self.bytes, self.most)


class Alone(Kept):
    """Bytes that wait for one client each, and that nobody else needs."""

    __slots__ = ("_readers",)

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[Reader, int] = {}  # who has waited longest comes first

    def keep(self, more: int) -> None:
        """``more`` bytes are made and not yet given to a transport, or so many fewer."""
        self.bytes += more

    def wait(self, reader: Reader, waiting: int) -> None:
        """``waiting`` bytes are given to the transport of ``reader``, and the system takes no more of them.

        Beyond the bound, those that have been in this state for longest go at once: what comes in within the seconds
        that clients are given otherwise may be gigabytes.
        """
        readers = self._readers
        self.bytes += waiting - readers.get(reader, 0)
        if waiting:
            readers[reader] = waiting
        else:
            readers.pop(reader, None)
        while self.bytes > AT_ONCE * self.most and len(readers) > 1:
            next(iter(readers)).abort()


class Pinned(Kept):
    """Bytes of the bodies of which some connection has a part left to send, each body counted once."""

    __slots__ = ("_holders", "alone")

    def __init__(self) -> None:
        super().__init__()
        self.alone = Alone()
        self._holders: dict[int, int] = {}  # identity of a body → connections; they keep it alive meanwhile

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
