"""Who fetches what, among the proxies on one Redis: a short claim on a key, which a dying holder cannot keep.

A claim is a hash with the name of its holder that ends by itself; where nobody may share the answer, it says so for a
moment, so that the others do not queue for what is for one of them alone. It needs no other rights than the store.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import Claim, IClaims, StoreError
from caching_proxy.store.redis.commands import OnceLost
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.script_call import Script, ScriptCall, sized
from caching_proxy.store.redis.target_index import INDEX_PREFIX

CLAIM_PREFIX = INDEX_PREFIX + b"!"
"""Neither a target nor a tag stands there."""

HOLD_MS = 3000
"""How long a claim lasts that nobody renews."""

ALONE_MS = 2000
"""For how long it is remembered that nobody may share the answer."""

_NOBODY = b"-"

_CLAIM = Script(
    b"""\
-- KEYS: claim; ARGV: who, for how many milliseconds. 1 = it is ours, 0 = another's, 2 = each for itself.
local by = redis.call('HGET', KEYS[1], 'by')
if by and by ~= ARGV[1] then return by == '-' and 2 or 0 end
redis.call('HSET', KEYS[1], 'by', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""",
    keys=1,
    args=2,
)

_END = Script(
    b"""\
-- KEYS: claim; ARGV: who, then who has it next and for how many milliseconds (0: nobody). Only our own is touched.
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then return redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], 'by', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""",
    keys=1,
    args=3,
)

_TOLD = (Claim.THEIRS, Claim.OURS, Claim.NOBODYS)


class _Ask(ScriptCall[Claim]):
    __slots__ = ("_words", "place")

    if_lost: OnceLost = "retry"  # asking for, or giving up, the same claim twice does no harm

    def __init__(self, script: Script, *words: bytes) -> None:
        super().__init__(script)
        self._words = words
        self.place = words[0]

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        return sized(*self._words)

    def told(self, reply: RedisReply) -> Claim:
        return _TOLD[reply] if isinstance(reply, int) and 0 <= reply < len(_TOLD) else Claim.NOBODYS


@implementer(IClaims)
class RedisClaims:
    """An :class:`IClaims` on ``pool``; ``origin`` is this proxy's name, which no other has."""

    def __init__(self, pool: RedisPool, origin: bytes) -> None:
        self._pool = pool
        self._origin = origin
        self._held: set[bytes] = set()
        """What may be ours: from the moment that it is asked for."""
        self._stopped = False

    def claim(self, name: bytes) -> Deferred[Claim]:
        if self._stopped:
            return succeed(Claim.NOBODYS)
        self._held.add(name)
        asking = self._pool.execute(_Ask(_CLAIM, CLAIM_PREFIX + name, self._origin, b"%d" % HOLD_MS))
        return asking.addErrback(_each_for_itself).addCallback(self._answered, name)

    def give_up(self, name: bytes, alone: bool = False) -> None:
        self._end(name, ALONE_MS if alone else 0)

    def stop(self) -> Deferred[None]:
        self._stopped = True
        return DeferredList([self._end(name, 0) for name in tuple(self._held)]).addCallback(lambda _: None)

    def _answered(self, claim: Claim, name: bytes) -> Claim:
        if claim is not Claim.OURS:
            self._held.discard(name)
        return claim

    def _end(self, name: bytes, alone_ms: int) -> Deferred[Claim]:
        self._held.discard(name)
        ending = self._pool.execute(_Ask(_END, CLAIM_PREFIX + name, self._origin, _NOBODY, b"%d" % alone_ms))
        return ending.addErrback(_each_for_itself)


def _each_for_itself(failure: Failure) -> Claim:
    """Without the store nobody waits for anybody."""
    failure.trap(StoreError)
    return Claim.NOBODYS
