"""An adaptive pool of connections to one Redis server.

Policy. A connection carries up to ``depth`` calls at once (Redis pipelining), so nobody needs one for himself. A call
goes to the least loaded connection. When all are full, it waits, and the pool grows by one connection at a time up
to ``maximum``; connections above ``minimum`` that nobody used for ``idle_seconds`` are closed. Calls that may take long
(SCAN) belong into a pool of their own with ``minimum=0``, so that no lookup stands behind them.

Every call has ``command_timeout`` seconds, its wait for a connection included. A connection that leaves a call
unanswered that long is dropped, whether or not anybody still wants the answer: answers come in order, so nothing
behind it would be answered either. A server that turns out to be read-only is asked no more: connections are made
anew, to what the name stands for now. What becomes of the other calls on a connection that is lost, they say themselves
(``Call.if_lost``). When the last attempt to connect failed and no connection is left, calls fail at once instead of
waiting for the next attempt; attempts go on by themselves, at most ``MAX_BACKOFF`` seconds apart. Calls that were
still waiting when the trouble began have failed, so nothing old is sent once the server is back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure

from caching_proxy.interfaces import AnswerLost, StoreError, StoreUnavailable
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.commands import Ask, Call
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, pack
from caching_proxy.store.redis.connections import Connections
from caching_proxy.store.redis.endpoint import endpoint_for
from caching_proxy.store.redis.errors import CutShort, TimedOut

T = TypeVar("T")

_PING = pack(b"PING")


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
        endpoint = endpoint or endpoint_for(reactor, topology, connect_timeout)
        idle = {"idle_check_seconds": idle_check_seconds, "idle_seconds": idle_seconds}
        self._connections = Connections(
            reactor, topology, endpoint, minimum=minimum, maximum=maximum, connect_timeout=connect_timeout, **idle
        )
        self._connections.on_ready = self._drain
        self._connections.on_hopeless = self._fail_waiting
        self._connections.check = self._check
        self.companion: RedisPool | None = None
        """Another pool for the same server, which hears of a failover too."""
        self._waiting: OrderedDict[Call[Any], None] = OrderedDict()
        self._calls: dict[Call[Any], None] = {}  # unfinished, oldest first; cancelled ones stay until their reply came
        self._deadline_timer: IDelayedCall | None = None
        self._drain_timer: IDelayedCall | None = None
        self._running = False
        self._idle: Deferred[None] | None = None

    @property
    def on_recovery(self) -> Callable[[], object]:
        """Called when a connection is usable for the first time after some trouble."""
        return self._connections.on_recovery

    @on_recovery.setter
    def on_recovery(self, told: Callable[[], object]) -> None:
        self._connections.on_recovery = told

    # -- for metrics ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Usable connections."""
        return len(self._connections.live)

    @property
    def in_use(self) -> int:
        """Connections with at least one call under way."""
        return sum(1 for connection in self._connections.live if connection.load)

    @property
    def waiting(self) -> int:
        """Calls without a connection."""
        return len(self._waiting)

    @property
    def pending(self) -> int:
        """Calls waiting, under way or held; cancelled ones that still await their reply included."""
        return len(self._calls)

    # -- for stores ----------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Begin connecting; fires at once."""
        if not self._running:
            self._running = True
            self._connections.start()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Take no more calls, fail those that wait or are held, let the others finish, then close every connection."""
        if not self._running:
            return succeed(None)
        self._running = False
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None
        self._fail_waiting(StoreUnavailable("the store is stopping"))
        self._fail_held()
        self._idle = Deferred()
        self._note_idle()
        return self._idle.addCallback(self._close)

    def execute(self, call: Call[T]) -> Deferred[T]:
        """Send ``call`` as soon as a connection has room for it; fires with its answer.

        Fails with :class:`StoreUnavailable` if too many calls wait already, with another :class:`StoreError` for
        timeouts, lost or impossible connections and error replies.
        """
        answer: Deferred[T] = Deferred(call.cancel)
        call.answer = answer
        self.carry(call)
        return answer

    def carry(self, call: Call[Any], connection: RedisConnection | None = None) -> None:
        """:meth:`execute` a call that has been given its ``answer``, which may hear at once; on ``connection`` if it
        must be that one."""
        if not self._running:
            call.fail(StoreUnavailable("the store is not running"))
            return
        if connection is None and not self._waiting:
            connection = self._free()
        if connection is None:
            refusal = self._refusal()
            if refusal is not None:
                call.fail(refusal)
                return
            self._waiting[call] = None
        call.pool = self
        call.since = now = self.clock.seconds()
        call.deadline = now + self.command_timeout
        call.connection = call.trouble = None
        self._calls[call] = None  # at the end, so the first is the one that is due first
        if self._deadline_timer is None:
            self._arm()
        if connection is not None:
            self._run(call, connection, 0.0)
        else:
            self._connections.fill(demand=True)

    def _refusal(self) -> StoreError | None:
        """Why a call may not wait for a connection."""
        if self._connections.hopeless is not None:
            return self._connections.hopeless
        if len(self._waiting) >= self._max_pending:
            return StoreUnavailable(f"{len(self._waiting)} commands wait for a connection already")
        return None

    def _free(self) -> RedisConnection | None:
        """The least loaded connection that has room."""
        best, load = None, self._depth
        for connection in self._connections.live:
            if len(connection.waiting) < load:
                best, load = connection, len(connection.waiting)
        return best

    def _run(self, call: Call[Any], connection: RedisConnection, waited: float) -> None:
        call.connection = connection
        connection.last_used = call.since + waited
        if self._on_acquired is not None:
            self._on_acquired(waited)
        call.replies = []
        payload = call.ready
        if payload is None:
            try:
                payload = call.payload(connection)
            except Exception:  # noqa: BLE001  a bug; whoever asked is told
                self.finished(call)
                call.fail(Failure())
                return
        if connection.connected:  # ``send``, at a frame less
            connection.waiting.append(call)
            connection.write(payload)
        else:
            connection.send(payload, call)

    def _drain(self) -> None:
        """Hand waiting calls to connections with room; grow if that is not enough."""
        now = self.clock.seconds()
        while self._waiting and (connection := self._free()) is not None:
            call, _ = self._waiting.popitem(last=False)
            self._run(call, connection, now - call.since)
        if self._waiting:
            self._connections.fill(demand=True)

    def _again(self, call: Call[Any]) -> None:
        """Once more, on a later turn: connections to a server that died are all lost in the same one."""
        refusal = self._refusal()
        if refusal is not None:
            del self._calls[call]
            call.fail(refusal)
            return
        self._waiting[call] = None
        if self._drain_timer is None:
            self._drain_timer = self.clock.callLater(0, self._drain_later)

    def _drain_later(self) -> None:
        self._drain_timer = None
        self._drain()

    def _fail_waiting(self, error: StoreError) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for call in waiting:
            self._calls.pop(call, None)
        for call in waiting:
            call.fail(error)

    def _fail_held(self) -> None:
        for call in [call for call in self._calls if call.connection is None]:
            self._expire(call)

    def _check(self, connection: RedisConnection) -> None:
        """Make an idle connection prove that it lives; if it does not answer in time, it is dropped as any is."""
        call = Ask(_PING, 1, list)
        answer: Deferred[list[RedisReply]] = Deferred(call.cancel)
        call.answer = answer.addErrback(lambda failure: failure.trap(StoreError))
        used = connection.last_used
        self.carry(call, connection)
        connection.last_used = used

    # -- for calls -----------------------------------------------------------------------------------

    def renew(self, call: Call[Any]) -> None:
        """``call`` has come some way; its time begins anew."""
        call.deadline = self.clock.seconds() + self.command_timeout
        del self._calls[call]
        self._calls[call] = None

    def finished(self, call: Call[Any]) -> None:
        """``call`` is over, and its connection has room for another."""
        self._calls.pop(call, None)
        if self._waiting:
            self._drain()
        elif self._idle is not None:
            self._note_idle()

    def lost(self, call: Call[Any], error: StoreError) -> None:
        """The connection of ``call`` is gone."""
        call.connection = None
        if call.answer.called or not self._running or call.if_lost == "fail" or call.trouble is not None:
            self.finished(call)
            if isinstance(error, CutShort) and isinstance(call.trouble, CutShort) and call.if_lost == "retry":
                error = AnswerLost(str(error))
            call.fail(error)
            return
        call.trouble = error
        if call.if_lost == "retry":
            self._again(call)

    def cancelled(self, call: Call[Any]) -> None:
        """Nobody wants the answer of ``call`` any more; if it is under way, its connection must answer all the same."""
        if call.connection is None:
            self._waiting.pop(call, None)
            self._calls.pop(call, None)

    def read_only(self, error: StoreError) -> None:
        """A server took no write: perhaps it is no longer the one that the name stands for."""
        self._connections.renew(error)
        if self.companion is not None:
            self.companion.read_only(error)

    def moved(self) -> None:
        """Another server has taken over: connections are made anew, to that one."""
        self._connections.renew(StoreError("another server has taken over"), at_once=True)

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

    def _expire(self, call: Call[Any]) -> None:
        if self._calls.pop(call, self) is self:  # finished by what the expiry of another set off
            return
        connection = call.connection
        if connection is not None:
            error: StoreError = TimedOut(f"no answer within {self.command_timeout:g} s")
        elif call in self._waiting:
            del self._waiting[call]
            error = TimedOut(f"no connection within {self.command_timeout:g} s")
        else:  # held
            assert call.trouble is not None
            error = call.trouble
        call.fail(error)
        if connection is not None and connection in self._connections.live:
            self._connections.drop(connection, error)

    # -- stopping ------------------------------------------------------------------------------------

    def _note_idle(self) -> None:
        if self._idle is not None and not self._calls and not self._idle.called:
            self._idle.callback(None)

    def _close(self, _: None) -> Deferred[None]:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        self._idle = None
        return self._connections.stop()
