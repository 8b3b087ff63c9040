"""The pool on a Clock and an in-memory server: growing, shrinking, deadlines, back-off, what stays in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import StoreError, StoreUnavailable
from caching_proxy.store.connection import RedisConnection, pack
from caching_proxy.store.errors import ConnectionGone, Refused, Sick, TimedOut
from caching_proxy.store.pool import RedisPool
from caching_proxy.store.redis import RedisStore
from caching_proxy.store.topology import RedisTopology

Command = list[bytes]


class Wire(StringTransport):
    """The server's end of one connection."""

    def __init__(self, server: Server, protocol: RedisConnection) -> None:
        super().__init__()
        self.server = server
        self.client = protocol
        self.open = True
        self.writes = 0
        self.held: list[bytes] = []
        self._reader = hiredis.Reader()

    def write(self, data: bytes) -> None:
        assert self.open
        self.writes += 1
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self.server.commands.append(command)
            reply = self.server.reply(command)
            if reply is not None:
                self.held.append(reply)
        if not self.server.frozen:
            self.server.clock.callLater(0, self.flush)

    def flush(self) -> None:
        held, self.held = self.held, []
        if held and self.open:
            self.client.dataReceived(b"".join(held))

    def abortConnection(self) -> None:
        self.lose()

    def lose(self) -> None:
        if self.open:
            self.open = False
            self.server.clock.callLater(0, self.client.connectionLost, Failure(ConnectionGone("cut")))


@implementer(IStreamClientEndpoint)
class Server:
    """Answers TIME, PING and ECHO; ``down`` refuses connections, ``frozen`` keeps answers back."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []
        self.commands: list[Command] = []
        self.down = False
        self.silent = False
        self.frozen = False
        self.attempts = 0
        self.special: Callable[[Command], bytes | None] = lambda command: None

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        self.attempts += 1
        done: Deferred[Any] = Deferred()
        if not self.silent:
            self.clock.callLater(0, self._connected, factory, done)
        return done

    def _connected(self, factory: IProtocolFactory, done: Deferred[Any]) -> None:
        if done.called:
            return
        if self.down:
            done.errback(Failure(ConnectionRefusedError()))
            return
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]
        assert isinstance(protocol, RedisConnection)
        wire = Wire(self, protocol)
        self.wires.append(wire)
        protocol.makeConnection(wire)
        done.callback(protocol)

    def reply(self, command: Command) -> bytes | None:
        special = self.special(command)
        if special is not None:
            return special
        if command[0] == b"TIME":
            return b"*2\r\n$4\r\n1000\r\n$1\r\n0\r\n"
        if command[0] == b"ECHO":
            return b"$%d\r\n%b\r\n" % (len(command[1]), command[1])
        return b"+PONG\r\n"

    @property
    def open(self) -> int:
        return sum(wire.open for wire in self.wires)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        for wire in self.wires:
            wire.flush()


class Rig:
    def __init__(self, **options: Any) -> None:
        self.server = Server()
        self.acquired: list[float] = []
        options = {"minimum": 2, "maximum": 4, "depth": 2, "max_pending": 5} | options
        topology = options.pop("topology", RedisTopology("h"))
        self.pool = RedisPool(
            self.server.clock, topology, endpoint=self.server, on_acquired=self.acquired.append, **options
        )

    def started(self) -> Rig:
        self.pool.start()
        self.settle()
        return self

    def settle(self) -> None:
        for _ in range(10):
            self.server.clock.advance(0)

    def echo(self, text: bytes, retry: bool = False) -> list[object]:
        """Ask for ``text``; the list gets the answer or the error."""
        return outcome(self.pool.execute(lambda connection: connection.send(pack(b"ECHO", text), 1), retry=retry))

    def finish(self) -> None:
        self.server.thaw()
        self.pool.stop()
        self.settle()
        assert self.server.open == 0
        assert self.server.clock.getDelayedCalls() == []
        assert self.pool.pending == self.pool.waiting == self.pool.size == 0


def outcome(deferred: Deferred[Any]) -> list[object]:
    results: list[object] = []
    deferred.addBoth(lambda result: results.append(result.value if isinstance(result, Failure) else result))
    return results


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and checks of each in the end that stopping leaves nothing."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for rig in made:
        rig.finish()


def test_starts_with_the_minimum_and_answers(rigs: Callable[..., Rig]) -> None:
    rig = rigs().started()
    assert rig.pool.size == 2
    assert [command[0] for command in rig.server.commands] == [b"TIME", b"TIME"]
    result = rig.echo(b"hello")
    rig.settle()
    assert result == [[b"hello"]]
    assert rig.pool.in_use == 0


def test_calls_made_before_the_first_connection_wait_for_it(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    rig.pool.start()
    result = rig.echo(b"early")
    assert rig.pool.waiting == 1
    rig.settle()
    assert result == [[b"early"]]


def test_login_database_and_clock_come_first(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, topology=RedisTopology("h", username="ü", password="p", db=3)).started()
    assert rig.server.commands == [[b"AUTH", "ü".encode(), b"p"], [b"SELECT", b"3"], [b"TIME"]]
    assert rig.server.wires[0].writes == 1


def test_spreads_calls_then_grows_then_makes_them_wait(rigs: Callable[..., Rig]) -> None:
    rig = rigs().started()
    rig.server.freeze()
    for _ in range(4):
        rig.echo(b"x")
    assert [wire.client.load for wire in rig.server.wires] == [2, 2]
    assert (rig.pool.waiting, rig.pool.in_use) == (0, 2)
    results = [rig.echo(b"y") for _ in range(3)]
    assert rig.pool.waiting == 3
    rig.server.thaw()
    rig.settle()
    assert results == [[[b"y"]]] * 3
    assert rig.pool.size > 2
    assert rig.acquired[-1] == 0.0


def test_never_exceeds_the_maximum(rigs: Callable[..., Rig]) -> None:
    rig = rigs(max_pending=100, depth=1).started()
    for _ in range(6):  # each connection is asked after the one before has finished its handshake
        rig.server.freeze()
        for _ in range(12):
            rig.echo(b"x")
        rig.server.thaw()
        rig.settle()
    assert rig.pool.size == 4
    assert rig.server.attempts == 4


def test_shrinks_to_the_minimum_when_idle(rigs: Callable[..., Rig]) -> None:
    rig = rigs(depth=1, max_pending=100, idle_check_seconds=10, idle_seconds=30).started()
    for _ in range(4):
        rig.server.freeze()
        for _ in range(9):
            rig.echo(b"x")
        rig.server.thaw()
        rig.settle()
    assert rig.pool.size == 4
    for _ in range(60):
        rig.server.clock.advance(1)
    assert rig.pool.size == rig.server.open == 2


def test_stays_large_while_busy(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, depth=1, idle_check_seconds=10, idle_seconds=30).started()
    rig.server.freeze()
    for _ in range(2):
        rig.echo(b"x")
    rig.server.thaw()
    rig.settle()
    assert rig.pool.size == 2
    for _ in range(60):
        rig.echo(b"x")
        rig.echo(b"x")
        rig.server.clock.advance(1)
    assert rig.pool.size == 2


def test_waiting_is_bounded(rigs: Callable[..., Rig]) -> None:
    rig = rigs(maximum=2).started()
    rig.server.freeze()
    results = [rig.echo(b"x") for _ in range(2 * 2 + 5)]
    (error,) = rig.echo(b"too many")
    assert isinstance(error, StoreUnavailable)
    assert rig.pool.waiting == 5
    rig.server.thaw()
    rig.settle()
    assert all(result == [[b"x"]] for result in results)


def test_an_idle_connection_is_pinged(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.commands.clear()
    rig.server.clock.advance(10)
    rig.settle()
    assert rig.server.commands == [[b"PING"]]


def test_an_idle_connection_that_does_not_answer_is_replaced(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.freeze()
    rig.server.clock.advance(10)
    rig.server.clock.advance(3)
    rig.server.thaw()
    rig.settle()
    rig.server.clock.advance(1)
    rig.settle()
    assert [wire.open for wire in rig.server.wires] == [False, True]
    assert rig.pool.size == 1


def test_a_call_without_answer_fails_and_takes_its_connection_along(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1).started()
    rig.server.freeze()
    first, second = rig.echo(b"1"), rig.echo(b"2")
    third = rig.echo(b"waits")
    rig.server.clock.advance(2.9)
    assert first == second == third == []
    rig.server.clock.advance(0.1)
    assert isinstance(first[0], TimedOut)
    assert isinstance(second[0], TimedOut)
    assert isinstance(third[0], StoreError)
    rig.settle()
    assert not rig.server.wires[0].open
    assert rig.pool.pending == 0


def test_time_spent_waiting_counts(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    rig.server.silent = True
    rig.pool.start()
    result = rig.echo(b"x")
    rig.server.clock.advance(3)
    assert isinstance(result[0], TimedOut)
    assert rig.pool.pending == 0


def test_an_attempt_stuck_while_connecting_is_given_up(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1)
    rig.server.silent = True
    rig.pool.start()
    rig.server.clock.advance(5)
    rig.server.silent = False
    rig.server.clock.advance(0.1)
    rig.settle()
    assert rig.pool.size == 1


@pytest.mark.parametrize("lost", [False, True], ids=["stuck", "dropped"])
def test_an_attempt_stuck_or_dropped_in_the_handshake_is_repeated(rigs: Callable[..., Rig], lost: bool) -> None:
    rig = rigs(minimum=1)
    rig.server.freeze()
    rig.pool.start()
    rig.server.clock.advance(0)
    if lost:
        rig.server.wires[0].lose()
    else:
        rig.server.clock.advance(5)
        assert not rig.server.wires[0].open
    rig.server.frozen = False
    for _ in range(3):
        rig.server.clock.advance(0.1)
    rig.settle()
    assert rig.pool.size == rig.server.open == 1


def test_a_refused_login_is_told_and_tried_again(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, topology=RedisTopology("h", password="p"))
    rig.server.special = lambda command: b"-WRONGPASS invalid\r\n" if command[0] == b"AUTH" else None
    rig.started()
    (error,) = rig.echo(b"x")
    assert "WRONGPASS" in str(error)
    assert "p@" not in str(error)
    rig.server.special = lambda command: None
    rig.server.clock.advance(1)
    rig.settle()
    assert rig.pool.size == 1


def test_without_a_server_calls_fail_at_once(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    rig.server.down = True
    rig.pool.start()
    early = rig.echo(b"x")
    rig.settle()
    (error,) = rig.echo(b"x")
    for failed in (early[0], error):
        assert isinstance(failed, StoreError)
        assert not isinstance(failed, StoreUnavailable)
        assert "refused" in str(failed)
    assert rig.pool.pending == 0


def test_back_off_is_bounded_and_ends_when_the_server_is_back(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=2)
    rig.server.down = True
    rig.pool.start()
    for _ in range(600):
        rig.server.clock.advance(0.1)
    assert 50 <= rig.server.attempts <= 140
    rig.server.down = False
    rig.server.clock.advance(1)
    rig.settle()
    rig.server.clock.advance(1)
    rig.settle()
    assert rig.pool.size == 2
    result = rig.echo(b"back")
    rig.settle()
    assert result == [[b"back"]]


def test_a_server_that_hangs_up_after_each_handshake_is_not_stormed(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    for _ in range(100):
        for wire in rig.server.wires:
            wire.lose()
        rig.server.clock.advance(0.1)
        rig.settle()
    assert rig.server.attempts <= 30


def test_a_lost_connection_fails_its_calls_and_is_replaced(rigs: Callable[..., Rig]) -> None:
    rig = rigs().started()
    rig.server.clock.advance(5)
    rig.server.freeze()
    first, second = rig.echo(b"1"), rig.echo(b"2")
    rig.server.wires[0].lose()
    rig.server.thaw()
    rig.settle()
    assert isinstance(first[0], ConnectionGone)
    assert second == [[b"2"]]
    assert rig.pool.size == 2


def test_a_call_without_effect_is_tried_just_once_more(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.clock.advance(5)
    rig.server.special = lambda command: b"" if command[0] == b"ECHO" else None
    result = rig.echo(b"1", retry=True)
    rig.server.wires[0].lose()
    rig.settle()
    assert rig.server.commands.count([b"ECHO", b"1"]) == 2
    assert result == []
    rig.server.wires[1].lose()
    rig.settle()
    assert isinstance(result[0], ConnectionGone)
    assert rig.server.commands.count([b"ECHO", b"1"]) == 2


def test_retried_call_is_answered_by_the_next_connection(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.clock.advance(5)
    rig.server.freeze()
    result = rig.echo(b"1", retry=True)
    rig.server.wires[0].held.clear()
    rig.server.wires[0].lose()
    rig.server.frozen = False
    rig.settle()
    assert result == [[b"1"]]
    assert rig.server.commands.count([b"ECHO", b"1"]) == 2


def test_what_waited_during_an_outage_is_never_sent(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, max_pending=1000).started()
    rig.server.freeze()
    results = [rig.echo(b"old") for _ in range(1002)]
    assert rig.pool.waiting == 1000
    rig.server.clock.advance(3)
    rig.settle()
    assert all(isinstance(result[0], StoreError) for result in results)
    sent = rig.server.commands.count([b"ECHO", b"old"])
    assert sent == 2  # those that were under way when the server froze
    rig.server.thaw()
    for _ in range(20):
        rig.server.clock.advance(0.5)
    rig.settle()
    assert rig.pool.size == 1
    assert rig.server.commands.count([b"ECHO", b"old"]) == sent
    assert rig.pool.pending == 0


def test_a_cancelled_call_that_waits_leaves_nothing(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, max_pending=500).started()
    rig.server.freeze()
    for _ in range(2):
        rig.echo(b"x")

    class Token:
        pass

    tokens: list[weakref.ref[Token]] = []
    for _ in range(500):
        token = Token()
        tokens.append(weakref.ref(token))
        call = rig.pool.execute(lambda connection, token=token: connection.send(pack(b"ECHO", b"%d" % id(token)), 1))
        call.addErrback(lambda failure: failure.trap(CancelledError))
        call.cancel()
    del token, call
    gc.collect()
    assert rig.pool.waiting == 0
    assert rig.pool.pending == 2
    assert not any(ref() for ref in tokens)


def test_a_cancelled_call_under_way_keeps_the_order_of_replies(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=5).started()
    rig.server.freeze()
    call = rig.pool.execute(lambda connection: connection.send(pack(b"ECHO", b"1"), 1))
    cancelled, after = outcome(call), rig.echo(b"2")
    call.cancel()
    assert isinstance(cancelled[0], CancelledError)
    assert rig.pool.pending == 2
    rig.server.thaw()
    rig.settle()
    assert after == [[b"2"]]
    assert rig.pool.pending == 0


def test_a_frozen_connection_is_found_out_even_if_every_caller_gave_up(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.freeze()
    call = rig.pool.execute(lambda connection: connection.send(pack(b"ECHO", b"1"), 1))
    call.addErrback(lambda failure: failure.trap(CancelledError))
    call.cancel()
    rig.server.clock.advance(3)
    assert not rig.server.wires[0].open
    assert rig.pool.pending == 0


@pytest.mark.parametrize(
    ("reply", "kind"), [(b"-LOADING wait\r\n", Sick), (b"-ERR no\r\n", Refused)], ids=["LOADING", "ERR"]
)
def test_txredisapi_methods_work_and_their_errors_are_ours(
    rigs: Callable[..., Rig], reply: bytes, kind: type[StoreError]
) -> None:
    rig = rigs().started()
    good = outcome(rig.pool.execute(lambda connection: connection.ping()))
    rig.settle()
    assert good == [b"PONG"]
    rig.server.special = lambda command: reply
    (error,) = [outcome(rig.pool.execute(lambda connection: connection.ping()))]
    rig.settle()
    assert type(error[0]) is kind


def test_a_function_that_raises_frees_its_connection(rigs: Callable[..., Rig]) -> None:
    rig = rigs().started()

    def broken(connection: RedisConnection) -> Deferred[None]:
        raise ZeroDivisionError

    (error,) = outcome(rig.pool.execute(broken))
    assert isinstance(error, ZeroDivisionError)
    assert rig.pool.in_use == rig.pool.pending == 0


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad\r\n\r\n", b"+nobody asked\r\n"], ids=["not-resp", "surplus"])
def test_nonsense_from_the_server_costs_the_connection(rigs: Callable[..., Rig], garbage: bytes) -> None:
    rig = rigs(minimum=1).started()
    rig.server.clock.advance(5)
    rig.server.wires[0].client.dataReceived(garbage)
    rig.settle()
    assert [wire.open for wire in rig.server.wires] == [False, True]


def test_a_pool_without_minimum_connects_when_asked_and_closes_when_idle(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=0, maximum=1).started()
    assert rig.server.attempts == 0
    result = rig.echo(b"x")
    rig.settle()
    assert result == [[b"x"]]
    for _ in range(60):
        rig.server.clock.advance(1)
    assert rig.pool.size == rig.server.open == 0


def test_a_pool_without_minimum_recovers(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=0, maximum=1).started()
    rig.server.down = True
    failed = rig.echo(b"x")
    rig.settle()
    assert isinstance(failed[0], StoreError)
    rig.server.down = False
    rig.server.clock.advance(1)
    rig.settle()
    result = rig.echo(b"y")
    rig.settle()
    assert result == [[b"y"]]


def test_stop_lets_calls_under_way_finish_and_fails_those_that_wait(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=1).started()
    rig.server.freeze()
    running, waiting = rig.echo(b"1"), rig.echo(b"2")
    stopped = outcome(rig.pool.stop())
    assert isinstance(waiting[0], StoreUnavailable)
    assert isinstance(rig.echo(b"3")[0], StoreUnavailable)
    assert stopped == running == []
    rig.server.thaw()
    rig.settle()
    assert running == [[b"1"]]
    assert stopped == [None]
    assert rig.server.open == 0


def test_stop_does_not_wait_for_a_frozen_server_beyond_the_timeout(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.freeze()
    rig.echo(b"1")
    stopped = outcome(rig.pool.stop())
    rig.server.clock.advance(3)
    rig.settle()
    assert stopped == [None]


def test_stop_while_connecting(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    rig.server.silent = True
    rig.pool.start()
    assert outcome(rig.pool.stop()) == [None]
    assert rig.server.clock.getDelayedCalls() == []


@pytest.mark.parametrize("key", [b"cache:GET:anonymous:/x", b"cache:GET:editor:/x"], ids=["plain", "indexed"])
def test_a_lookup_is_one_round_trip(rigs: Callable[..., Rig], key: bytes) -> None:
    rig = rigs(minimum=1, maximum=1).started()
    rig.server.freeze()
    rig.server.special = lambda command: b"*0\r\n" if command[0] == b"HGETALL" else None
    before = rig.server.wires[0].writes
    result = outcome(RedisStore(rig.pool).lookup(key))
    names = [command[0] for command in rig.server.commands[1:]]
    assert names[-2:] == [b"HGETALL", b"PTTL"]
    assert rig.server.wires[0].writes == before + 1
    rig.server.thaw()
    rig.settle()
    assert result == [None]
