"""The memory of this process: what is invalidated is gone from it at once, and from what work under way would bring."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.key_state import KeyState, KeyTest
from caching_proxy.cache.pending import TAG, TARGET, Pending, Swept
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.sweeper import Sweeper
from caching_proxy.rules.key import target_in
from caching_proxy.rules.pattern_set import PatternSet


class Memory:
    """Both memory tiers, and what goes on for keys."""

    def __init__(self, hot: HotTier, burst: BurstTier, key_state: KeyState, clock: IReactorTime) -> None:
        self._hot = hot
        self._burst = burst
        self._sweepers = (Sweeper(hot, clock), Sweeper(burst, clock))
        self._key_state = key_state
        self._clock = clock

    def clear(self) -> None:
        """Empty both tiers and void all work under way."""
        self.void(lambda key: True)
        self._hot.clear()
        self._burst.clear()

    def stop(self) -> None:
        """End the sweeps."""
        for sweeper in self._sweepers:
            sweeper.stop()

    def void(self, matches: KeyTest) -> float:
        """Void work under way; the moment from which that holds."""
        now = self._clock.seconds()
        self._key_state.void(matches, now)
        return now

    def drop_target(self, target: bytes) -> tuple[float, set[bytes]]:
        """From when on it is gone from memory, and the keys that were there."""
        removed = {*self._hot.remove_target(target), *self._burst.remove_target(target)}
        now = self._clock.seconds()
        if self._key_state.records:
            self._key_state.void(partial(_is_for, target), now)
        return now, removed

    def drop_key(self, key: bytes) -> tuple[float, bool]:
        """From when on it is gone from memory, and whether it was there."""
        return self.void(key.__eq__), self._hot.remove(key) | self._burst.remove(key)

    def drop_tagged(self, tags: Collection[bytes]) -> tuple[float, Swept]:
        """From when on memory gives out nothing that carries one of ``tags``, and the sweeps that remove it."""
        now, swept = self._clock.seconds(), Swept(len(self._sweepers))
        self._key_state.void_tags(tags, now)
        hot, burst = self._sweepers
        hot.begin(self._hot.take_tagged(tags), swept.over)
        burst.begin(self._burst.take_tagged(tags), swept.over)
        return now, swept

    def drop_matching(self, patterns: PatternSet) -> tuple[float, Swept]:
        """From when on memory gives out nothing that matches, and the sweeps that remove it."""
        now, swept = self.void(patterns), Swept(len(self._sweepers))
        for sweeper in self._sweepers:
            sweeper.begin(patterns, swept.over)
        return now, swept

    def drop_what_was_read(self, over: Pending) -> None:
        """Forget what came from a shared store before that had carried ``over`` out: another proxy may have stored
        there what it asked the backend for before, and received after, the invalidation was made."""
        subject = over.subject
        if isinstance(subject, PatternSet):
            self._key_state.outdate_matching(subject)
            for sweeper in self._sweepers:
                sweeper.begin(subject, nobody)
        elif over.kind is TAG:
            self.drop_tagged((subject,))
        elif over.kind is TARGET:
            if self._key_state.records:
                self._key_state.outdate_matching(partial(_is_for, subject))
            self._hot.remove_target(subject)
            self._burst.remove_target(subject)
        else:
            self._key_state.outdate(subject)
            self._hot.remove(subject)
            self._burst.remove(subject)


def _is_for(target: bytes, key: bytes) -> bool:
    return key.endswith(target) and target_in(key) == target


def nobody(removed: object) -> None:
    """Nobody wants to hear it."""
