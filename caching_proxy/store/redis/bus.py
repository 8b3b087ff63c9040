"""Invalidations of the other proxies on one Redis, by its publish/subscribe and by the ledger that it keeps of them.

A subscribed connection takes no other commands, so it is one of its own. Redis keeps no message for those who are
away: after every subscription, and every second, the ledger is asked through the store's pool whether there is
anything that was not heard. The connection is pinged, as one that is cut half-way would stay silent for ever.
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

from caching_proxy.interfaces import IInvalidationBus, StoreError, StoreForbidden
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, pack
from caching_proxy.store.redis.errors import CommandRefused, from_reply
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Marked
from caching_proxy.store.redis.store import RedisStore

PING_SECONDS = 5.0
CHECK_SECONDS = 1.0
"""How often the ledger is asked: what is published, but does not arrive, is missed for no longer than that."""
RETRY_SECONDS = 0.5
FORBIDDEN_SECONDS = 60.0
"""When to ask again after the server said that we may not."""

_PING = pack(b"PING")
_BUGS = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What no server and no network brings about."""


class Subscription(RedisConnection):
    """A connection that hears messages once ``subscribe`` was called."""

    def __init__(self) -> None:
        super().__init__()
        self._hear: Callable[[RedisReply], object] | None = None

    def subscribe(self, channel: bytes, hear: Callable[[RedisReply], object]) -> None:
        """From now on every reply goes to ``hear``."""
        self._hear = hear
        self.write(pack(b"SUBSCRIBE", channel))

    def ping(self) -> None:
        self.write(_PING)

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
    """An :class:`IInvalidationBus` on the server of ``store``; ``words`` tell our messages from those of others."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        topology: RedisTopology,
        endpoint: IStreamClientEndpoint,
        store: RedisStore,
        words: Words,
        connect_timeout: float,
    ) -> None:
        self.sent = self.gaps = 0
        self._clock = clock
        self._topology = topology
        self._endpoint = endpoint
        self._follower = Follower(store.pool, words)
        store.on_marked = self._marked
        self._connect_timeout = connect_timeout
        self._channel = words.channel
        self._attempt: Deferred[None] | None = None
        self._connection: Subscription | None = None
        self.subscribed = False
        self._heard = True
        self._missed = False
        self._retry_seconds = RETRY_SECONDS
        self._timer: IDelayedCall | None = None
        self._check_timer: IDelayedCall | None = None
        self._checked = False
        self._running = False
        self._warned = False
        self._ended: Deferred[None] | None = None

    @property
    def seen(self) -> bytes | None:
        return self._follower.seen

    @property
    def received(self) -> int:
        return self._follower.received

    @property
    def flushes(self) -> int:
        return self._follower.flushes

    @property
    def state(self) -> str:
        if self.subscribed:
            return "unordered" if self.seen is None else "up"
        return "late" if self._checked and self.seen is not None else "down"

    def start(self, on_invalidation: Callable[[Invalidation], object], on_gap: Callable[[], object]) -> None:
        self._follower.start(on_invalidation, on_gap)
        self._running = True
        self._check()
        self._connect()

    def stop(self) -> Deferred[None]:
        self._running = False
        for timer in (self._timer, self._check_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._check_timer = None
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

    def catch_up(self) -> Deferred[None]:
        return self._follower.catch_up()

    # -- the ledger ----------------------------------------------------------------------------------

    def _marked(self, marked: Marked) -> None:
        """The store has entered an invalidation of ours."""
        if marked.untold:
            self._warn(marked.untold)
        elif marked.mark:
            self.sent += 1
        self._follower.marked(marked)

    def _check(self) -> None:
        """Ask for what was missed, and once more later; the pool says in the log what is wrong with the server."""
        self._check_timer = None
        self.catch_up().addCallbacks(self._look_worked, self._not_checked).addCallback(self._check_later)

    def _look_worked(self, _: None) -> None:
        self._checked = True

    def _not_checked(self, failure: Failure) -> None:
        self._checked = False
        if failure.check(StoreForbidden):
            self._warn(failure.getErrorMessage())
        else:
            failure.trap(StoreError)

    def _check_later(self, _: None) -> None:
        if self._running and self._check_timer is None:
            wait = FORBIDDEN_SECONDS if self.seen is None else CHECK_SECONDS
            self._check_timer = self._clock.callLater(wait, self._check)

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
        if failure.check(*_BUGS):
            self._log.failure("a bug keeps the bus from subscribing", failure)
        elif not self._running and not failure.check(CancelledError):
            self._log.debug("no bus at the end: {why}", why=failure.getErrorMessage())

    def _hear(self, reply: RedisReply) -> None:
        self._heard = True
        if isinstance(reply, ResponseError):
            if not self.subscribed:  # else a PING that we may not send
                self._refused(reply)
        elif isinstance(reply, list) and reply[0] == b"message":
            self._follower.heard(reply[2])
        elif isinstance(reply, list) and reply[0] == b"subscribe":
            self.subscribed = True
            self._listening(self._missed)
            self._missed = False

    def _listening(self, missed: bool) -> None:
        """What was said before we listened is in the ledger."""
        self.gaps += missed
        if self.seen is not None:
            self.catch_up().addErrback(self._not_checked)
        elif missed:
            self._follower.trust_nothing()

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
            how = "only late" if self.seen is not None else "not all"
            text = "proxies on this Redis hear of each other's invalidations, but {how}: {why}"
            self._log.warn(text, how=how, why=why)

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
