"""Keeps usable connections to one server in stock: opens, replaces, checks and closes them.

An attempt covers everything up to a finished handshake and is given up as a whole after ``connect_timeout``, so a
connection that is stuck half-way cannot block the next. Failed attempts are repeated after a back-off that never
exceeds ``MAX_BACKOFF``; a connection that is lost right after its handshake counts as a failed attempt.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.connection import RedisConnection

MIN_BACKOFF = 0.1
MAX_BACKOFF = 0.5
MIN_RENEWAL = 1.0
MAX_RENEWAL = 30.0
"""Seconds between two renewals of all connections."""

LETTING_GO = 1.0
LOOK_AGAIN = 0.05
SHORT_LIFE = 1.0
"""Seconds that a connection must last for its end not to count as a failed attempt."""


class Connections:
    """Between ``minimum`` and ``maximum`` connections. All durations in seconds.

    ``on_ready`` is called when a connection became usable, ``on_hopeless`` when none is left and connecting failed,
    ``on_recovery`` when the first is usable after some trouble, ``check`` with a connection that has been idle and
    should prove that it lives.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        topology: RedisTopology,
        endpoint: IStreamClientEndpoint,
        *,
        minimum: int,
        maximum: int,
        connect_timeout: float,
        idle_check_seconds: float,
        idle_seconds: float,
    ) -> None:
        self.live: list[RedisConnection] = []
        self.trouble: StoreError | None = None
        """Why the last attempt failed, or why the last connection was dropped; None once one is usable again."""
        self.on_ready: Callable[[], None] = lambda: None
        self.on_hopeless: Callable[[StoreError], None] = lambda error: None
        self.on_recovery: Callable[[], object] = lambda: None
        self.check: Callable[[RedisConnection], None] = lambda connection: None
        self._clock = clock
        self._topology = topology
        self._endpoint = endpoint
        self._factory = _Factory()
        self._minimum = minimum
        self._maximum = maximum
        self._connect_timeout = connect_timeout
        self._idle_check_seconds = idle_check_seconds
        self._idle_seconds = idle_seconds
        self._closing: set[RedisConnection] = set()
        self._leaving: dict[RedisConnection, IDelayedCall] = {}
        self._renew_after = 0.0
        self._renew_wait = MIN_RENEWAL
        self._attempts: set[Deferred[RedisConnection]] = set()
        self._backoff = 0.0
        self._retry_timer: IDelayedCall | None = None
        self._idle_timer: IDelayedCall | None = None
        self._running = False
        self._stopped: Deferred[None] | None = None

    @property
    def connecting(self) -> int:
        """Attempts under way."""
        return len(self._attempts)

    @property
    def hopeless(self) -> StoreError | None:
        """Why there is no connection and none is to be expected soon."""
        return None if self.live else self.trouble

    def start(self) -> None:
        """Begin connecting."""
        self._running = True
        self.fill()
        self._idle_timer = self._clock.callLater(self._idle_check_seconds, self._check_idle)

    def stop(self) -> Deferred[None]:
        """Close everything; fires when every connection is gone."""
        self._running = False
        for timer in (self._retry_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._retry_timer = self._idle_timer = None
        for attempt in list(self._attempts):
            attempt.cancel()
        for timer in self._leaving.values():
            timer.cancel()
        for connection in [*self.live, *self._leaving]:
            self._close(connection)
        self._leaving.clear()
        if not self._closing:
            return succeed(None)
        self._stopped = Deferred()
        return self._stopped

    def fill(self, demand: bool = False) -> None:
        """Open what is missing: up to the minimum; one, if there is trouble and none left; one more on ``demand``."""
        size = len(self.live) + len(self._attempts)
        missing = self._minimum - size
        if size < self._maximum and not self._attempts and (demand or self.hopeless is not None):
            missing = max(missing, 1)
        while missing > 0 and self._running and self._retry_timer is None:
            self._attempt()
            missing -= 1

    def drop(self, connection: RedisConnection, error: StoreError) -> None:
        """Give up a connection that does not answer."""
        self._close(connection)
        self._in_trouble(error)
        self.fill()

    def renew(self, error: StoreError, at_once: bool = False) -> None:
        """Make every connection anew, as its server is the wrong one; calls under way have ``LETTING_GO`` seconds.

        After a failover the name stands for another server. Where that does not help, it is tried at ever longer
        intervals, unless it must be ``at_once``.
        """
        now = self._clock.seconds()
        if (now < self._renew_after and not at_once) or not self._running:
            return
        helped = now >= self._renew_after + 2 * self._renew_wait
        self._renew_wait = MIN_RENEWAL if helped else min(2 * self._renew_wait, MAX_RENEWAL)
        self._renew_after = now + self._renew_wait
        self._log.warn(
            "connections to {store} are made anew: {error}", store=self._topology.describe(), error=str(error)
        )
        old, self.live[:] = list(self.live), []
        for connection in old:
            self._let_go(connection, now + LETTING_GO)
        self.fill(demand=bool(old))

    def _let_go(self, connection: RedisConnection, until: float) -> None:
        """Close a connection that gets no more calls as soon as those under way are over."""
        self._leaving.pop(connection, None)
        if not connection.load or self._clock.seconds() >= until:
            self._close(connection)
        else:
            self._leaving[connection] = self._clock.callLater(LOOK_AGAIN, self._let_go, connection, until)

    def _attempt(self) -> None:
        attempt = Deferred.fromCoroutine(self._connect())
        attempt.addTimeout(self._connect_timeout, self._clock)
        self._attempts.add(attempt)
        attempt.addCallbacks(self._ready, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,))

    async def _connect(self) -> RedisConnection:
        connection = await self._endpoint.connect(self._factory)
        assert isinstance(connection, RedisConnection)
        try:
            await connection.handshake(self._topology, self._clock.seconds)
        except BaseException:  # cancellation too
            connection.abort()
            raise
        return connection

    def _ready(self, connection: RedisConnection, attempt: Deferred[RedisConnection]) -> None:
        self._attempts.discard(attempt)
        connection.ready_since = connection.last_used = self._clock.seconds()
        connection.on_lost = self._lost
        self.live.append(connection)
        recovered, self.trouble = self.trouble is not None, None
        if recovered:
            self._log.info("connected to {store} again", store=self._topology.describe())
        self.on_ready()
        if recovered:
            self.on_recovery()

    def _failed(self, failure: Failure, attempt: Deferred[RedisConnection]) -> None:
        self._attempts.discard(attempt)
        if not self._running and failure.check(CancelledError):
            return
        reason = failure.getErrorMessage() or type(failure.value).__name__
        self._back_off()
        self._in_trouble(StoreError(f"cannot connect to {self._topology.describe()}: {reason}"))

    def _in_trouble(self, error: StoreError) -> None:
        if self.trouble is None:
            self._log.warn("{error}", error=str(error))
        self.trouble = error
        if not self.live:
            self.on_hopeless(error)

    def _back_off(self) -> None:
        self._backoff = min(MAX_BACKOFF, self._backoff * 2 or MIN_BACKOFF)
        if self._retry_timer is None and self._running:
            self._retry_timer = self._clock.callLater(self._backoff, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self.fill()

    def _close(self, connection: RedisConnection) -> None:
        if connection in self.live:
            self.live.remove(connection)
        self._closing.add(connection)
        connection.abort()

    def _lost(self, connection: RedisConnection, reason: Failure) -> None:
        self._closing.discard(connection)
        if connection in self._leaving:
            self._leaving.pop(connection).cancel()
        if not self._running:
            if self._stopped is not None and not self._closing:
                self._stopped.callback(None)
            return
        if connection not in self.live:  # we closed it ourselves
            return
        self.live.remove(connection)
        if self._clock.seconds() - connection.ready_since < SHORT_LIFE:
            self._back_off()
        else:
            self._backoff = 0.0
        self.fill()

    def _check_idle(self) -> None:
        self._idle_timer = self._clock.callLater(self._idle_check_seconds, self._check_idle)
        now = self._clock.seconds()
        for connection in list(self.live):
            idle = now - connection.last_used
            if connection.load:
                continue
            if idle >= self._idle_seconds and len(self.live) > self._minimum:
                self._close(connection)
            elif idle >= self._idle_check_seconds:
                self.check(connection)


class _Factory(Factory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> RedisConnection:
        return RedisConnection()
