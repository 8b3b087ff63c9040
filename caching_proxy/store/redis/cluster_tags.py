"""Tags in a Cluster, where the index of a tag and the keys that it lists are in different slots.

A write is listed before it is made, so that no entry is ever missing from the index. A walk reads the index, then
looks into each key at the node that has it. It takes nothing off the index, as a write may be between its two steps:
what does not carry the tag any more leaves when its time is over.

An invalidation raises the fence of the index first, so that nothing from before it is listed any more, and with each
look the fence of what is listed, so that no write that was listed before is made after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from caching_proxy.interfaces import SCAN_ENDS, Fate, Scanned, Unreadable
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, checked, pack
from caching_proxy.store.redis.fences import RAISE_BESIDE, Fence, Raise, fence_of, guard, refused
from caching_proxy.store.redis.routing import Router
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.slots import key_in, name_of, slot_of, tag_of
from caching_proxy.store.redis.stale_scripts import CARRYING, STEP, Soften
from caching_proxy.store.redis.target_index import tag_key

T = TypeVar("T")

_AT_ONCE = 50
"""Keys that are looked into at a time."""

_LIST = b"""\
-- KEYS: index of a tag [, fence]; ARGV: key, its time to live, the time now, both in milliseconds [, mark, fence].
local now, ttl = tonumber(ARGV[3]), tonumber(ARGV[2])
local known = redis.call('PTTL', KEYS[1])
if known ~= -2 and redis.call('TYPE', KEYS[1])['ok'] ~= 'zset' then
  redis.call('UNLINK', KEYS[1])
  known = -2
end
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
if known ~= -2 then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) end
if known < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
return 0
"""
_LIST_AT_ONCE = Script(_LIST, keys=1, args=3)
_LIST_FENCED = {keys: Script(guard(b"ARGV[4]", b"ARGV[5]") + _LIST, keys, args=5) for keys in (1, 2)}

_LOOK = Script(
    CARRYING
    + RAISE_BESIDE
    + b"""\
-- KEYS: entry; ARGV: tag, fate, moment, mark, fence. Answers whether it carries the tag; 2 = nothing was done, as the
-- fence is not here. There is none without a mark.
if ARGV[4] ~= '' then
  local done = raise(ARGV[5], ARGV[4])
  if not done or type(done) == 'table' and done['err'] then return 2 end
end
local fields = carrying(KEYS[1])
if ARGV[2] == 'deleted' then
  remove(KEYS[1], fields)
elseif ARGV[2] == 'stale' then
  for _, field in ipairs(fields) do redis.call('HSET', KEYS[1], '!' .. field, ARGV[3]) end
end
return #fields > 0 and 1 or 0
""",
    keys=1,
    args=5,
)


class _List(ScriptCall[None]):
    """List a key under a tag for ``ttl_ms`` milliseconds, unless the ``fence`` is later than ``since``."""

    __slots__ = ("_fence", "_index", "_key", "_since", "_ttl")

    def __init__(self, index: bytes, key: bytes, ttl_ms: int, since: bytes = b"", fence: Fence | None = None) -> None:
        super().__init__(_LIST_AT_ONCE if fence is None else _LIST_FENCED[1 + fence.declared])
        self._index = index
        self._key = key
        self._ttl = b"%d" % ttl_ms
        self._since = since
        self._fence = fence

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        now = b"%d" % ((self.pool.clock.seconds() + connection.server_ahead) * 1000)
        if self._fence is None:
            return sized(self._index, self._key, self._ttl, now)
        declared = (self._fence.name,) if self._fence.declared else ()
        return sized(self._index, *declared, self._key, self._ttl, now, self._since, self._fence.name)

    def told(self, reply: RedisReply) -> None:
        if isinstance(reply, bytes):
            raise refused(reply)


class _Look(ScriptCall[bool | None]):
    """Do to the variants of a key that carry a tag what ``fate`` says; whether there were any.

    With a ``mark`` the fence of the slot is raised first; None if it is not at this node.
    """

    __slots__ = ("_arguments",)

    def __init__(self, name: bytes, tag: bytes, fate: Fate, moment: float, mark: bytes) -> None:
        super().__init__(_LOOK)
        self._arguments = name, tag, fate.value.encode(), b"%.3f" % moment, mark, fence_of(slot_of(name))

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(*self._arguments)

    def told(self, reply: RedisReply) -> bool | None:
        return None if reply == 2 else reply == 1


class ClusterTags:
    """Tags, and what is stale, on the nodes of ``router``."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def enter(self, key: bytes, tags: Sequence[bytes], ttl_ms: int) -> None:
        """List ``key`` under each of ``tags``."""
        indexes = map(tag_index, tags)
        await all_of([self._router.call(slot_of(index), partial(_List, index, key, ttl_ms)) for index in indexes])

    def enter_in_order(
        self, key: bytes, index: bytes, ttl_ms: int, since: bytes, fence: Callable[[], Fence]
    ) -> Deferred[None]:
        """List ``key`` in the ``index`` of a tag; fails with :class:`Overtaken` if that was invalidated after
        ``since``."""
        return self._router.call(slot_of(index), lambda: _List(index, key, ttl_ms, since, fence()))

    async def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float, mark: bytes) -> Scanned:
        """A step of a walk, as :meth:`IStore.tagged`; ``mark`` is that of the invalidation, empty if there is none."""
        index = tag_index(tag)
        try:
            cursor, pairs = await self._scan(index, cursor)
        except Unreadable:  # no index of ours
            await self._router.run(slot_of(index), lambda store: store.delete([index]))
            return Scanned([], SCAN_ENDS)
        found: list[bytes] = []
        for start in range(0, len(pairs), 2 * _AT_ONCE):
            keys = pairs[start : start + 2 * _AT_ONCE : 2]
            looks = [Deferred.fromCoroutine(self._look(name_of(key), tag, fate, moment, mark)) for key in keys]
            found += [key for key, carries in zip(keys, await all_of(looks), strict=True) if carries]
        return Scanned(found, cursor)

    async def _look(self, name: bytes, tag: bytes, fate: Fate, moment: float, mark: bytes) -> bool | None:
        slot = slot_of(name)
        carries = await self._router.call(slot, partial(_Look, name, tag, fate, moment, mark))
        if carries is not None:
            return carries
        await self._router.call(slot, partial(Raise, fence_of(slot), mark))
        return await self._router.call(slot, partial(_Look, name, tag, fate, moment, b""))

    async def soften(self, names: Sequence[bytes], moment: float) -> set[bytes]:
        """Note that what stands under some names is stale; the keys that existed."""
        found: set[bytes] = set()
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            asked = [self._router.call(slot_of(name), partial(Soften, name, moment)) for name in some]
            found = found.union(*await all_of(asked))
        return {key for name in found if (key := key_in(name)) is not None}

    async def roles(self, index: bytes, cursor: bytes) -> tuple[bytes, list[bytes]]:
        """A step over the roles on the index of a target, and where the next begins."""
        try:
            cursor, pairs = await self._scan(index, cursor)
        except Unreadable:
            return SCAN_ENDS, []
        return cursor, pairs[::2]

    async def _scan(self, index: bytes, cursor: bytes) -> tuple[bytes, list[bytes]]:
        command = pack(b"ZSCAN", index, cursor, b"COUNT", STEP)
        step = await self._router.execute(slot_of(index), Ask(command, 1, lambda replies: checked(replies[0])))
        return cast("tuple[bytes, list[bytes]]", step)


def tag_index(tag: bytes) -> bytes:
    """Where the keys stand that carry ``tag``."""
    return tag_of(tag) + tag_key(tag)


async def all_of(asked: Sequence[Deferred[T]]) -> list[T]:
    """The answers; the first failure if there is one, when all are over."""
    answers = await DeferredList(list(asked), consumeErrors=True)
    for well, answer in answers:
        if not well:
            cast("Failure", answer).raiseException()
    return [answer for _, answer in answers]
