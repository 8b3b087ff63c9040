"""The store on Redis, KeyDB or Valkey (6.2 commands): one hash per key, one field per variant.

Keys on the server are exactly the keys of the proxy. Beside them stands, for keys of other than the built-in roles, an
index per target (``cacheindex:<target>``, a sorted set of roles) that makes dropping a target cheap. A server
that evicts may lose an index before the entries it lists; an entry that its index does not list could never be dropped
with its target, so it counts as unreadable. A user restricted by an ACL needs ``~cache:* ~cacheindex:*``.

A write carries the latest time at which the server may carry it out, in the server's own time: one that was stuck in
a frozen server would otherwise put back, after the thaw, what has been invalidated meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from twisted.internet.defer import Deferred
from txredisapi import ResponseError
from zope.interface import implementer

from caching_proxy.core.key import GET_PREFIX
from caching_proxy.interfaces import IStore, Stored, Unreadable
from caching_proxy.store.connection import RedisConnection, Reply, checked, pack
from caching_proxy.store.errors import TimedOut
from caching_proxy.store.pool import RedisPool
from caching_proxy.store.scripts import DELETE_TARGET, PUT
from caching_proxy.store.targets import INDEX_PREFIX, index_key, indexed, known_keys

T = TypeVar("T")

MAX_VARIANTS = 64
"""Variants of one key; past that arbitrary others go."""

SCAN_COUNT = 1000
DELETE_STEP = 500
ROLES_STEP = 1000

_PING = pack(b"PING")
_LOOKUP = b"*2\r\n$7\r\nHGETALL\r\n$%(size)d\r\n%(key)b\r\n*2\r\n$4\r\nPTTL\r\n$%(size)d\r\n%(key)b\r\n"


@implementer(IStore)
class RedisStore:
    """An :class:`IStore` on ``pool``; walks over keys use ``bulk``, so that no lookup stands behind them."""

    def __init__(self, pool: RedisPool, bulk: RedisPool | None = None) -> None:
        self.pool = pool
        self.bulk = bulk or pool

    def lookup(self, key: bytes) -> Deferred[Stored | None]:
        payload = _LOOKUP % {b"key": key, b"size": len(key)}
        where = indexed(key)
        if where is None:
            return self.pool.execute(lambda connection: connection.send(payload, 2).addCallback(_stored), retry=True)
        role, target = where
        listed = pack(b"ZSCORE", index_key(target), role) + payload
        return self.pool.execute(lambda connection: connection.send(listed, 3).addCallback(_listed), retry=True)

    def put(self, key: bytes, field: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        if ttl_ms <= 0:
            return self.discard(key, field).addCallback(_nothing)
        keys, args = [key], [field, value, b"%d" % ttl_ms, b"", b"%d" % MAX_VARIANTS]
        where = indexed(key)
        if where is not None:
            keys.append(index_key(where[1]))
            args.append(where[0])
        deadline = self.pool.clock.seconds() + self.pool.command_timeout
        return self.pool.execute(lambda connection: self._write(connection, keys, args, deadline, 1))

    def _write(
        self, connection: RedisConnection, keys: list[bytes], args: list[bytes], deadline: float, retries: int
    ) -> Deferred[None]:
        args[3] = b"%d" % ((deadline + connection.server_ahead) * 1000)

        def written(reply: Reply) -> Deferred[None] | None:
            if reply == 0:
                return None
            now = self.pool.clock.seconds()
            connection.server_ahead = cast("int", reply) / 1000 - now  # perhaps only its clock has been set
            if retries and now < deadline:
                return self._write(connection, keys, args, deadline, retries - 1)
            raise TimedOut("the server came to the write too late and left it out")

        return PUT.run(connection, keys, args).addCallback(written)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        payload = pack(b"HDEL", key, field)
        return self._one(payload, lambda reply: reply == 1)

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete(list(dict.fromkeys(keys))))

    async def _delete(self, keys: list[bytes]) -> set[bytes]:
        gone: set[bytes] = set()
        for start in range(0, len(keys), DELETE_STEP):
            some = keys[start : start + DELETE_STEP]
            payload = b"".join([pack(b"UNLINK", key) for key in some])
            replies = await self._send(payload, len(some))
            gone.update(key for key, reply in zip(some, replies, strict=True) if checked(reply) == 1)
        return gone

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete_target(target))

    async def _delete_target(self, target: bytes) -> set[bytes]:
        gone: set[bytes] = set()
        keys, args = [index_key(target)], [GET_PREFIX, target, b"%d" % ROLES_STEP, *known_keys(target)]
        roles = ROLES_STEP
        while roles == ROLES_STEP:  # a step at a time: a script holds up everybody
            reply = await self.pool.execute(lambda connection: DELETE_TARGET.run(connection, keys, args))
            roles, some = cast("tuple[int, list[bytes]]", reply)
            gone.update(some)
        return gone

    def scan(self, pattern: bytes, limit: int | None = None) -> Deferred[list[bytes]]:
        return Deferred.fromCoroutine(self._scan(pattern, limit))

    async def _scan(self, pattern: bytes, limit: int | None) -> list[bytes]:
        found: dict[bytes, None] = {}
        cursor = b"0"
        while limit is None or len(found) < limit:
            payload = pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_COUNT)
            reply = checked((await self._send(payload, 1, self.bulk))[0])
            cursor, keys = cast("tuple[bytes, list[bytes]]", reply)
            found.update((key, None) for key in keys if not key.startswith(INDEX_PREFIX))
            if cursor == b"0":
                break
        return list(found)[:limit]

    def ping(self) -> Deferred[None]:
        return self._one(_PING, _nothing)

    def start(self) -> Deferred[None]:
        self.bulk.start()
        return self.pool.start()

    def stop(self) -> Deferred[None]:
        stopped = self.pool.stop()
        if self.bulk is not self.pool:
            bulk = self.bulk.stop()
            stopped.addCallback(lambda _: bulk)
        return stopped

    def _one(self, payload: bytes, convert: Callable[[Reply], T]) -> Deferred[T]:
        return self._send(payload, 1).addCallback(lambda replies: convert(checked(replies[0])))

    def _send(self, payload: bytes, replies: int, pool: RedisPool | None = None) -> Deferred[list[Reply]]:
        return (pool or self.pool).execute(lambda connection: connection.send(payload, replies))


def _nothing(_: object) -> None:
    """Drops what was answered."""


def _stored(replies: list[Reply]) -> Stored | None:
    """The replies to HGETALL and PTTL."""
    flat, ttl_ms = replies
    if isinstance(flat, ResponseError) or isinstance(ttl_ms, ResponseError):
        checked(flat)
        checked(ttl_ms)
    if not flat or ttl_ms == -2:  # -2: expired between the two commands
        return None
    parts = iter(cast("list[bytes]", flat))
    # -1: no expiry, so not written by us; let nobody keep it
    return Stored(dict(zip(parts, parts, strict=True)), max(0, cast("int", ttl_ms)))


def _listed(replies: list[Reply]) -> Stored | None:
    """The replies to ZSCORE, HGETALL and PTTL."""
    stored = _stored(replies[1:])
    score = replies[0]
    if stored is not None and (score is None or isinstance(score, ResponseError)):
        raise Unreadable("not listed in the index of its target")
    return stored
