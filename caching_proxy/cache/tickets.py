"""Work under way that may put something into a tier, so that an invalidation can reach it.

Whoever reads the store or the backend for a key opens a ticket first and looks at it again before filling a tier.
An invalidation voids the tickets it matches: what began before it is never put back after it (RFC 9111 §4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

KeyTest = Callable[[bytes], bool]


class Ticket:
    """Permission to fill the tiers for one key; close it when the work is over."""

    __slots__ = ("_registry", "key", "valid")

    def __init__(self, key: bytes, registry: Tickets) -> None:
        self.key = key
        self.valid = True
        self._registry = registry

    def close(self) -> None:
        """The work is over; closing twice is harmless."""
        self._registry.forget(self)


class Tickets:
    """All open tickets, by key."""

    def __init__(self) -> None:
        self._open: dict[bytes, list[Ticket]] = {}

    def open(self, key: bytes) -> Ticket:
        ticket = Ticket(key, self)
        self._open.setdefault(key, []).append(ticket)
        return ticket

    def forget(self, ticket: Ticket) -> None:
        holders = self._open.get(ticket.key)
        if holders and ticket in holders:
            holders.remove(ticket)
            if not holders:
                del self._open[ticket.key]

    def void(self, matches: KeyTest) -> list[bytes]:
        """Void every open ticket whose key matches; the keys concerned."""
        voided = []
        for key, holders in self._open.items():
            if matches(key):
                voided.append(key)
                for ticket in holders:
                    ticket.valid = False
        return voided

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._open)
