"""An adaptive pool of connections to one Redis server.

Policy. A connection carries up to ``depth`` calls at once (Redis pipelining), so nobody needs one for himself. A call
goes to the least loaded connection. When all are full, it waits, and the pool grows by one connection at a time up
to ``maximum``; connections above ``minimum`` that nobody used for ``idle_seconds`` are closed. Calls that may take long
(SCAN) belong into a pool of their own with ``minimum=0``, so that no lookup stands behind them.

Every call has ``command_timeout`` seconds, its wait for a connection included. A connection that leaves a call
unanswered that long is dropped, whether or not anybody still wants the answer: answers come in order, so nothing
behind it would be answered either. When the last attempt to connect failed and no connection is left, calls fail at
once instead of waiting for the next attempt; attempts go on by themselves, at most ``MAX_BACKOFF`` seconds apart.
Calls that were still waiting when the trouble began have failed, so nothing old is sent once the server is back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from txredisapi import RedisError

from caching_proxy.interfaces import StoreError, StoreUnavailable
from caching_proxy.store.connection import RedisConnection, pack
from caching_proxy.store.endpoint import endpoint_for
from caching_proxy.store.errors import ConnectionGone, TimedOut, from_reply
from caching_proxy.store.supply import Supply
from caching_proxy.store.topology import RedisTopology

T = TypeVar("T")

_PING = pack(b"PING")


class _Call:
    """One call: waiting when ``connection`` is None, else under way. Times in seconds of the reactor's clock."""

    __slots__ = ("answer", "connection", "deadline", "func", "retry", "since")

    def __init__(self, func: Callable[[RedisConnection], Deferred[Any]], since: float, deadline: float) -> None:
        self.func: Callable[[RedisConnection], Deferred[Any]] | None = func
        self.since = since
        self.deadline = deadline
        self.retry = False
        self.connection: RedisConnection | None = None
        self.answer: Deferred[Any] = Deferred()


class RedisPool:
    """Connections to ``topology``; all durations in seconds.

    ``size``, ``in_use`` and ``waiting`` are for metrics; ``on_acquired`` is told how long each call waited for its
    connection.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        topology: RedisTopology,
        *,
        minimum: int = 2,
        maximum: int = 10,
        connect_timeout: float = 5.0,
        command_timeout: float = 3.0,
        max_pending: int = 1000,
        depth: int = 32,
        idle_check_seconds: float = 10.0,
        idle_seconds: float = 30.0,
        endpoint: IStreamClientEndpoint | None = None,
        on_acquired: Callable[[float], None] | None = None,
    ) -> None:
        self.clock = reactor
        self.command_timeout = command_timeout
        self._max_pending = max_pending
        self._depth = depth
        self._on_acquired = on_acquired
        self._supply = Supply(
            reactor,
            topology,
            endpoint or endpoint_for(reactor, topology, connect_timeout),
            minimum=minimum,
            maximum=maximum,
            connect_timeout=connect_timeout,
            idle_check_seconds=idle_check_seconds,
            idle_seconds=idle_seconds,
        )
        self._supply.on_ready = self._drain
        self._supply.on_hopeless = self._fail_waiting
        self._supply.check = self._check
        self._waiting: OrderedDict[_Call, None] = OrderedDict()
        self._calls: dict[_Call, None] = {}  # unfinished, oldest first; cancelled ones stay until their reply came
        self._deadline_timer: IDelayedCall | None = None
        self._drain_timer: IDelayedCall | None = None
        self._running = False
        self._idle: Deferred[None] | None = None

    # -- for metrics ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Usable connections."""
        return len(self._supply.live)

    @property
    def in_use(self) -> int:
        """Connections with at least one call under way."""
        return sum(1 for connection in self._supply.live if connection.load)

    @property
    def waiting(self) -> int:
        """Calls without a connection."""
        return len(self._waiting)

    @property
    def pending(self) -> int:
        """Calls waiting or under way; cancelled ones that still await their reply included."""
        return len(self._calls)

    # -- for stores ----------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Begin connecting; fires at once."""
        if not self._running:
            self._running = True
            self._supply.start()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Take no more calls, fail those that wait, let those under way finish, then close every connection."""
        if not self._running:
            return succeed(None)
        self._running = False
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        self._fail_waiting(StoreUnavailable("the store is stopping"))
        self._idle = Deferred()
        self._note_idle()
        return self._idle.addCallback(self._close)

    def execute(self, func: Callable[[RedisConnection], Deferred[T]], *, retry: bool = False) -> Deferred[T]:
        """What ``func`` answers when given a connection; it may write to it at once and must not keep it.

        ``retry`` is for calls without effect: tried once more, on a later reactor turn, if the connection is lost.
        Fails with :class:`StoreUnavailable` if too many calls wait already, with another :class:`StoreError` for
        timeouts, lost or impossible connections and error replies.
        """
        if not self._running:
            return fail(StoreUnavailable("the store is not running"))
        now = self.clock.seconds()
        call = _Call(func, now, now + self.command_timeout)
        call.retry = retry
        answer: Deferred[T] = Deferred(lambda _: self._cancelled(call))
        call.answer = answer
        connection = None if self._waiting else self._free()
        if connection is None:
            refusal = self._refusal()
            if refusal is not None:
                return fail(refusal)
            self._waiting[call] = None
        self._calls[call] = None
        if self._deadline_timer is None:
            self._arm()
        if connection is not None:
            self._run(call, connection, 0.0)
        else:
            self._supply.fill(demand=True)
        return answer

    def _refusal(self) -> StoreError | None:
        """Why a call may not wait for a connection."""
        if self._supply.hopeless is not None:
            return self._supply.hopeless
        if len(self._waiting) >= self._max_pending:
            return StoreUnavailable(f"{len(self._waiting)} commands wait for a connection already")
        return None

    def _free(self) -> RedisConnection | None:
        """The least loaded connection that has room."""
        best, load = None, self._depth
        for connection in self._supply.live:
            if connection.load < load:
                best, load = connection, connection.load
        return best

    def _run(self, call: _Call, connection: RedisConnection, waited: float) -> None:
        func = call.func
        assert func is not None
        call.connection = connection
        connection.load += 1
        connection.last_used = call.since + waited
        if self._on_acquired is not None:
            self._on_acquired(waited)
        maybeDeferred(func, connection).addCallbacks(
            self._answered, self._failed, callbackArgs=(call,), errbackArgs=(call,)
        )

    def _drain(self) -> None:
        """Hand waiting calls to connections with room; grow if that is not enough."""
        now = self.clock.seconds()
        while self._waiting and (connection := self._free()) is not None:
            call, _ = self._waiting.popitem(last=False)
            self._run(call, connection, now - call.since)
        if self._waiting:
            self._supply.fill(demand=True)

    def _answered(self, result: object, call: _Call) -> None:
        self._finish(call)
        if not call.answer.called:  # else cancelled, or out of time
            call.answer.callback(result)

    def _failed(self, failure: Failure, call: _Call) -> None:
        if failure.check(ConnectionGone) and call.retry and not call.answer.called and self._running:
            self._again(call)
            return
        self._finish(call)
        if call.answer.called:
            return
        if failure.check(RedisError):
            failure = Failure(from_reply(failure.value))
        call.answer.errback(failure)

    def _again(self, call: _Call) -> None:
        """Once more, on a later turn: connections to a server that died are all lost in the same one."""
        assert call.connection is not None
        call.connection.load -= 1
        call.connection = None
        call.retry = False
        refusal = self._refusal()
        if refusal is not None:
            del self._calls[call]
            call.answer.errback(Failure(refusal))
            return
        self._waiting[call] = None
        if self._drain_timer is None:
            self._drain_timer = self.clock.callLater(0, self._drain_later)

    def _drain_later(self) -> None:
        self._drain_timer = None
        self._drain()

    def _finish(self, call: _Call) -> None:
        assert call.connection is not None
        call.connection.load -= 1
        self._calls.pop(call, None)
        if self._waiting:
            self._drain()
        elif self._idle is not None:
            self._note_idle()

    def _cancelled(self, call: _Call) -> None:
        if call.connection is None:
            self._waiting.pop(call, None)
            self._calls.pop(call, None)
        else:  # its replies are still to come, or the deadline of its connection
            call.func = None

    def _fail_waiting(self, error: StoreError) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for call in waiting:
            self._calls.pop(call, None)
        for call in waiting:
            call.answer.errback(Failure(error))

    def _check(self, connection: RedisConnection) -> None:
        """Make an idle connection prove that it lives; if it does not answer in time, it is dropped as any is."""
        now = self.clock.seconds()
        call = _Call(lambda connection: connection.send(_PING, 1), now, now + self.command_timeout)
        call.answer.addErrback(lambda failure: failure.trap(StoreError))
        self._calls[call] = None
        used = connection.last_used
        self._run(call, connection, 0.0)
        connection.last_used = used
        if self._deadline_timer is None:
            self._arm()

    # -- deadlines -----------------------------------------------------------------------------------

    def _arm(self) -> None:
        oldest = next(iter(self._calls), None)
        if oldest is not None:
            wait = max(0.0, oldest.deadline - self.clock.seconds())
            self._deadline_timer = self.clock.callLater(wait, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._deadline_timer = None
        now = self.clock.seconds()
        late = []
        for call in self._calls:
            if call.deadline > now:
                break
            late.append(call)
        for call in late:
            self._expire(call)
        if self._deadline_timer is None:
            self._arm()

    def _expire(self, call: _Call) -> None:
        if self._calls.pop(call, self) is self:  # finished by what the expiry of another set off
            return
        connection, call.func = call.connection, None
        if connection is None:
            self._waiting.pop(call, None)
            error = TimedOut(f"no connection within {self.command_timeout:g} s")
        else:
            error = TimedOut(f"no answer within {self.command_timeout:g} s")
        if not call.answer.called:
            call.answer.errback(Failure(error))
        if connection is not None and connection in self._supply.live:
            self._supply.drop(connection, error)

    # -- stopping ------------------------------------------------------------------------------------

    def _note_idle(self) -> None:
        if self._idle is not None and not self._calls and not self._idle.called:
            self._idle.callback(None)

    def _close(self, _: None) -> Deferred[None]:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        self._idle = None
        return self._supply.stop()
