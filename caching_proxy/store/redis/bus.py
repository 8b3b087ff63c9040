"""Invalidations between the proxies on one Redis, over its publish/subscribe.

A subscribed connection takes no other commands, so it is one of its own; what is published goes through the store's
pool. Redis keeps no message for those who are away: after every subscription but one that succeeds right at the
start, the listener is told that it may have missed some. The connection is pinged, as one that is cut half-way would
stay silent for ever. A message that could not be published is made good by one that invalidates everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import RedisError, ResponseError
from zope.interface import implementer

from caching_proxy.interfaces import IInvalidationBus, StoreForbidden
from caching_proxy.rules.bus_message import EVERYTHING, Invalidation, decode, encode
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, checked, pack
from caching_proxy.store.redis.errors import CommandRefused, from_reply
from caching_proxy.store.redis.pool import RedisPool

CHANNEL_PREFIX = b"cachingproxy:invalidations:"
"""The number of the database follows: channels know none of their own."""

PING_SECONDS = 5.0
RETRY_SECONDS = 0.5
FORBIDDEN_SECONDS = 60.0
"""When to ask again after the server said that we may not."""

_PING = pack(b"PING")


class Subscription(RedisConnection):
    """A connection that hears messages once ``subscribe`` was called."""

    def __init__(self) -> None:
        super().__init__()
        self._hear: Callable[[RedisReply], object] | None = None

    def subscribe(self, channel: bytes, hear: Callable[[RedisReply], object]) -> None:
        """From now on every reply goes to ``hear``."""
        self._hear = hear
        self._write(pack(b"SUBSCRIBE", channel))

    def ping(self) -> None:
        self._write(_PING)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        if self._hear is None:
            super().dataReceived(data, unpause)
            return
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._hear(reply)
        except RedisError:  # not RESP
            self.abort()


class _Factory(Factory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Subscription:
        return Subscription()


@implementer(IInvalidationBus)
class RedisBus:
    """An :class:`IInvalidationBus` on the server of ``pool``; ``origin`` tells our messages from those of others."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        topology: RedisTopology,
        endpoint: IStreamClientEndpoint,
        pool: RedisPool,
        connect_timeout: float,
        origin: bytes,
    ) -> None:
        self.sent = self.received = self.gaps = 0
        self._clock = clock
        self._topology = topology
        self._endpoint = endpoint
        self._pool = pool
        self._connect_timeout = connect_timeout
        self._origin = origin
        self._channel = CHANNEL_PREFIX + b"%d" % topology.db
        self._on_invalidation: Callable[[Invalidation], object]
        self._on_gap: Callable[[], object]
        self._attempt: Deferred[None] | None = None
        self._connection: Subscription | None = None
        self.subscribed = False
        self._heard = True
        self._missed = False
        self._retry_seconds = RETRY_SECONDS
        self._timer: IDelayedCall | None = None
        self._making_good: IDelayedCall | None = None
        self._running = False
        self._warned = False
        self._ended: Deferred[None] | None = None

    def start(self, on_invalidation: Callable[[Invalidation], object], on_gap: Callable[[], object]) -> None:
        self._on_invalidation, self._on_gap = on_invalidation, on_gap
        self._running = True
        self._connect()

    def stop(self) -> Deferred[None]:
        self._running = False
        for timer in (self._timer, self._making_good):
            if timer is not None:
                timer.cancel()
        self._timer = self._making_good = None
        if self._attempt is not None:
            self._attempt.cancel()
        if self._connection is None:
            return succeed(None)
        self._ended = Deferred()
        self._connection.abort()
        return self._ended

    def moved(self) -> None:
        """Another server has taken over: subscribe there."""
        if self._connection is not None:
            self._connection.abort()

    # -- what we tell --------------------------------------------------------------------------------

    def publish(self, invalidation: Invalidation) -> None:
        if not self._running or self._making_good is not None:  # what makes good covers this one
            return
        message = pack(b"PUBLISH", self._channel, encode(self._origin, invalidation))
        call = Ask(message, 1, lambda replies: checked(replies[0]), "retry")
        self._pool.execute(call).addCallbacks(lambda _: self._published(), self._unpublished)

    def _published(self) -> None:
        self.sent += 1

    def _unpublished(self, failure: Failure) -> None:
        if failure.check(StoreForbidden):
            self._warn(failure.getErrorMessage())
        elif self._running and self._making_good is None:
            self._making_good = self._clock.callLater(RETRY_SECONDS, self._make_good)

    def _make_good(self) -> None:
        self._making_good = None
        self.publish(EVERYTHING)

    # -- what we hear --------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._timer = None
        self._attempt = attempt = Deferred.fromCoroutine(self._subscribe())
        attempt.addTimeout(self._connect_timeout, self._clock)
        attempt.addErrback(self._failed)

    async def _subscribe(self) -> None:
        connection = cast("Subscription", await self._endpoint.connect(_Factory()))
        try:
            await connection.handshake(self._topology, self._clock.seconds)
        except BaseException:  # cancellation too
            connection.abort()
            raise
        self._attempt = None
        self._connection, self._heard = connection, True
        connection.on_lost = self._lost
        connection.subscribe(self._channel, self._hear)
        self._timer = self._clock.callLater(PING_SECONDS, self._ping)

    def _failed(self, failure: Failure) -> None:
        """The pool says in the log what is wrong with the server."""
        self._attempt, self._missed = None, True
        if self._running:
            self._timer = self._clock.callLater(RETRY_SECONDS, self._connect)
        elif not failure.check(CancelledError):
            self._log.debug("no bus at the end: {why}", why=failure.getErrorMessage())

    def _hear(self, reply: RedisReply) -> None:
        self._heard = True
        if isinstance(reply, ResponseError):
            if not self.subscribed:  # else a PING that we may not send
                self._refused(reply)
        elif isinstance(reply, list) and reply[0] == b"message":
            self._message(reply[2])
        elif isinstance(reply, list) and reply[0] == b"subscribe":
            self.subscribed = True
            if self._missed:
                self._missed = False
                self.gaps += 1
                self._on_gap()

    def _message(self, message: bytes) -> None:
        origin, invalidation = decode(message)
        if origin != self._origin:
            self.received += 1
            self._on_invalidation(invalidation)

    def _refused(self, reply: ResponseError) -> None:
        error = from_reply(reply)
        if isinstance(error, CommandRefused):
            self._warn(str(error))
            self._retry_seconds = FORBIDDEN_SECONDS
        if self._connection is not None:
            self._connection.abort()

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn("proxies on this Redis do not hear of each other's invalidations: {why}", why=why)

    def _ping(self) -> None:
        """Ask for a sign of life; without one since the last time the connection is given up."""
        assert self._connection is not None
        self._timer = None
        if not self._heard:
            self._connection.abort()
            return
        self._heard = False
        self._timer = self._clock.callLater(PING_SECONDS, self._ping)
        if self.subscribed:
            self._connection.ping()

    def _lost(self, connection: RedisConnection, why: Failure) -> None:
        self._connection, self.subscribed, self._missed = None, False, True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended is not None:
            self._ended.callback(None)
        else:
            self._timer = self._clock.callLater(self._retry_seconds, self._connect)
            self._retry_seconds = RETRY_SECONDS
