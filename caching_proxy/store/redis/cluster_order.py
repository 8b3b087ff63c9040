"""Keeps the order of invalidations in a Cluster: raises fences, puts up what is missing, mends a ledger with gaps.

``fences.py`` says what a fence is, and why this holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.bus_message import EVERYTHING, Invalidation
from caching_proxy.rules.ledger import UNKNOWN, number_of
from caching_proxy.store.redis.cluster_pools import ClusterPools
from caching_proxy.store.redis.cluster_tags import all_of, tag_index
from caching_proxy.store.redis.fences import Fence, Fenced, Fenceless, PutUp, Raise, RaiseMany, fence_of
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Lift, Marked, Since
from caching_proxy.store.redis.routing import AGAIN_SECONDS, HOPS, Router
from caching_proxy.store.redis.slots import name_of, slot_of, tag_of

AT_ONCE = 50
"""Fences that are raised one by one at a time."""

SWEEP = 256
"""Those that one script raises: it holds up the node for about a millisecond."""


class ClusterOrder:
    """``words`` are what this proxy says to the ledger, through ``pools``."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, router: Router, pools: ClusterPools, words: Words) -> None:
        self.newest = UNKNOWN
        """The mark with the greatest number that was entered from here."""
        self._clock = clock
        self._router = router
        self._pools = pools
        self._words = words

    # -- writes

    async def write(self, slot: int, attempt: Callable[[Callable[[], Fence]], Deferred[None]]) -> None:
        """Make ``attempt``, again where there is no fence yet. It is handed what gives the fence for each try.

        Raises :class:`Overtaken` if there was an invalidation that it does not know of.
        """
        for nth in range(HOPS):
            try:
                await attempt(_each_try(slot))
            except Fenceless:
                await self._put_up(slot, nth)
            except Fenced as refused:
                await self._mend(refused.mark)
                raise
            else:
                return
        raise Fenceless("the fence of this slot is at another node")

    async def _put_up(self, slot: int, nth: int) -> None:
        fence = fence_of(slot)
        if await self._router.call(slot, lambda: PutUp(fence)):
            if nth:  # not put up by another write meanwhile, but on its way to another node
                await deferLater(self._clock, AGAIN_SECONDS)
            return
        newest, _ = await self._pools.execute(Since(UNKNOWN, self._words.word()))
        await self._router.call(slot, lambda: Raise(fence, newest))

    async def _mend(self, fence: bytes) -> None:
        """A ledger that is behind a fence has lost invalidations: nobody can tell what is still true."""
        lifted: Marked | None = await self._pools.execute(Lift(fence, self._words.arguments(EVERYTHING)))
        if lifted is not None:
            self._log.warn("the ledger of invalidations has lost some; every proxy empties its memory")

    # -- invalidations

    async def entered(self, invalidation: Invalidation, mark: bytes) -> None:
        """Raise the fences of all that ``invalidation`` may concern, which stands in the ledger as ``mark``."""
        if number_of(mark) > number_of(self.newest):
            self.newest = mark
        if invalidation.patterns:
            await self._raise_all(mark)
        else:
            await self._raise(_slots_of(invalidation), mark)

    async def _raise(self, slots: Collection[int], mark: bytes) -> None:
        each = list(slots)
        for start in range(0, len(each), AT_ONCE):
            some = each[start : start + AT_ONCE]
            await all_of([self._router.call(slot, partial(Raise, fence_of(slot), mark)) for slot in some])

    async def _raise_all(self, mark: bytes) -> None:
        """A master's fences many at a time, masters side by side; one by one what turns out to be elsewhere."""
        if not self._router.map.slots.masters:
            await self._router.map.refresh()
        by_master: dict[object, list[int]] = {}
        for slot, owner in enumerate(self._router.map.slots.owners):
            by_master.setdefault(owner, []).append(slot)
        by_master.pop(None, None)  # nobody can write there
        done = [Deferred.fromCoroutine(self._raise_at(slots, mark)) for slots in by_master.values()]
        for left in await all_of(done):
            await self._raise(left, mark)

    async def _raise_at(self, slots: Sequence[int], mark: bytes) -> list[int]:
        """Raise the fences of ``slots``, all of one master; those that have to be looked for."""
        left: list[int] = []
        for start in range(0, len(slots), SWEEP):
            some = slots[start : start + SWEEP]
            node = self._router.owner(some[0])
            try:
                if node is None:
                    raise StoreError("the slot changed hands")
                left += await node.do(lambda store, some=some: store.bulk.execute(RaiseMany(some, mark)))  # type: ignore[misc]
            except StoreError:
                left += some
        return left


def _slots_of(invalidation: Invalidation) -> set[int]:
    """The slots of what is named; of a tag, that of its index: what is listed there has fences of its own."""
    slots = {slot_of(tag_of(target)) for target in invalidation.targets}
    slots.update(slot_of(name_of(key)) for key in invalidation.keys)
    slots.update(slot_of(tag_index(tag)) for tag in invalidation.tags)
    return slots


def _each_try(slot: int) -> Callable[[], Fence]:
    """The fence of ``slot``, declared for the first try only."""
    tries = 0

    def fence() -> Fence:
        nonlocal tries
        tries += 1
        return Fence(fence_of(slot), declared=tries == 1)

    return fence
