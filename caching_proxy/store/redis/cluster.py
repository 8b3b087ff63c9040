"""The store on a Redis Cluster: each key at the master of its slot, under a name with a hash tag (``slots.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import (
    SCAN_ENDS,
    Fate,
    IStore,
    Scanned,
    Stored,
    StoreError,
    StoreForbidden,
    Unreadable,
)
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import escape
from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.rules.store_topology import Address
from caching_proxy.store.redis.cluster_order import ClusterOrder
from caching_proxy.store.redis.cluster_pools import ClusterPools
from caching_proxy.store.redis.cluster_tags import ClusterTags, all_of, tag_index
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisReply, checked, pack
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Mark, Marked
from caching_proxy.store.redis.routing import Router
from caching_proxy.store.redis.scripts import ROLES_STEP
from caching_proxy.store.redis.slots import ANY_TAG, key_in, name_of, slot_of, tag_of
from caching_proxy.store.redis.store import DELETE_STEP, RedisStore
from caching_proxy.store.redis.target_index import INDEX_PREFIX, KNOWN_PREFIXES
from caching_proxy.store.redis.walk_cursor import WalkPosition, parse_step

T = TypeVar("T")


@implementer(IStore)
class ClusterStore:
    """An :class:`IStore` on the nodes of ``router``."""

    def __init__(self, clock: IReactorTime, router: Router, words: Words | None = None) -> None:
        self.router = router
        self.pool = ClusterPools(router)
        self._tags = ClusterTags(router)
        self.words = words
        """What it says to the ledger of invalidations; None keeps no ledger."""
        self._order = None if words is None else ClusterOrder(clock, router, self.pool, words)
        self.on_marked: Callable[[Marked], object] = lambda marked: None
        """Hears of each invalidation of ours that the Cluster took."""

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        name = name_of(key)
        return self.router.run(slot_of(name), lambda store: store.lookup(name, fields))

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        if ttl_ms <= 0:
            return self.discard(key, field).addCallback(lambda _: None)
        return Deferred.fromCoroutine(self._put(key, field, value, ttl_ms, since, tags))

    async def _put(
        self, key: bytes, field: bytes, value: bytes, ttl_ms: int, since: bytes | None, tags: Sequence[bytes]
    ) -> None:
        name = name_of(key)
        slot = slot_of(name)
        if self._order is None or since is None:
            if tags:
                await self._tags.enter(key, tags, ttl_ms)
            await self.router.run(slot, lambda store: store.put(name, field, value, ttl_ms, None, tags))
            return
        if tags:
            await all_of([Deferred.fromCoroutine(self._list(tag_index(tag), key, ttl_ms, since)) for tag in tags])
        await self._order.write(
            slot,
            lambda fence: self.router.run(
                slot, lambda store: store.put(name, field, value, ttl_ms, since, tags, fence())
            ),
        )

    async def _list(self, index: bytes, key: bytes, ttl_ms: int, since: bytes) -> None:
        """Note in the ``index`` of a tag that ``key`` carries it."""
        assert self._order is not None
        await self._order.write(
            slot_of(index), lambda fence: self._tags.enter_in_order(key, index, ttl_ms, since, fence)
        )

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        if self.words is None or self._order is None:
            return succeed(None)
        return Deferred.fromCoroutine(self._mark(invalidation, self.words, self._order))

    async def _mark(self, invalidation: Invalidation, words: Words, order: ClusterOrder) -> None:
        try:
            marked = await self.pool.execute(Mark(words.arguments(invalidation)))
        except StoreForbidden as error:  # without the rights there is no order; the cache goes on as if it were alone
            self.on_marked(Marked(b"", b"", str(error)))
            return
        self.on_marked(marked)
        await order.entered(invalidation, marked.mark)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        name = name_of(key)
        return self.router.run(slot_of(name), lambda store: store.discard(name, field))

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete([name_of(key) for key in dict.fromkeys(keys)]))

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        names = [name_of(key) for key in keys]
        found = Deferred.fromCoroutine(self.router.each(names, b"EXISTS", RedisStore.held))
        return found.addCallback(_keys)

    async def _delete(self, names: list[bytes]) -> set[bytes]:
        gone: set[bytes] = set()
        for start in range(0, len(names), DELETE_STEP):
            gone |= await self.router.each(names[start : start + DELETE_STEP], b"UNLINK", RedisStore.delete)
        return _keys(gone)

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete_target(target))

    async def _delete_target(self, target: bytes) -> set[bytes]:
        """Not by a script as elsewhere: while the slot moves, its keys are on two nodes.

        A role is taken off the index after its entry is gone, so an entry that is written meanwhile counts as absent.
        """
        told = Invalidation(targets=(target,))
        await self.mark(told)
        tag = tag_of(target)
        index = tag + INDEX_PREFIX + target
        gone = await self._delete([tag + prefix + target for prefix in KNOWN_PREFIXES])
        while roles := await self._roles(index):
            gone |= await self._delete([b"%b%b%b:%b" % (tag, GET_PREFIX, role, target) for role in roles])
            await self._ask(index, pack(b"ZREM", index, *roles))
            if len(roles) < ROLES_STEP:
                break
        await self.mark(told)
        return gone

    async def _roles(self, index: bytes) -> list[bytes]:
        """Some roles on an index; whatever else stands in its place is removed."""
        try:
            return cast("list[bytes]", await self._ask(index, pack(b"ZRANGE", index, b"0", b"%d" % (ROLES_STEP - 1))))
        except Unreadable:
            await self._delete([index])
            return []

    def _ask(self, name: bytes, command: bytes) -> Deferred[RedisReply]:
        return self.router.execute(slot_of(name), Ask(command, 1, lambda replies: checked(replies[0])))

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        mark = b"" if self._order is None or fate is Fate.KEPT else self._order.newest
        return Deferred.fromCoroutine(self._tags.tagged(tag, cursor, fate, moment, mark))

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._tags.soften([name_of(key) for key in dict.fromkeys(keys)], moment))

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._soften_target(target, moment))

    async def _soften_target(self, target: bytes, moment: float) -> set[bytes]:
        tag, cursor = tag_of(target), SCAN_ENDS
        found = await self._tags.soften([tag + prefix + target for prefix in KNOWN_PREFIXES], moment)
        while True:
            cursor, roles = await self._tags.roles(tag + INDEX_PREFIX + target, cursor)
            names = [b"%b%b%b:%b" % (tag, GET_PREFIX, role, target) for role in roles]
            found |= await self._tags.soften(names, moment)
            if cursor == SCAN_ENDS:
                return found

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        if cursor != SCAN_ENDS and parse_step(cursor) is None:
            return fail(StoreError("invalid cursor"))
        return Deferred.fromCoroutine(self._scan(parse_step(cursor), ANY_TAG + escape(prefix) + b"*"))

    async def _scan(self, step: WalkPosition | None, pattern: bytes) -> Scanned:
        """One master after the other, and from the beginning again if slots have changed hands meanwhile."""
        if step is None or not self._masters:
            await self.router.map.refresh()
        if step is None or step.master >= len(self._masters):
            step = WalkPosition(b"0", 0, self.router.map.slots.mark)
        cursor, node = step.cursor, self.router.node(self._masters[step.master])
        try:
            found = await node.do(lambda store: store.walk(cursor, pattern))
        except StoreError:
            self.router.look()
            raise
        keys = [key for key in _keys(found.keys) if not key.startswith(INDEX_PREFIX)]
        if found.cursor != SCAN_ENDS:
            return Scanned(keys, bytes(WalkPosition(found.cursor, step.master, step.mark)))
        return Scanned(keys, await self._after(step))

    async def _after(self, step: WalkPosition) -> bytes:
        """The cursor behind the last step at a master."""
        if step.master + 1 >= len(self._masters):
            await self.router.map.read_anew()
        mark = self.router.map.slots.mark
        if mark != step.mark:
            return bytes(WalkPosition(b"0", 0, mark))
        if step.master + 1 < len(self._masters):
            return bytes(WalkPosition(b"0", step.master + 1, mark))
        return SCAN_ENDS

    @property
    def _masters(self) -> tuple[Address, ...]:
        return self.router.map.slots.masters

    def ping(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._ping())

    async def _ping(self) -> None:
        """One node that answers is enough: what is wrong with a part shows where that is needed."""
        if not self.router.nodes:
            await self.router.map.refresh()
        answers = await DeferredList([node.store.ping() for node in self.router.nodes.values()], consumeErrors=True)
        if answers and not any(well for well, _ in answers):
            cast("Failure", answers[0][1]).raiseException()

    def start(self) -> Deferred[None]:
        self.router.start()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return self.router.stop()


def _keys(names: Iterable[bytes]) -> set[bytes]:
    return {key for name in names if (key := key_in(name)) is not None}
