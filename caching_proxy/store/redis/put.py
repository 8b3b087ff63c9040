"""Writing a variant inside the server, in one step with its index, its tags and the guard against what is from before.

A write can be made to depend on the ledger of invalidations (``ledger.py``), in a Cluster on a fence that stands in
for it (``fences.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from caching_proxy.interfaces import Overtaken
from caching_proxy.rules.tags import joined
from caching_proxy.store.redis import fences
from caching_proxy.store.redis.commands import OnceLost, SendAgain
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.errors import TimedOut
from caching_proxy.store.redis.fences import Fence
from caching_proxy.store.redis.index import LUA
from caching_proxy.store.redis.ledger import LEDGER, NUMBER
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.target_index import indexed, tag_keys

NEAR = 64
"""Invalidations that a write may not know of, if they are all of other targets; with more it has to be sent anew."""

_BY_LEDGER = (
    NUMBER
    + b"""\
-- Whether all that came after the mark are invalidations of other targets, which do not concern this key. They stand
-- in the ledger as bus_message.py spells them; whatever is spelled in another way may concern it.
local function spared(key, ledger, known, newest)
  local from, to = number(known), number(newest)
  local target = string.match(key, '^cache:GET:[^:/]+:(/[!#-Z%%[%%]^_`a-~]*)$') -- which JSON spells as it is
  if not target or from < 0 or to <= from or to - from > %d then return false end
  local first = redis.call('HGET', ledger, string.format('%%.0f', from))
  if not first or string.sub(first, 1, #known + 1) ~= known .. ' ' then return false end
  local only, own = '], "keys": [], "patterns": []}', '"' .. target .. '"'
  for n = from + 1, to do
    local entry = redis.call('HGET', ledger, string.format('%%.0f', n))
    if not entry or string.sub(entry, -#only) ~= only or string.find(entry, own, 1, true) then return false end
  end
  return true
end
if ARGV[7] ~= '' then
  local newest = redis.call('HGET', KEYS[#KEYS], 'last')
  if newest ~= ARGV[7] and not (newest and spared(KEYS[1], KEYS[#KEYS], ARGV[7], newest)) then return newest or '' end
end
"""
    % NEAR
)

_PUT = b"""\
-- KEYS: entry [, index of its target] [, indexes of its tags] [, ledger or fence]; ARGV: field, value, ttl, latest
-- time to write, variants and bytes at most, mark, role [, tags [, fence]]; mark and role are empty without the key
-- that they belong to.
-- Times in milliseconds. 0 = written; else nothing was written: text = the newest invalidation, as one came after the
-- mark that may concern the key; number = it is too late, the server's time. Where we may not ask for that, the latest
-- time is our own time now, negative, and nothing is too late.
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

    ``since`` is the newest invalidation that was looked at: :class:`Overtaken` if the ledger has a later one that may
    concern the key; None writes in any case. ``tags`` are those that the variant carries. In a Cluster a ``fence``
    stands in for the ledger.

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
