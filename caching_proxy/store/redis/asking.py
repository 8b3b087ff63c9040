"""Commands for a node that a slot is being moved to: each must be preceded by ASKING."""

from __future__ import annotations

from typing import TypeVar

import hiredis
from twisted.internet.defer import Deferred

from caching_proxy.store.redis.commands import Call
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, pack
from caching_proxy.store.redis.pool import RedisPool

T = TypeVar("T")

_ASKING = pack(b"ASKING")


class Asking(Call[T]):
    """``inner``, with ASKING before each of its commands."""

    __slots__ = ("_inner", "if_lost", "wanted")

    def __init__(self, inner: Call[T]) -> None:
        self._inner = inner
        self.if_lost = inner.if_lost
        self.wanted = 2 * inner.wanted

    def payload(self, connection: RedisConnection) -> bytes:
        inner = self._inner
        inner.pool, inner.since, inner.deadline, inner.connection = self.pool, self.since, self.deadline, connection
        reader = hiredis.Reader()
        reader.feed(inner.payload(connection))
        commands = []
        while (command := reader.gets()) is not False:
            commands.append(_ASKING + pack(*command))
        self.wanted = 2 * len(commands)
        return b"".join(commands)

    def read(self, replies: list[RedisReply]) -> T:
        return self._inner.read(replies[1::2])


class AskingPool:
    """``pool``, for calls about slots that are on their way to its server; what a ``RedisStore`` needs of a pool."""

    def __init__(self, pool: RedisPool) -> None:
        self.clock = pool.clock
        self.companion: RedisPool | None = None
        self._pool = pool

    def execute(self, call: Call[T]) -> Deferred[T]:
        """As the pool's."""
        return self._pool.execute(Asking(call))
