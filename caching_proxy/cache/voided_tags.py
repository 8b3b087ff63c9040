"""Which tags were invalidated while work was under way: which ones a response has is not known before its head is
there, so work that began earlier has to ask then."""

from __future__ import annotations

from collections.abc import Collection

NEVER = float("-inf")

MAX_VOIDED_TAGS = 10_000
"""Invalidated tags that are remembered while work is under way; past that all of it that has any tag is void."""

Log = dict[bytes, tuple[int, float]]
"""From a tag to number and moment (POSIX seconds) of its last invalidation."""


class VoidedTags:
    """Invalidations of tags, numbered by ``count``; whoever begins something notes the number, and asks what came after
    it."""

    __slots__ = ("_floor", "_removed", "_voided", "any", "count")

    def __init__(self) -> None:
        self._voided: Log = {}
        self._removed: Log = {}  # those that the store has carried out
        self.any = False
        """Whether any is remembered."""
        self.count = 0
        self._floor = (0, NEVER)  # up to this number any tag may have been invalidated

    def __len__(self) -> int:
        return len(self._voided) + len(self._removed)

    def void(self, tags: Collection[bytes], moment: float) -> None:
        """``tags`` were invalidated."""
        self._note(self._voided, tags, moment)

    def remove(self, tags: Collection[bytes], moment: float) -> None:
        """The store has carried out an invalidation of ``tags`` that was made at ``moment``."""
        self._note(self._removed, tags, moment)

    def voided(self, tags: Collection[bytes], since: int) -> float:
        """When one of ``tags`` was invalidated last, if that was after the number ``since``; else ``NEVER``."""
        number, moment = self._floor
        return _latest(self._voided, tags, since, moment if number > since else NEVER)

    def removed(self, tags: Collection[bytes], since: int) -> float:
        """The same, where what the store has carried out after that number counts too."""
        return _latest(self._removed, tags, since, self.voided(tags, since))

    def clear(self) -> None:
        """Nothing is under way any more."""
        self.any = False
        self._voided.clear()
        self._removed.clear()

    def _note(self, log: Log, tags: Collection[bytes], moment: float) -> None:
        self.any = True
        self.count += 1
        for tag in tags:
            known = log.get(tag)  # the store may carry out the later one first
            log[tag] = (self.count, moment if known is None else max(moment, known[1]))
        if len(log) > MAX_VOIDED_TAGS:
            log.clear()
            self._floor = (self.count, max(moment, self._floor[1]))


def _latest(log: Log, tags: Collection[bytes], since: int, moment: float) -> float:
    """The latest moment in ``log`` of one of ``tags`` after the number ``since``; ``moment`` if none is later."""
    if log:
        for tag in tags:
            known = log.get(tag)
            if known is not None and known[0] > since and known[1] > moment:
                moment = known[1]
    return moment
