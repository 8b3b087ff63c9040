"""What takes entries out inside the server: variants, keys and targets, each atomic.

Dropping a target enters itself in the ledger of invalidations (``ledger.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar, cast

from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.store.redis.commands import SendAgain
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, checked, form
from caching_proxy.store.redis.index import LUA
from caching_proxy.store.redis.ledger import LEDGER
from caching_proxy.store.redis.ledger import LUA as LEDGER_LUA
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.target_index import KNOWN_PREFIXES, index_key

T = TypeVar("T")

ROLES_STEP = 1000
"""Roles of a target that are dropped at a time: a script holds up everybody."""


UNLIST = Script(
    LUA
    + b"""\
-- KEYS: entry; ARGV: field. Takes it off the index if it is not there any more.
local index = redis.call('HGET', KEYS[1], '#')
if not index or redis.call('HSTRLEN', KEYS[1], ARGV[1]) > 0 then return 0 end
local found = records(index, ARGV[1])
if found and #found > 0 then
  redis.call('HSET', KEYS[1], '#', written(found))
elseif found then
  redis.call('HDEL', KEYS[1], '#')
end
return 0
""",
    keys=1,
    args=1,
)
_REMOVE = form(b"HDEL", blanks=4)


class Discard(ScriptCall[bool]):
    """Remove one variant; whether it was there.

    It is removed at once, by a command of its own: while a script is sent whole, a newer value may take its place.
    """

    __slots__ = ("_field", "_gone", "_key", "wanted")

    def __init__(self, key: bytes, field: bytes) -> None:
        super().__init__(UNLIST)
        self._key = key
        self._field = field
        self._gone = False
        self.wanted = 2

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return len(self._key), self._key, len(self._field), self._field

    def payload(self, connection: RedisConnection) -> bytes:
        unlist = super().payload(connection)
        if self.wanted != 2:
            return unlist
        field = self._field
        return _REMOVE % sized(self._key, field, b"@" + field, b"!" + field) + unlist

    def read(self, replies: list[RedisReply]) -> bool:
        if self.wanted == 2:
            self._gone = cast("int", checked(replies[0])) > 0
            self.wanted = 1  # of a call that is sent once more
        return super().read(replies[-1:])

    def told(self, reply: RedisReply) -> bool:
        return self._gone


FORGET = Script(
    b"""\
-- KEYS: entry. Removes it and answers how long its largest value was.
local largest = 0
if redis.call('TYPE', KEYS[1])['ok'] == 'hash' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    largest = math.max(largest, redis.call('HSTRLEN', KEYS[1], field))
  end
end
redis.call('UNLINK', KEYS[1])
return largest
""",
    keys=1,
    args=0,
)


class Forget(ScriptCall[int]):
    """Remove a key unseen; the length of its largest value in bytes."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        super().__init__(FORGET)
        self._key = key

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return len(self._key), self._key

    def told(self, reply: RedisReply) -> int:
        return cast("int", reply)


_DROP_TARGET = (
    LEDGER_LUA
    + b"""\
-- KEYS: index [, ledger]; ARGV: target, roles at most [, channel, word, message].
-- Answers how many roles were taken off the index, the keys that existed, and what the ledger says.
local marked = KEYS[2] and mark(KEYS[2], ARGV[3], ARGV[4], ARGV[5]) or {}
local gone = {}
local function drop(key)
  if redis.call('UNLINK', key) == 1 then gone[#gone + 1] = key end
end
for _, prefix in ipairs({'%b'}) do drop(prefix .. ARGV[1]) end
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'none' then return {0, gone, marked} end
if kind ~= 'zset' then
  redis.call('UNLINK', KEYS[1])
  return {0, gone, marked}
end
local roles = redis.call('ZPOPMIN', KEYS[1], ARGV[2])
for i = 1, #roles, 2 do drop('%b' .. roles[i] .. ':' .. ARGV[1]) end
return {#roles / 2, gone, marked}
"""
    % (b"', '".join(KNOWN_PREFIXES), GET_PREFIX)
)
DROP_TARGET = Script(_DROP_TARGET, keys=1, args=2)
DROP_TARGET_IN_ORDER = Script(_DROP_TARGET, keys=2, args=5)


class DropTarget(ScriptCall[set[bytes]]):
    """Drop the entries of one target, a step at a time, each with its own deadline; the keys that existed.

    ``arguments`` are those of the ledger (:meth:`Words.arguments`), where each step enters itself; ``on_marked`` hears
    what it answers. Without them the ledger is left alone.
    """

    __slots__ = ("_arguments", "_gone", "_on_marked", "_target")

    def __init__(
        self,
        target: bytes,
        arguments: tuple[bytes, ...] = (),
        on_marked: Callable[[RedisReply], object] | None = None,
    ) -> None:
        super().__init__(DROP_TARGET_IN_ORDER if arguments else DROP_TARGET)
        self._target = target
        self._arguments = arguments
        self._on_marked = on_marked
        self._gone: set[bytes] = set()

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        index, roles = index_key(self._target), b"%d" % ROLES_STEP
        keys = (index, LEDGER) if self._arguments else (index,)
        return sized(*keys, self._target, roles, *self._arguments)

    def told(self, reply: RedisReply) -> set[bytes]:
        roles, some, marked = cast("tuple[int, list[bytes], list[bytes]]", reply)
        self._gone.update(some)
        if self._on_marked is not None and marked:
            self._on_marked(marked)
        if roles == ROLES_STEP:
            self.pool.renew(self)
            raise SendAgain
        return self._gone


_DROP_TARGETS = (
    LEDGER_LUA
    + b"""\
-- KEYS: an index for each target [, ledger]; ARGV: roles at most, targets [, channel, word, message].
-- Answers how many more roles it might have taken, the keys that existed of each target that it came to, and what the
-- ledger says. With none left the last of these targets may have more.
local most, n = tonumber(ARGV[1]), #KEYS
local marked = {}
if #ARGV > 1 + n then
  n = n - 1
  marked = mark(KEYS[n + 1], ARGV[n + 2], ARGV[n + 3], ARGV[n + 4])
end
local all = {}
for i = 1, n do
  if most <= 0 then break end
  local target, gone = ARGV[i + 1], {}
  local function drop(key)
    if redis.call('UNLINK', key) == 1 then gone[#gone + 1] = key end
  end
  for _, prefix in ipairs({'%b'}) do drop(prefix .. target) end
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind == 'zset' then
    local roles = redis.call('ZPOPMIN', KEYS[i], most)
    for k = 1, #roles, 2 do drop('%b' .. roles[k] .. ':' .. target) end
    most = most - #roles / 2
  elseif kind ~= 'none' then
    redis.call('UNLINK', KEYS[i])
  end
  all[i] = gone
end
return {most, all, marked}
"""
    % (b"', '".join(KNOWN_PREFIXES), GET_PREFIX)
)


@lru_cache(256)
def drop_targets(count: int, in_order: bool) -> Script:
    """The script that drops ``count`` targets, and enters that into the ledger if it is ``in_order``."""
    return Script(_DROP_TARGETS, keys=count + in_order, args=1 + count + 3 * in_order)


class DropTargets(ScriptCall[Mapping[bytes, set[bytes]]]):
    """:class:`DropTarget` of several, which are different, in one step where that is possible; the keys of each."""

    __slots__ = ("_arguments", "_gone", "_left", "_on_marked")

    def __init__(
        self, targets: Sequence[bytes], arguments: tuple[bytes, ...], on_marked: Callable[[RedisReply], object]
    ) -> None:
        super().__init__(drop_targets(len(targets), bool(arguments)))
        self._left = targets
        self._arguments = arguments
        self._on_marked = on_marked
        self._gone: dict[bytes, set[bytes]] = {target: set() for target in targets}

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        ledger = (LEDGER,) if self._arguments else ()
        indexes = map(index_key, self._left)
        return sized(*indexes, *ledger, b"%d" % ROLES_STEP, *self._left, *self._arguments)

    def told(self, reply: RedisReply) -> Mapping[bytes, set[bytes]]:
        more, found, marked = cast("tuple[int, list[list[bytes]], list[bytes]]", reply)
        for target, some in zip(self._left, found, strict=False):
            self._gone[target].update(some)
        if marked:
            self._on_marked(marked)
        if more <= 0:
            self._left = self._left[len(found) - 1 :]
            self.script = drop_targets(len(self._left), bool(self._arguments))
            self.pool.renew(self)
            raise SendAgain
        return self._gone
