"""Carries invalidations to every tier.

Each takes effect in this process at once: work under way that matches is voided, memory tiers give out nothing that it
covers, and until the store has carried it out too, whatever the store still gives for a matching key from before that
moment is hidden. Should the store be down, the invalidation waits here and is tried again until it succeeds: nothing
is lost, and nobody is served what was invalidated. With a journal it outlives this process too: it stands there before
anybody is told that it has to wait.

The other proxies on the same store are told before the store begins, so that no answer from before is stored after
it, and once more when it is done (:meth:`IStore.mark`). What they tell is dropped from memory and from work under
way, and leaves the store alone.

How the store comes to carry it out is in :mod:`caching_proxy.cache.store_queue`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import chain

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.memory import Memory, nobody
from caching_proxy.cache.pending import (
    TAG,
    OnDone,
    Pending,
    Swept,
    Together,
    of_key,
    of_patterns,
    of_tag,
    of_target,
    tagged_since,
)
from caching_proxy.cache.store_queue import StoreQueue
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.voided_tags import NEVER
from caching_proxy.interfaces import IJournal, IStore
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import literal
from caching_proxy.rules.invalidation_rules import target_for_all, target_of
from caching_proxy.rules.pattern_set import PatternSet

EVERYTHING = b"cache:*"


class Invalidator(StoreQueue):
    """Carries invalidations to the memory tiers, to work under way and, some at a time, to the store."""

    def __init__(
        self,
        hot: HotTier,
        burst: BurstTier,
        key_state: KeyState,
        store: IStore,
        clock: IReactorTime,
        observe: Callable[[int], None] = lambda removed: None,
        journal: IJournal | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__(store, clock, journal)
        self._memory = Memory(hot, burst, key_state, clock)
        self._key_state = key_state
        self._observe = observe
        self._shared = shared  # whether others write to the store too

    def invalidate(self, *patterns: bytes, soft: bool = False) -> Deferred[set[bytes]]:
        """Remove every key that matches one of some Redis globs; fires with the keys that left any tier.

        ``soft``: what the store has is not deleted, it is stale from now on. Fails with :class:`StoreError` if the
        store cannot carry it out now; the invalidation stays pending all the same. What names a key, or one target for
        every role, is looked up.
        """
        answer: Deferred[set[bytes]] = Deferred()
        key = literal(patterns[0]) if len(patterns) == 1 else None
        target = target_of(patterns)
        if target is not None:
            self.invalidate_target(target, answer.callback, soft)
        elif key is not None:
            self._invalidate_key(key, answer.callback, soft=soft)
        else:
            self._invalidate_groups([(patterns, answer.callback)], soft)
        return answer

    def invalidate_tags(self, tags: Collection[bytes], soft: bool = False) -> Deferred[set[bytes]]:
        """Remove every variant that carries one of ``tags``, as :meth:`invalidate`; fires with the keys concerned."""
        tags = dict.fromkeys(tags)
        together = Together(len(tags))
        self._invalidate_tags(tags, lambda: together.heard, soft)
        return together.answer

    def invalidate_by_rules(
        self, patterns: Collection[bytes], hears_of: Callable[[bytes], OnDone], soft: bool = False
    ) -> None:
        """Each of some rules' patterns for itself, as :meth:`invalidate`, but one target for every role is looked up;
        ``hears_of`` makes what hears of a pattern."""
        groups: list[tuple[tuple[bytes, ...], OnDone]] = []
        for pattern in patterns:
            on_done = hears_of(pattern)
            target = target_for_all(pattern)
            if target is not None:
                self.invalidate_target(target, on_done, soft)
            elif (key := literal(pattern)) is not None:
                self._invalidate_key(key, on_done, soft=soft)
            else:
                groups.append(((pattern,), on_done))
        if groups:
            self._invalidate_groups(groups, soft)

    def invalidate_target(self, target: bytes, on_done: OnDone, soft: bool = False) -> None:
        """Remove what is stored for one target (as it stands in keys), for every role, every variant.

        Every change that passes through comes here: hence no Deferred; ``on_done`` hears what :meth:`invalidate` fires
        or fails with.
        """
        self._add(of_target(target, *self._memory.drop_target(target), soft), on_done)

    def purge_key(self, key: bytes) -> None:
        """Remove one key that could not be put right in the store; tried until it succeeds."""
        self._invalidate_key(key, nobody, counted=False)

    def carried_out_elsewhere(self, invalidation: Invalidation) -> None:
        """Another proxy had the store carry this out."""
        for target in invalidation.targets:
            self._memory.drop_target(target)
        for key in invalidation.keys:
            self._memory.drop_key(key)
        if invalidation.patterns:
            self._memory.drop_matching(PatternSet(*invalidation.patterns))
        if invalidation.tags:
            self._memory.drop_tagged(invalidation.tags)

    def restore(self, invalidations: Iterable[Invalidation]) -> None:
        """Carry out what an earlier process left in the journal; until then it holds as if it were made now."""
        for pending in self._journal.restored(invalidations, self._clock.seconds()):
            Invalidator._add(self, pending, nobody)  # whoever serves beside us was told when it was made

    def forget(self) -> None:
        """Other proxies may have invalidated anything: empty the memory tiers, void all work under way."""
        self._memory.clear()

    def invalid_before(self, key: bytes) -> float:
        """The moment (POSIX seconds) up to which whatever the store gives for ``key`` is invalid; -inf if there is
        nothing that the store has yet to carry out."""
        moment, record = NEVER, self._key_state.records.get(key)
        for lease in () if record is None else record.leases:  # a voided write may still land there
            if lease.voided_at > moment:
                moment = lease.voided_at
        waiting = self._waiting
        if self._working or self._passing or waiting.named or waiting.patterns:
            return self._hidden_since(key, moment)
        return moment

    def tagged_before(self, tags: Collection[bytes]) -> float:
        """:meth:`invalid_before` of something that carries ``tags``, as far as tags go."""
        moment = tagged_since(tags, self._waiting.named) if self._waiting.named else NEVER
        return tagged_since(tags, self._working, moment) if self._working else moment

    def hides(self, key: bytes) -> bool:
        """Whether the store has yet to remove ``key``."""
        return self._hidden_since(key, NEVER) > NEVER

    def stop(self) -> None:
        """No more tries."""
        super().stop()
        self._memory.stop()

    def _carried_out(self, pending: Pending) -> None:
        if pending.kind is TAG and isinstance(pending.subject, bytes):
            self._key_state.remove_tags((pending.subject,), pending.at)
        self._forget_what_was_read(pending)
        self._count(pending)

    def _count(self, pending: Pending) -> None:
        """Tell how many keys were removed, as soon as the memory tiers are done too."""
        under_way = pending.gather() if pending.sweeps else None
        if under_way is not None:
            under_way.then.append(lambda: self._count(pending))
            return
        if pending.counted:
            self._observe(len(pending.removed))
        pending.tell(pending.removed)

    def _forget_what_was_read(self, over: Pending) -> None:
        if self._shared and over.counted:
            self._memory.drop_what_was_read(over)

    def _invalidate_key(self, key: bytes, on_done: OnDone, counted: bool = True, soft: bool = False) -> None:
        at, removed = self._memory.drop_key(key)
        self._add(of_key(key, at, {key} if removed else set(), counted, soft), on_done)

    def _invalidate_tags(self, tags: Collection[bytes], on_done: Callable[[], OnDone], soft: bool) -> None:
        """Each tag is one invalidation, with an ``on_done`` of its own; all leave memory together."""
        swept: Swept | None
        at, swept = self._memory.drop_tagged(tags)
        for tag in tags:
            pending = of_tag(tag, at, soft)
            if swept is not None:  # what left memory counts once
                pending.sweeps.append(swept)
                pending.gather()
                swept = None
            self._add(pending, on_done())

    def _invalidate_groups(self, groups: list[tuple[tuple[bytes, ...], OnDone]], soft: bool = False) -> None:
        """Each group of patterns is one invalidation; all are swept together."""
        union = PatternSet(*dict.fromkeys(chain.from_iterable(patterns for patterns, _ in groups)))
        now, swept = self._memory.drop_matching(union)
        for patterns, on_done in groups:
            pending = of_patterns(PatternSet(*patterns), now, soft)
            pending.sweeps.append(swept)
            pending.gather()
            self._add(pending, on_done)
