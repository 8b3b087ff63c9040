"""What runs inside the server to find variants by a tag, and to note that some are stale.

Beside its variants a hash has, for each that carries tags, a field ``@<variant>`` with them, one a line, and for each
that was invalidated softly ``!<variant>`` with the moment. Writing a variant clears both. The index of a tag is a
sorted set of keys by the time at which the variant ends; it may list keys that do not carry the tag any more, so
scripts look.
"""

from __future__ import annotations

from typing import cast

from caching_proxy.interfaces import SCAN_ENDS, Fate, Scanned
from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.store.redis.commands import SendAgain
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.index import LUA
from caching_proxy.store.redis.script_call import Script, ScriptCall
from caching_proxy.store.redis.target_index import KNOWN_PREFIXES, index_key, tag_key

TAGS, MARK = b"@", b"!"

STEP = b"200"
"""Keys that a script looks at in one go: it holds up everybody."""

_SOFTEN = b"""\
local function soften(key, moment)
  if redis.call('TYPE', key)['ok'] ~= 'hash' then return false end
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if not string.find(name, '^[#@!]') then redis.call('HSET', key, '!' .. name, moment) end
  end
  return true
end
"""

CARRYING = (
    LUA
    + b"""\
local needle = '\\n' .. ARGV[1] .. '\\n'
local function carrying(key)
  local fields = {}
  if redis.call('TYPE', key)['ok'] ~= 'hash' then return fields end
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if string.sub(name, 1, 1) == '@' then
      local tags = '\\n' .. redis.call('HGET', key, name) .. '\\n'
      if string.find(tags, needle, 1, true) then fields[#fields + 1] = string.sub(name, 2) end
    end
  end
  return fields
end
local function remove(key, fields)
  for _, field in ipairs(fields) do
    redis.call('HDEL', key, field, '@' .. field, '!' .. field)
    local found = records(redis.call('HGET', key, '#'), field)
    if found and #found > 0 then
      redis.call('HSET', key, '#', written(found))
    elseif found then
      redis.call('HDEL', key, '#')
    end
  end
end
"""
)
"""``carrying`` gives the variants of a key that carry the tag ARGV[1], ``remove`` removes some."""

TAGGED = Script(
    CARRYING
    + b"""\
-- KEYS: index of a tag; ARGV: tag, cursor, keys at most, fate, moment. Answers where the walk goes on, and keys that
-- carry the tag.
local index, fate = KEYS[1], ARGV[4]
local kind = redis.call('TYPE', index)['ok']
if kind ~= 'zset' then
  if kind ~= 'none' then redis.call('UNLINK', index) end
  return {'0', {}}
end
local step, keys = redis.call('ZSCAN', index, ARGV[2], 'COUNT', ARGV[3]), {}
for at = 1, #step[2], 2 do
  local key = step[2][at]
  local fields = carrying(key)
  if #fields > 0 then keys[#keys + 1] = key end
  if fate == 'deleted' then
    remove(key, fields)
    redis.call('ZREM', index, key)
  elseif fate == 'stale' then
    for _, field in ipairs(fields) do redis.call('HSET', key, '!' .. field, ARGV[5]) end
  end
end
return {step[1], keys}
""",
    keys=1,
    args=5,
)


class Tagged(ScriptCall[Scanned]):
    """A step of a walk over the keys that carry a tag (:meth:`IStore.tagged`)."""

    __slots__ = ("_cursor", "_fate", "_moment", "_tag")

    def __init__(self, tag: bytes, cursor: bytes, fate: Fate, moment: float) -> None:
        super().__init__(TAGGED)
        self._tag = tag
        self._cursor = cursor
        self._fate = fate.value.encode()
        self._moment = b"%.3f" % moment

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        args = (tag_key(self._tag), self._tag, self._cursor, STEP, self._fate, self._moment)
        return tuple(part for arg in args for part in (len(arg), arg))

    def told(self, reply: RedisReply) -> Scanned:
        cursor, keys = cast("tuple[bytes, list[bytes]]", reply)
        return Scanned(keys, cursor)


SOFTEN = Script(
    _SOFTEN + b"-- KEYS: entry; ARGV: moment.\nreturn soften(KEYS[1], ARGV[1]) and 1 or 0\n", keys=1, args=1
)


class Soften(ScriptCall[set[bytes]]):
    """Note of every variant of a key that it is stale; the key, if it existed."""

    __slots__ = ("_key", "_moment")

    def __init__(self, key: bytes, moment: float) -> None:
        super().__init__(SOFTEN)
        self._key = key
        self._moment = b"%.3f" % moment

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return len(self._key), self._key, len(self._moment), self._moment

    def told(self, reply: RedisReply) -> set[bytes]:
        return {self._key} if reply == 1 else set()


SOFTEN_TARGET = Script(
    _SOFTEN
    + b"""\
-- KEYS: index of a target; ARGV: target, cursor, roles at most, moment. Answers where the walk goes on, and the keys
-- that existed.
local found = {}
local function note(key)
  if soften(key, ARGV[4]) then found[#found + 1] = key end
end
if ARGV[2] == '0' then
  for _, prefix in ipairs({'%b'}) do note(prefix .. ARGV[1]) end
end
if redis.call('TYPE', KEYS[1])['ok'] ~= 'zset' then return {'0', found} end
local step = redis.call('ZSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for at = 1, #step[2], 2 do note('%b' .. step[2][at] .. ':' .. ARGV[1]) end
return {step[1], found}
"""
    % (b"', '".join(KNOWN_PREFIXES), GET_PREFIX),
    keys=1,
    args=4,
)


class SoftenTarget(ScriptCall[set[bytes]]):
    """Note of what is stored for one target that it is stale, a step at a time; the keys that existed."""

    __slots__ = ("_cursor", "_found", "_moment", "_target")

    def __init__(self, target: bytes, moment: float) -> None:
        super().__init__(SOFTEN_TARGET)
        self._target = target
        self._moment = b"%.3f" % moment
        self._cursor = SCAN_ENDS
        self._found: set[bytes] = set()

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        args = (index_key(self._target), self._target, self._cursor, STEP, self._moment)
        return tuple(part for arg in args for part in (len(arg), arg))

    def told(self, reply: RedisReply) -> set[bytes]:
        cursor, some = cast("tuple[bytes, list[bytes]]", reply)
        self._found.update(some)
        if cursor == SCAN_ENDS:
            return self._found
        self._cursor = cursor
        self.pool.renew(self)
        raise SendAgain
