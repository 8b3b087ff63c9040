"""One question to one server, on a connection of its own: for Sentinels, and for the nodes of a Cluster."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.store_topology import RedisTopology, shown
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, checked, login, pack
from caching_proxy.store.redis.endpoint import Endpoints


class _Factory(Factory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> RedisConnection:
        return RedisConnection()


async def ask_once(
    clock: IReactorTime, endpoints: Endpoints, server: RedisTopology, seconds: float, *command: bytes
) -> RedisReply:
    """The reply of ``server`` to ``command``; StoreError, which names the server, for all that may go wrong."""
    answer = Deferred.fromCoroutine(_ask(endpoints, server, command))
    try:
        return await answer.addTimeout(seconds, clock)
    except CancelledError:
        raise
    except Exception as problem:
        what = str(problem) or type(problem).__name__
        raise StoreError(f"{shown((server.host, server.port))}: {what}") from problem


async def _ask(endpoints: Endpoints, server: RedisTopology, command: tuple[bytes, ...]) -> RedisReply:
    connection = await endpoints(server).connect(_Factory())
    assert isinstance(connection, RedisConnection)
    try:
        replies = await connection.ask([*login(server), pack(*command)])
        for reply in replies:
            checked(reply)
        return replies[-1]
    finally:
        connection.abort()
