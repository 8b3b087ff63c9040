"""Work under way that may put something into a tier, so that what happens meanwhile can reach it.

Whoever reads the store or the backend for a key opens a lease first and looks at it again before filling a tier.
An invalidation voids the leases it matches: what began before it is never put back after it (RFC 9111 §4.4). A
write to the key outdates them: what was read before it must not be put over it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

KeyTest = Callable[[bytes], bool]

NEVER = float("-inf")

MAX_VOIDED_TAGS = 10_000
"""Invalidated tags that are remembered while work is under way; past that all of it that has any tag is void."""


class Lease:
    """Permission to fill the tiers for one key; close it when the work is over.

    ``valid``: nothing invalidated the key since, nor a tag that the work is known to carry. ``current``: nothing wrote
    to the key either. ``voided_at`` is POSIX seconds.
    """

    __slots__ = ("_opened", "_registry", "current", "key", "tags", "valid", "voided_at")

    def __init__(self, key: bytes, registry: Leases, opened: int) -> None:
        self.key = key
        self.tags: frozenset[bytes] = frozenset()
        self._opened = opened
        self.valid = True
        self.current = True
        self.voided_at = NEVER
        self._registry = registry

    def void(self, moment: float) -> None:
        """What was made under this lease is no longer true; the store gives nothing from before ``moment``."""
        self.valid = self.current = False
        self.voided_at = max(self.voided_at, moment)

    def carry(self, tags: Collection[bytes]) -> bool:
        """It turns out that the work is about something with ``tags``; whether it is valid, as none of them was
        invalidated since the lease was opened."""
        if tags:
            self.tags = self.tags.union(tags)
            moment = self._registry.tags_voided(tags, self._opened)
            if moment > NEVER:
                self.void(moment)
        return self.valid

    def spoilt_before(self, tags: Collection[bytes]) -> float:
        """The moment (POSIX seconds) from before which nothing that the store gave and that carries one of ``tags`` is
        true: one was invalidated, or removed from the store, since the lease was opened."""
        return self._registry.tags_removed(tags, self._opened)

    def close(self) -> None:
        """The work is over; closing twice is harmless."""
        self._registry.forget(self)


class Leases:
    """All open leases, by key, and the tags that were invalidated while they were open: which tags a response has is
    not known before its head is there."""

    def __init__(self) -> None:
        self._open: dict[bytes, list[Lease]] = {}
        self._voided: dict[bytes, tuple[int, float]] = {}  # tag → number and moment of its last invalidation
        self._removed: dict[bytes, tuple[int, float]] = {}  # the same of those that the store has carried out
        self._count = 0
        self._floor = (0, NEVER)  # up to this number any tag may have been invalidated

    def open(self, key: bytes) -> Lease:
        lease = Lease(key, self, self._count)
        self._open.setdefault(key, []).append(lease)
        return lease

    def forget(self, lease: Lease) -> None:
        holders = self._open.get(lease.key)
        if holders and lease in holders:
            holders.remove(lease)
            if not holders:
                del self._open[lease.key]
                if not self._open:
                    self._voided.clear()
                    self._removed.clear()

    def void(self, matches: KeyTest, now: float) -> list[bytes]:
        """Void every open lease whose key matches; the keys concerned."""
        voided = [key for key in self._open if matches(key)]
        for key in voided:
            for lease in self._open[key]:
                lease.void(now)
        return voided

    def void_tags(self, tags: Collection[bytes], now: float) -> list[bytes]:
        """Void every open lease that is known to carry one of ``tags``, and those that will turn out to; the keys of
        the former."""
        if not self._open:
            return []
        self._note(self._voided, tags, now)
        concerned = [
            lease
            for holders in self._open.values()
            for lease in holders
            if lease.tags and not lease.tags.isdisjoint(tags)
        ]
        for lease in concerned:
            lease.void(now)
        return [lease.key for lease in concerned]

    def remove_tags(self, tags: Collection[bytes], invalidated_at: float) -> None:
        """The store has carried out an invalidation of ``tags``: what it said before that may come only now."""
        if self._open:
            self._note(self._removed, tags, invalidated_at)

    def _note(self, log: dict[bytes, tuple[int, float]], tags: Collection[bytes], moment: float) -> None:
        self._count += 1
        for tag in tags:
            known = log.get(tag)  # the store may carry out the later one first
            log[tag] = (self._count, moment if known is None else max(moment, known[1]))
        if len(log) > MAX_VOIDED_TAGS:
            log.clear()
            self._floor = (self._count, max(moment, self._floor[1]))

    def tags_voided(self, tags: Collection[bytes], since: int) -> float:
        """When one of ``tags`` was invalidated last, if that was after the number ``since``; else ``NEVER``."""
        number, moment = self._floor
        return _latest(self._voided, tags, since, moment if number > since else NEVER)

    def tags_removed(self, tags: Collection[bytes], since: int) -> float:
        """The same, where what the store has carried out after that number counts too."""
        return _latest(self._removed, tags, since, self.tags_voided(tags, since))

    def outdate_matching(self, matches: KeyTest) -> None:
        """:meth:`outdate` every key that matches."""
        for key in filter(matches, self._open):
            self.outdate(key)

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


def _latest(log: dict[bytes, tuple[int, float]], tags: Collection[bytes], since: int, moment: float) -> float:
    """The latest moment in ``log`` of one of ``tags`` after the number ``since``; ``moment`` if none is later."""
    if log:
        for tag in tags:
            known = log.get(tag)
            if known is not None and known[0] > since and known[1] > moment:
                moment = known[1]
    return moment
