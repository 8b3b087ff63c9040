"""What runs inside the server: writing a variant and dropping a target, each atomic.

A write can be made to depend on the ledger of invalidations (``ledger.py``), in a Cluster on a fence that stands in
for it (``fences.py``), and dropping a target enters itself in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar, cast

from caching_proxy.interfaces import Overtaken
from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.rules.tags import joined
from caching_proxy.store.redis import fences
from caching_proxy.store.redis.commands import OnceLost, SendAgain
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, checked, form
from caching_proxy.store.redis.errors import TimedOut
from caching_proxy.store.redis.fences import Fence
from caching_proxy.store.redis.index import LUA
from caching_proxy.store.redis.ledger import LEDGER
from caching_proxy.store.redis.ledger import LUA as LEDGER_LUA
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.target_index import KNOWN_PREFIXES, index_key, indexed, tag_keys

T = TypeVar("T")

ROLES_STEP = 1000
"""Roles of a target that are dropped at a time: a script holds up everybody."""


_BY_LEDGER = b"""\
if ARGV[7] ~= '' then
  local newest = redis.call('HGET', KEYS[#KEYS], 'last')
  if newest ~= ARGV[7] then return newest or '' end
end
"""

_PUT = b"""\
-- KEYS: entry [, index of its target] [, indexes of its tags] [, ledger or fence]; ARGV: field, value, ttl, latest
-- time to write, variants and bytes at most, mark, role [, tags [, fence]]; mark and role are empty without the key
-- that they belong to.
-- Times in milliseconds. 0 = written; else nothing was written: text = the newest invalidation is another than the
-- mark; number = it is too late, the server's time. Where we may not ask for that, the latest time is our own time
-- now, negative, and nothing is too late.
-- Every call costs more than all that is between them: what is new needs no looking into.
local now = -tonumber(ARGV[4])
if now < 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  if now > tonumber(ARGV[4]) then return now end
end
local function remaining(key, wanted)
  local left = redis.call('PTTL', key)
  if left ~= -2 and redis.call('TYPE', key)['ok'] ~= wanted then
    redis.call('UNLINK', key)
    return -2
  end
  return left
end
local key, field, ttl = KEYS[1], ARGV[1], tonumber(ARGV[3])
local left = remaining(key, 'hash')
if ARGV[8] ~= '' then
  local listed = remaining(KEYS[2], 'zset')
  if left ~= -2 and not redis.call('ZSCORE', KEYS[2], ARGV[8]) then
    redis.call('UNLINK', key) -- while its target was not listed, an invalidation may have missed it
    left = -2
  end
  local life = math.max(left, ttl)
  redis.call('ZADD', KEYS[2], now + life, ARGV[8])
  if listed ~= -2 then redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now) end
  if listed < life then redis.call('PEXPIRE', KEYS[2], life) end
end
redis.call('HSET', key, field, ARGV[2])
if left ~= -2 then redis.call('HDEL', key, '@' .. field, '!' .. field) end
if ARGV[9] and ARGV[9] ~= '' then
  redis.call('HSET', key, '@' .. field, ARGV[9])
  for at = ARGV[8] ~= '' and 3 or 2, ARGV[7] ~= '' and #KEYS - 1 or #KEYS do
    local known = remaining(KEYS[at], 'zset')
    redis.call('ZADD', KEYS[at], now + ttl, key)
    if known ~= -2 then redis.call('ZREMRANGEBYSCORE', KEYS[at], '-inf', now) end
    if known < ttl then redis.call('PEXPIRE', KEYS[at], ttl) end
  end
end
if left < ttl then redis.call('PEXPIRE', key, ttl) end
if left == -2 and field == '-' then return 0 end
local found = left ~= -2 and records(redis.call('HGET', key, '#'), field)
if not found then
  if field == '-' then return 0 end
  found = {}
  if left ~= -2 then
    for _, name in ipairs(redis.call('HKEYS', key)) do
      if name == '-' then
        found[1] = record(name, redis.call('HGET', key, name))
      elseif name ~= field and not string.find(name, '^[@!]') then
        redis.call('HDEL', key, name) -- of another version
      end
    end
  end
end
found[#found + 1] = record(field, ARGV[2])
local bytes = 0
for _, one in ipairs(found) do bytes = bytes + one[2] end
while #found > 1 and (#found > tonumber(ARGV[5]) or bytes > tonumber(ARGV[6])) do
  local oldest = table.remove(found, 1)
  redis.call('HDEL', key, oldest[1], '@' .. oldest[1], '!' .. oldest[1])
  bytes = bytes - oldest[2]
end
redis.call('HSET', key, '#', written(found))
return 0
"""

_PUT_IN_ORDER = LUA + _BY_LEDGER + _PUT
_PUT_FORMS = {keys: Script(_PUT_IN_ORDER, keys, args=8) for keys in (1, 2, 3)}
_put_tagged = lru_cache(64)(lambda keys: Script(_PUT_IN_ORDER, keys, args=9))
_PUT_FENCED = {keys: Script(LUA + fences.guard(b"ARGV[7]", b"ARGV[10]") + _PUT, keys, args=10) for keys in (1, 2, 3)}
_NEVER = b"-"
"""In place of a mark that is not known: no ledger has it."""


class Put(ScriptCall[None]):
    """Write one variant; ``ttl_ms`` in milliseconds. ``most``: variants of a key, and their bytes.

    ``since`` is the newest invalidation that was looked at: :class:`Overtaken` if the ledger has another; None writes
    in any case. ``tags`` are those that the variant carries. In a Cluster a ``fence`` stands in for the ledger.

    It carries the latest time at which the server may carry it out. A server that thinks that it is too late, though
    it is not, has had its clock set: it is asked once more, by its new time.
    """

    __slots__ = (
        *("_clock_set", "_fence", "_field", "_key", "_most"),
        *("_since", "_tag_indexes", "_tags", "_ttl", "_value", "_where"),
    )

    if_lost: OnceLost = "hold"

    def __init__(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        most: tuple[bytes, bytes],
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
        fence: Fence | None = None,
    ) -> None:
        self._where = where = indexed(key)
        keys = 1 + (where is not None) + (since is not None)
        self._tag_indexes = tag_keys(key, tags) if tags else ()
        if fence is not None:
            super().__init__(_PUT_FENCED[keys - (not fence.declared)])
        else:
            super().__init__(_put_tagged(keys + len(self._tag_indexes)) if tags else _PUT_FORMS[keys])
        self._fence = fence
        self._tags = tags
        self._since = None if since is None else since or _NEVER
        self._clock_set = False
        self._key = key
        self._field = field
        self._value = value
        self._ttl = b"%d" % ttl_ms
        self._most = most

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        key, field, value, ttl = self._key, self._field, self._value, self._ttl
        if connection.tells_time:
            latest = b"%d" % ((self.deadline + connection.server_ahead) * 1000)
        else:
            latest = b"%d" % (-self.pool.clock.seconds() * 1000)
        number, size = self._most
        since = self._since
        own = (
            *(len(field), field, len(value), value, len(ttl), ttl, len(latest), latest),
            *(len(number), number, len(size), size),
        )
        if self._fence is not None:
            return self._fenced(own, self._fence)
        if self._tags:
            return self._tagged(own)
        if self._where is None:
            if since is None:
                return len(key), key, *own, 0, b"", 0, b""
            return len(key), key, len(LEDGER), LEDGER, *own, len(since), since, 0, b""
        role, index = self._where
        if since is None:
            return len(key), key, len(index), index, *own, 0, b"", len(role), role
        keys = (len(key), key, len(index), index, len(LEDGER), LEDGER)
        return *keys, *own, len(since), since, len(role), role

    def _tagged(self, own: tuple[int | bytes, ...]) -> tuple[int | bytes, ...]:
        """Keys and arguments where there are tags."""
        keys, role = [self._key], b""
        if self._where is not None:
            role, index = self._where
            keys.append(index)
        keys += self._tag_indexes
        if self._since is not None:
            keys.append(LEDGER)
        return *sized(*keys), *own, *sized(self._since or b"", role, joined(tuple(self._tags)))

    def _fenced(self, own: tuple[int | bytes, ...], fence: Fence) -> tuple[int | bytes, ...]:
        """Keys and arguments in a Cluster."""
        keys, role = [self._key], b""
        if self._where is not None:
            role, index = self._where
            keys.append(index)
        if fence.declared:
            keys.append(fence.name)
        since = self._since or _NEVER
        return *sized(*keys), *own, *sized(since, role, joined(tuple(self._tags)), fence.name)

    def told(self, reply: RedisReply) -> None:
        if reply == 0:
            return
        if isinstance(reply, bytes):
            if self._fence is not None:
                raise fences.refused(reply)
            raise Overtaken("there was an invalidation that this write does not know of")
        assert self.connection is not None
        now = self.pool.clock.seconds()
        self.connection.server_ahead = cast("int", reply) / 1000 - now
        if self._clock_set or now >= self.deadline:
            raise TimedOut("the server came to the write too late and left it out")
        self._clock_set = True
        raise SendAgain


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
