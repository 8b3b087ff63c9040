"""Work under way that may put something into a tier, so that what happens meanwhile can reach it.

Whoever reads the store or the backend for a key opens a lease first and looks at it again before filling a tier.
An invalidation voids the leases it matches: what began before it is never put back after it (RFC 9111 §4.4). A
write to the key outdates them: what was read before it must not be put over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

KeyTest = Callable[[bytes], bool]

NEVER = float("-inf")


class Lease:
    """Permission to fill the tiers for one key; close it when the work is over.

    ``valid``: nothing invalidated the key since. ``current``: nothing wrote to the key either. ``voided_at`` is POSIX
    seconds.
    """

    __slots__ = ("_registry", "current", "key", "valid", "voided_at")

    def __init__(self, key: bytes, registry: Leases) -> None:
        self.key = key
        self.valid = True
        self.current = True
        self.voided_at = NEVER
        self._registry = registry

    def void(self, moment: float) -> None:
        """What was made under this lease is no longer true; the store gives nothing from before ``moment``."""
        self.valid = self.current = False
        self.voided_at = max(self.voided_at, moment)

    def close(self) -> None:
        """The work is over; closing twice is harmless."""
        self._registry.forget(self)


class Leases:
    """All open leases, by key."""

    def __init__(self) -> None:
        self._open: dict[bytes, list[Lease]] = {}

    def open(self, key: bytes) -> Lease:
        lease = Lease(key, self)
        self._open.setdefault(key, []).append(lease)
        return lease

    def forget(self, lease: Lease) -> None:
        holders = self._open.get(lease.key)
        if holders and lease in holders:
            holders.remove(lease)
            if not holders:
                del self._open[lease.key]

    def void(self, matches: KeyTest, now: float) -> list[bytes]:
        """Void every open lease whose key matches; the keys concerned."""
        voided = [key for key in self._open if matches(key)]
        for key in voided:
            for lease in self._open[key]:
                lease.void(now)
        return voided

    def outdate(self, key: bytes) -> None:
        """Something was written to, or taken from, ``key``."""
        for lease in self._open.get(key, ()):
            lease.current = False

    def voided_at(self, key: bytes) -> float:
        """Until when the store's content of ``key`` cannot be trusted: a voided write may still land there."""
        moment = NEVER
        for lease in self._open.get(key, ()):
            if lease.voided_at > moment:
                moment = lease.voided_at
        return moment

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._open)
