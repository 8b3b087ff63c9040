"""What runs inside the server: writing a variant and dropping a target, each atomic.

A script is called by its digest and sent whole only to a server that does not know it yet.
"""

from __future__ import annotations

from hashlib import sha1

from twisted.internet.defer import Deferred
from txredisapi import ResponseError

from caching_proxy.store.connection import RedisConnection, Reply, checked, pack


class Script:
    """A Lua script."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._digest = sha1(source, usedforsecurity=False).hexdigest().encode()

    def run(self, connection: RedisConnection, keys: list[bytes], args: list[bytes]) -> Deferred[Reply]:
        """Its reply; a :class:`StoreError` for an error reply."""
        rest = (b"%d" % len(keys), *keys, *args)

        def answered(replies: list[Reply]) -> Reply | Deferred[Reply]:
            reply = replies[0]
            if isinstance(reply, ResponseError) and str(reply).startswith("NOSCRIPT"):
                whole = connection.send(pack(b"EVAL", self._source, *rest), 1)
                return whole.addCallback(lambda replies: checked(replies[0]))
            return checked(reply)

        return connection.send(pack(b"EVALSHA", self._digest, *rest), 1).addCallback(answered)


PUT = Script(b"""\
-- KEYS: entry [, index of its target]; ARGV: field, value, ttl, latest time to write, variants at most [, role].
-- Times in milliseconds. 0 = written; else nothing was written, it is too late: the server's time.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now > tonumber(ARGV[4]) then return now end
local function cleared(key, wanted)
  local kind = redis.call('TYPE', key)['ok']
  if kind ~= wanted and kind ~= 'none' then redis.call('UNLINK', key) end
end
local ttl = tonumber(ARGV[3])
cleared(KEYS[1], 'hash')
local left = redis.call('PTTL', KEYS[1])
if left > ttl then ttl = left end
if KEYS[2] then
  cleared(KEYS[2], 'zset')
  redis.call('ZADD', KEYS[2], now + ttl, ARGV[6])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('PTTL', KEYS[2]) < ttl then redis.call('PEXPIRE', KEYS[2], ttl) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ttl)
local surplus = redis.call('HLEN', KEYS[1]) - tonumber(ARGV[5])
if surplus > 0 then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if surplus > 0 and field ~= ARGV[1] then
      redis.call('HDEL', KEYS[1], field)
      surplus = surplus - 1
    end
  end
end
return 0
""")

DELETE_TARGET = Script(b"""\
-- KEYS: index; ARGV: what a key begins with, target, roles at most, keys known by name...
-- Answers how many roles were taken off the index, and the keys that existed.
local gone = {}
local function drop(key)
  if redis.call('UNLINK', key) == 1 then gone[#gone + 1] = key end
end
for i = 4, #ARGV do drop(ARGV[i]) end
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'none' then return {0, gone} end
if kind ~= 'zset' then
  redis.call('UNLINK', KEYS[1])
  return {0, gone}
end
local roles = redis.call('ZPOPMIN', KEYS[1], ARGV[3])
for i = 1, #roles, 2 do drop(ARGV[1] .. roles[i] .. ':' .. ARGV[2]) end
return {#roles / 2, gone}
""")
