"""The ledger of invalidations on Redis: what counts them, remembers the last ones and tells the other proxies.

It is one hash beside the indexes of targets, so that no further right is needed: ``last`` holds the newest mark, each
number its entry (``rules/ledger.py`` says what those are). Only scripts write it. Whatever else stands under its key
is removed; a ledger that is gone begins anew, and everybody empties his memory.
"""

from __future__ import annotations

import itertools

from caching_proxy.rules.bus_message import Invalidation, encode
from caching_proxy.rules.ledger import LEDGER_LENGTH, MAX_ENTRY_BYTES
from caching_proxy.store.redis.target_index import INDEX_PREFIX

LEDGER = INDEX_PREFIX + b"invalidations"
"""No index of a target has this name: targets begin with a slash."""

CHANNEL_PREFIX = b"cachingproxy:invalidations:"
"""The number of the database follows: channels know none of their own."""

NUMBER = b"local function number(mark) return tonumber(string.match(mark or '', '^%d+')) or -1 end\n"
"""``number`` gives that of a mark, -1 for what is none."""

LUA = (
    NUMBER
    + b"""\
local function name(number) return string.format('%%.0f', number) end
local function newest(ledger)
  local kind = redis.call('TYPE', ledger)['ok']
  if kind == 'hash' then
    local last = redis.call('HGET', ledger, 'last')
    return last ~= '' and last -- an empty mark is that of a proxy that has read nothing: all writes would be refused
  end
  if kind ~= 'none' then redis.call('UNLINK', ledger) end
  return false
end
local function mark(ledger, channel, word, message, least)
  local last = newest(ledger) or ''
  local n = math.max(number(last), least or 0) + 1 -- 0 is the mark of a ledger without any
  local own = name(n) .. ':' .. word
  local entry = own .. ' ' .. (#message > %d and '?' or message)
  redis.call('HDEL', ledger, name(n - %d)) -- first: after it a server without memory takes the rest of the script
  redis.call('HSET', ledger, 'last', own, name(n), entry)
  local told = redis.pcall('PUBLISH', channel, last .. ' ' .. own .. ' ' .. message)
  return {last, own, type(told) == 'table' and told['err'] or ''}
end
"""
    % (MAX_ENTRY_BYTES, LEDGER_LENGTH)
)
"""``mark`` gives the mark before, the new one, and why nobody was told (empty if they were); its number is greater than
that of the last one and than ``least``."""


class Words:
    """What a proxy says to the ledger: who it is, where others listen, and a word of its own for each mark."""

    def __init__(self, origin: bytes, db: int) -> None:
        self.origin = origin
        self.channel = CHANNEL_PREFIX + b"%d" % db
        self._count = itertools.count(1)

    def word(self) -> bytes:
        """One that nobody has used."""
        return b"%b.%x" % (self.origin, next(self._count))

    def arguments(self, invalidation: Invalidation) -> tuple[bytes, bytes, bytes]:
        """Channel, word and message of one invalidation."""
        return self.channel, self.word(), encode(self.origin, invalidation)
