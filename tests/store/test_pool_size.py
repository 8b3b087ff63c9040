"""How many connections the pool opens, keeps and closes, how many calls may wait for one, and how it stops."""

from __future__ import annotations

from collections.abc import Callable

from support.redis_in_memory import Rig, outcome

from caching_proxy.interfaces import StoreError, StoreUnavailable


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
