"""Fences: what holds a write in a Cluster to the order of invalidations, at the node that carries it out.

The ledger that numbers invalidations has its place at one node, and a script may look at keys of its own node only. So
each slot has a fence: a hash in that very slot with the mark of the newest invalidation that may concern keys there.
Whoever invalidates enters that in the ledger, raises the fences, and deletes then. A write passes if its proxy has
applied an invalidation later than the fence, or that very one; all in the script that writes.

A fence moves with its slot. One that is gone (evicted, flushed, its slot never written to before) refuses every write
until it is put up again: first as an empty one, which refuses too, then as the newest mark of the ledger, which must be
read in between. Whoever invalidates after the first finds the fence there; what was invalidated before is covered by
what was read. So raising may leave alone what is not there.
"""

from __future__ import annotations

from array import array
from binascii import crc_hqx
from collections.abc import Sequence
from functools import cache
from typing import cast

import attrs

from caching_proxy.interfaces import Overtaken, StoreError
from caching_proxy.store.redis.commands import OnceLost
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.errors import CommandRefused
from caching_proxy.store.redis.ledger import NUMBER
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.slots import SLOTS
from caching_proxy.store.redis.target_index import INDEX_PREFIX

_HEAD, _TAIL = b"{slot", b"}" + INDEX_PREFIX + b"fence"
_LETTERS = 4
"""How many at the end of a hash tag say which slot it is in; each stands for four bits."""


@attrs.frozen(slots=True)
class Fence:
    """The name of a fence, and whether it is declared to the server as a key of the script.

    It has to be, but while its slot moves a server lets no script declare a key that is there beside one that is not.
    """

    name: bytes
    declared: bool


class Fenced(Overtaken):
    """A write was refused by the fence ``mark``."""

    def __init__(self, mark: bytes) -> None:
        super().__init__("there was an invalidation that this write does not know of")
        self.mark = mark


class Fenceless(CommandRefused):
    """Where a write was to be made there is no fence."""


def fence_of(slot: int) -> bytes:
    """The name of the fence of ``slot``."""
    return b"%b%b%b" % (_HEAD, letters_of(slot), _TAIL)


def letters_of(slot: int) -> bytes:
    """What stands for ``slot`` in the name of its fence."""
    return _letters(_numbers()[slot])


def _letters(number: int) -> bytes:
    return bytes([0x40 | number >> bits & 15 for bits in (12, 8, 4, 0)])


@cache
def _numbers() -> array[int]:
    """By slot; numbers of 14 bits reach every slot, each once, as a checksum is linear."""
    found = array("H", bytes(2 * SLOTS))
    for number in range(SLOTS):
        found[crc_hqx(_HEAD[1:] + _letters(number), 0) % SLOTS] = number
    return found


def guard(mark: bytes, fence: bytes) -> bytes:
    """The beginning of a script that goes on if ``mark`` passes, both given as Lua. Else it answers with the fence,
    empty if there is none."""
    return (
        NUMBER
        + b"""\
local held = redis.pcall('HGET', %b, 'last')
if type(held) == 'table' then -- the slot moves, and the fence is elsewhere; or it is none of ours
  if string.find(held['err'], 'WRONGTYPE', 1, true) then return '' end
  return {err = 'TRYAGAIN the fence is at another node'}
end
if held ~= %b and (not held or held == '' or number(held) >= number(%b)) then return held or '' end
"""
        % (fence, mark, mark)
    )


def refused(reply: bytes) -> StoreError:
    """Why a write did not pass."""
    return Fenced(reply) if reply else Fenceless("the fence of this slot is gone")


_RAISE = (
    NUMBER
    + b"""\
local function raise(fence, mark)
  local held = redis.pcall('HGET', fence, 'last')
  if type(held) == 'string' and number(mark) >= number(held) then return redis.pcall('HSET', fence, 'last', mark) end
  return held
end
"""
)
"""``raise`` gives a table with ``err`` where it could not be done, false where there is no fence."""

RAISE_BESIDE = _RAISE
"""For scripts that raise the fence of what they change."""

_RAISE_ONE = Script(
    _RAISE
    + b"""\
-- KEYS: fence; ARGV: mark. What is no fence of ours is removed.
local done = raise(KEYS[1], ARGV[1])
if type(done) == 'table' and done['err'] then
  if not string.find(done['err'], 'WRONGTYPE', 1, true) then return done end
  redis.call('UNLINK', KEYS[1])
end
return 0
""",
    keys=1,
    args=1,
)

_RAISE_MANY = Script(
    _RAISE
    + b"""\
-- ARGV: mark, the letters of many slots. Answers those whose fence could not be looked at.
local left = {}
for at = 1, #ARGV[2], %d do
  local letters = string.sub(ARGV[2], at, at + %d)
  local done = raise('%b' .. letters .. '%b', ARGV[1])
  if type(done) == 'table' and done['err'] then left[#left + 1] = letters end
end
return left
"""
    % (_LETTERS, _LETTERS - 1, _HEAD, _TAIL),
    keys=0,
    args=2,
)

_PUT_UP = Script(
    b"""\
-- KEYS: fence. Answers with it, empty if there is none yet; then an empty one is put up.
local held = redis.pcall('HGET', KEYS[1], 'last')
if type(held) == 'string' then return held end
if type(held) == 'table' then redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], 'last', '')
return ''
""",
    keys=1,
    args=0,
)


class Raise(ScriptCall[None]):
    """Raise one fence, if it is there."""

    __slots__ = ("_fence", "_mark")

    if_lost: OnceLost = "retry"

    def __init__(self, fence: bytes, mark: bytes) -> None:
        super().__init__(_RAISE_ONE)
        self._fence = fence
        self._mark = mark

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(self._fence, self._mark)

    def told(self, reply: RedisReply) -> None:
        """It is raised, or not there."""


class RaiseMany(ScriptCall[Sequence[int]]):
    """Raise the fences of many slots, as far as they are at the node that is asked; those ``slots`` that are not."""

    __slots__ = ("_mark", "_slots")

    if_lost: OnceLost = "retry"

    def __init__(self, slots: Sequence[int], mark: bytes) -> None:
        super().__init__(_RAISE_MANY)
        self._slots = slots
        self._mark = mark

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(self._mark, b"".join(map(letters_of, self._slots)))

    def told(self, reply: RedisReply) -> Sequence[int]:
        left = set(cast("list[bytes]", reply))
        return [slot for slot in self._slots if letters_of(slot) in left] if left else ()


class PutUp(ScriptCall[bytes]):
    """A fence as it is; if there is none, an empty one is put up."""

    __slots__ = ("_fence",)

    if_lost: OnceLost = "retry"

    def __init__(self, fence: bytes) -> None:
        super().__init__(_PUT_UP)
        self._fence = fence

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(self._fence)

    def told(self, reply: RedisReply) -> bytes:
        return cast("bytes", reply)
