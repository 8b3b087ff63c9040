"""One invalidation, every tier.

It takes effect in this process at once: work under way that matches is voided, memory tiers give out nothing that it
covers, and until the store has carried it out too, whatever the store still gives for a matching key from before that
moment is hidden. Should the store be down, the invalidation waits here and is tried again until it succeeds: nothing
is lost, and nobody is served what was invalidated. With a journal it outlives this process too: it stands there before
anybody is told that it has to wait.

The other proxies on the same store are told before the store begins, so that no answer from before is stored after
it, and once more when it is done (:meth:`IStore.mark`). What they tell is dropped from memory and from work under
way, and leaves the store alone.

What is named, a key or one target for every role, is looked up in the store. Patterns need a walk over all keys: all
that wait share one, and it goes in slices, so that nobody stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import chain

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.keeper import Keeper
from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.memory import Memory, nobody
from caching_proxy.cache.pending import (
    TAG,
    OnDone,
    Pending,
    Queue,
    Swept,
    Together,
    Waiting,
    either,
    hidden_since,
    of_key,
    of_patterns,
    of_tag,
    of_target,
    tagged_since,
)
from caching_proxy.cache.progress import Progress
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.voided_tags import NEVER
from caching_proxy.cache.walk import StoreWork
from caching_proxy.interfaces import IJournal, IStore, Postponed, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import literal
from caching_proxy.rules.invalidation_rules import target_for_all, target_of
from caching_proxy.rules.pattern_set import PatternSet

RETRY_SECONDS = 1.0

AT_ONCE = 64
"""Named invalidations that the store carries out side by side."""

EVERYTHING = b"cache:*"


class Invalidator:
    """Carries invalidations to the memory tiers, to work under way and, some at a time, to the store."""

    _log = Logger()

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
        self._memory = Memory(hot, burst, key_state, clock)
        self._key_state = key_state
        self._work = StoreWork(store, clock)
        self._clock = clock
        self._observe = observe
        self._journal = Keeper(journal)
        self._shared = shared  # whether others write to the store too
        self._waiting = Waiting()  # those whose turn has not come
        self._working = Queue()  # named ones that the store is at
        self._passing: list[Pending] = []  # patterns that a walk over the keys is at
        self._walk: Deferred[None] | None = None
        self._starting = False
        self._failures = 0
        self._stopped = False
        self._timer: IDelayedCall | None = None
        self._settling: list[Deferred[None]] = []

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

    def invalidate_by_rules(self, patterns: Collection[bytes], soft: bool = False) -> list[Deferred[set[bytes]]]:
        """Each of some rules' patterns for itself, as :meth:`invalidate`, but one target for every role is looked
        up."""
        groups: list[tuple[tuple[bytes, ...], OnDone]] = []
        answers = []
        for pattern in patterns:
            answer: Deferred[set[bytes]] = Deferred()
            answers.append(answer)
            target = target_for_all(pattern)
            if target is not None:
                self.invalidate_target(target, answer.callback, soft)
            elif (key := literal(pattern)) is not None:
                self._invalidate_key(key, answer.callback, soft=soft)
            else:
                groups.append(((pattern,), answer.callback))
        if groups:
            self._invalidate_groups(groups, soft)
        return answers

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
        for lease in () if record is None else record.leases:  # ``voided_at``, at a frame less
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

    @property
    def progress(self) -> Progress:
        """How far walks over the store are."""
        return self._work.progress

    @property
    def pending(self) -> int:
        """Invalidations that the store has not confirmed."""
        return len(self._waiting) + len(self._working) + len(self._passing)

    def _hidden_since(self, key: bytes, moment: float) -> float:
        waiting = self._waiting
        if self._passing or waiting.patterns:
            moment = hidden_since(key, waiting.named, chain(self._passing, waiting.patterns.values()), moment)
        elif waiting.named:
            moment = hidden_since(key, waiting.named, (), moment)
        return hidden_since(key, self._working, (), moment) if self._working else moment

    def settled(self) -> Deferred[None]:
        """Fires when the store has carried out everything or has failed once more; :attr:`pending` tells which."""
        done: Deferred[None] = Deferred()
        self._settling.append(done)
        if self._timer is not None:
            self._timer.cancel()
            self._retry()
        if not self.pending:
            self._settle()
        return done

    def _settle(self) -> None:
        waiting, self._settling = self._settling, []
        for done in waiting:
            done.callback(None)

    def stop(self) -> None:
        """No more tries."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._memory.stop()
        if self._walk is not None:
            self._walk.cancel()
        for pending in list(self._working.values()):
            if pending.work is not None:
                pending.work.cancel()
        self._disappoint(Failure(StoreError("stopped before the store was told")))

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

    # -- in the store --------------------------------------------------------------------------------

    def _add(self, pending: Pending, on_done: OnDone) -> None:
        pending.waiters.append(on_done)
        if self._may_begin(pending):
            self._begin(pending)
        else:
            self._waiting.add(pending)
            self._work_on()

    def _may_begin(self, pending: Pending) -> bool:
        """Whether its turn is now, as nothing waits before it."""
        if not pending.kind or self._waiting.named or self._starting or self._timer is not None or self._stopped:
            return False
        return pending.name not in self._working and len(self._working) < AT_ONCE

    def _work_on(self) -> None:
        if self._starting or self._timer is not None or self._stopped or not self._waiting:
            return
        self._starting = True  # a store that answers at once calls back from within
        try:
            while self._start_all():
                pass
        finally:
            self._starting = False

    def _start_all(self) -> bool:
        """Begin what may begin; whether to go on. Either kind stops at its first failure, not at the other's."""
        before, started = self._failures, False
        for start in (self._start_walk, self._start_named):
            failures = self._failures
            while failures == self._failures and start():
                started = True
        return started and before == self._failures

    def _start_named(self) -> bool:
        """Begin the one whose turn it is. The same as one under way waits for its end, to serve all who ask
        meanwhile."""
        if len(self._working) >= AT_ONCE:
            return False
        for waiting in self._waiting.named.values():
            if waiting.name not in self._working:
                break
        else:
            return False
        self._begin(self._waiting.named.take(waiting.name))
        return True

    def _begin(self, pending: Pending) -> None:
        self._working.add(pending)
        pending.work = work = self._work.named(pending)
        work.addCallbacks(self._confirmed, self._postponed, callbackArgs=(pending,), errbackArgs=(pending,))

    def _start_walk(self) -> bool:
        if self._passing or not self._waiting.patterns:
            return False
        self._passing = self._waiting.patterns.take_all()
        self._walk = self._work.matching(self._passing)
        self._walk.addCallbacks(lambda _: self._walked(), self._not_walked)
        return True

    def _walked(self) -> None:
        over, self._passing, self._walk = self._passing, [], None
        for pending in over:
            self._forget_what_was_read(pending)
            self._count(pending)
        self._carry_on()

    def _not_walked(self, failure: Failure) -> None:
        over, self._passing, self._walk = self._passing, [], None
        later = self._waiting.patterns.take_all()
        for pending in (*over, *later):
            self._waiting.add(pending)
        self._try_later(failure, "of patterns")

    def _confirmed(self, gone: set[bytes], pending: Pending) -> None:
        self._working.take(pending.name)
        if gone:
            pending.removed = either(pending.removed, gone)
        if pending.kind is TAG and isinstance(pending.subject, bytes):
            self._key_state.remove_tags((pending.subject,), pending.at)
        self._forget_what_was_read(pending)
        self._count(pending)
        self._carry_on()

    def _postponed(self, failure: Failure, pending: Pending) -> None:
        """It goes to the end: one that can never succeed must not keep the others waiting."""
        self._working.take(pending.name)
        later = self._waiting.named.get(pending.name)
        if later is not None:  # asked for again meanwhile
            self._waiting.named.take(pending.name)
            pending.absorb(later)
        self._waiting.add(pending)
        self._try_later(failure, pending.name.decode("latin-1"))

    def _count(self, pending: Pending) -> None:
        """Tell how many keys were removed, as soon as the memory tiers are done too."""
        under_way = pending.gather() if pending.sweeps else None
        if under_way is not None:
            under_way.then.append(lambda: self._count(pending))
            return
        if pending.counted:
            self._observe(len(pending.removed))
        pending.tell(pending.removed)

    def _carry_on(self) -> None:
        waiting = self._waiting
        if waiting.named or waiting.patterns:
            self._work_on()
        elif not self._working and not self._passing:
            self._journal.clear()
            if self._settling:
                self._settle()

    def _try_later(self, failure: Failure, what: str) -> None:
        self._failures += 1
        if self._stopped:
            failure = Failure(StoreError("stopped before the store was told"))
        else:
            if not failure.check(StoreError):
                self._log.failure("invalidation {what} failed", failure, what=what)
            if self._timer is None:
                self._timer = self._clock.callLater(RETRY_SECONDS, self._retry)
        self._disappoint(failure)

    def _disappoint(self, failure: Failure) -> None:
        """Tell everybody whose turn has not come that it will take longer, once that is in the journal."""
        waiting = list(self._waiting.everything())
        told = [on_done for pending in waiting for on_done in pending.take_waiters()]

        def tell(kept: bool) -> None:
            outcome = Failure(Postponed(failure.getErrorMessage(), kept)) if failure.check(StoreError) else failure
            for on_done in told:
                on_done(outcome)
            self._settle()

        self._journal.keep(waiting, tell)

    def _retry(self) -> None:
        self._timer = None
        self._work_on()
