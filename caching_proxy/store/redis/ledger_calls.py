"""Calls that only concern the ledger: enter an invalidation, and read what came since."""

from __future__ import annotations

from typing import cast

import attrs

from caching_proxy.rules.ledger import LEDGER_LENGTH
from caching_proxy.store.redis.commands import OnceLost
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.ledger import LEDGER, LUA
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized

_MARK = Script(LUA + b"return mark(KEYS[1], ARGV[1], ARGV[2], ARGV[3])\n", keys=1, args=3)

_LIFT = Script(
    LUA
    + b"""\
-- KEYS: ledger; ARGV: channel, word, message, a mark. If the ledger is not as far as that, or has another of its
-- number, it begins anew behind it.
local last = newest(KEYS[1]) or ''
local n, least = number(last), number(ARGV[4])
if n > least or last == ARGV[4] then return false end
local lifted = mark(KEYS[1], ARGV[1], ARGV[2], ARGV[3], least)
local own = lifted[2]
local entry = redis.call('HGET', KEYS[1], name(number(own)))
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'last', own, name(number(own)), entry)
return lifted
""",
    keys=1,
    args=4,
)

_SINCE = Script(
    LUA
    + b"""\
-- KEYS: ledger; ARGV: a mark, a word for the first entry of a new ledger. Answers the newest mark and, if the ledger
-- may reach that far back, the entries from that of the given one on.
local last = newest(KEYS[1])
if not last then
  last = '0:' .. ARGV[2]
  redis.call('HSET', KEYS[1], 'last', last, '0', last .. ' ')
end
local from, to = number(ARGV[1]), number(last)
local answer = {last}
if last ~= ARGV[1] and from >= 0 and from < to and to - from < %d then
  for n = from, to do answer[#answer + 1] = redis.call('HGET', KEYS[1], name(n)) end
end
return answer
"""
    % LEDGER_LENGTH,
    keys=1,
    args=2,
)


@attrs.frozen(slots=True)
class Marked:
    """An invalidation that was entered as ``mark``, after ``previous``; ``untold`` says why nobody was told of it."""

    previous: bytes
    mark: bytes
    untold: str

    @classmethod
    def of(cls, reply: RedisReply) -> Marked:
        previous, mark, untold = cast("list[bytes]", reply)
        return cls(previous, mark, untold.decode("utf-8", "replace"))


class Mark(ScriptCall[Marked]):
    """Enter an invalidation. One whose connection is lost is entered once more: twice does no harm."""

    __slots__ = ("_arguments",)

    if_lost: OnceLost = "retry"

    def __init__(self, arguments: tuple[bytes, ...]) -> None:
        super().__init__(_MARK)
        self._arguments = arguments

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(LEDGER, *self._arguments)

    def told(self, reply: RedisReply) -> Marked:
        return Marked.of(reply)


class Lift(ScriptCall[Marked | None]):
    """Enter an invalidation behind ``mark`` in a ledger that has not come so far, as it lost what it had; else None."""

    __slots__ = ("_arguments",)

    if_lost: OnceLost = "retry"

    def __init__(self, mark: bytes, arguments: tuple[bytes, ...]) -> None:
        super().__init__(_LIFT)
        self._arguments = (*arguments, mark)

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(LEDGER, *self._arguments)

    def told(self, reply: RedisReply) -> Marked | None:
        return None if reply is None else Marked.of(reply)


class Since(ScriptCall[tuple[bytes, list[bytes | None]]]):
    """The newest mark, and the log from ``known`` up to it; the log is empty if it does not reach back that far."""

    __slots__ = ("_known", "_word")

    if_lost: OnceLost = "retry"

    def __init__(self, known: bytes, word: bytes) -> None:
        super().__init__(_SINCE)
        self._known = known
        self._word = word

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(LEDGER, self._known, self._word)

    def told(self, reply: RedisReply) -> tuple[bytes, list[bytes | None]]:
        newest, *log = cast("list[bytes]", reply)
        return newest, list(log)
