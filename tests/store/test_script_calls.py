"""Calls of scripts on a server in memory: what a write does when its connection is lost or it comes late."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.redis_in_memory import Command, Rig, outcome, settled
from twisted.internet.defer import CancelledError, Deferred

from caching_proxy.interfaces import StoreError
from caching_proxy.store.redis.errors import CommandRefused, ConnectionGone, TimedOut
from caching_proxy.store.redis.store import RedisStore

PLAIN = b"cache:GET:anonymous:/x"
EDITOR = b"cache:GET:editor:/x"


def put(rig: Rig, key: bytes = PLAIN) -> Deferred[None]:
    return RedisStore(rig.pool).put(key, b"f", b"v", 60_000)


def scripts(rig: Rig) -> list[Command]:
    """The calls of scripts that the server got."""
    return [command for command in rig.server.commands if command[0].startswith(b"EVAL")]


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    """One connection that has lasted for a while, to a server that carries out every script."""
    rig = rigs(minimum=1, maximum=1, depth=10, command_timeout=3.0).started()
    rig.server.clock.advance(5)
    rig.server.special = lambda command: b":0\r\n" if command[0].startswith(b"EVAL") else None
    return rig


# -- whose connection is lost ----------------------------------------------------------------------------


def two_writes(rig: Rig) -> tuple[list[object], list[object]]:
    """Both under way on one connection to a frozen server, the second a second after the first."""
    rig.server.freeze()
    first = outcome(put(rig))
    rig.server.clock.advance(1)
    return first, outcome(put(rig, EDITOR))


def test_a_write_on_a_dropped_connection_is_under_way_until_its_own_deadline(rig: Rig) -> None:
    first, second = two_writes(rig)
    rig.server.clock.advance(2)
    rig.settle()
    assert isinstance(first[0], TimedOut)
    assert not rig.server.wires[0].open
    assert second == []
    assert rig.pool.pending == 1
    rig.server.clock.advance(0.9)
    assert second == []
    rig.server.clock.advance(0.1)
    assert isinstance(second[0], ConnectionGone)
    assert rig.pool.pending == 0
    assert len(scripts(rig)) == 2


def test_other_calls_fail_when_the_connection_is_lost(rig: Rig) -> None:
    rig.server.freeze()
    written, discarded = outcome(put(rig)), outcome(RedisStore(rig.pool).discard(PLAIN, b"f"))
    rig.server.wires[0].lose()
    rig.settle()
    assert isinstance(discarded[0], ConnectionGone)
    assert written == []


def test_calls_go_on_beside_a_held_write(rig: Rig) -> None:
    _, second = two_writes(rig)
    rig.server.wires[0].lose()
    rig.server.frozen = False
    rig.settle()
    assert settled(rig, put(rig)) is None
    assert second == []


def test_stopping_lets_a_held_write_go(rig: Rig) -> None:
    _, second = two_writes(rig)
    rig.server.clock.advance(2)
    rig.settle()
    stopped = outcome(rig.pool.stop())
    assert isinstance(second[0], ConnectionGone)
    rig.settle()
    assert stopped == [None]
    assert rig.server.clock.getDelayedCalls() == []


def test_a_write_whose_connection_is_lost_while_stopping_fails_at_once(rig: Rig) -> None:
    rig.server.freeze()
    written = outcome(put(rig))
    stopped = outcome(rig.pool.stop())
    rig.server.wires[0].lose()
    rig.settle()
    assert isinstance(written[0], ConnectionGone)
    assert stopped == [None]


@pytest.mark.parametrize("before", [False, True], ids=["held", "under-way"])
def test_a_cancelled_write_is_not_held(rig: Rig, before: bool) -> None:
    rig.server.freeze()
    write = put(rig)
    written = outcome(write)
    if before:
        write.cancel()
    rig.server.wires[0].lose()
    rig.settle()
    write.cancel()
    assert isinstance(written[0], CancelledError)
    assert rig.pool.pending == 0


def test_a_write_that_was_never_sent_is_not_held(rig: Rig) -> None:
    rig.server.down = True
    rig.server.wires[0].lose()
    rig.settle()
    written = outcome(put(rig))
    rig.settle()
    assert isinstance(written[0], StoreError)
    assert scripts(rig) == []


# -- that is sent again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [PLAIN, EDITOR], ids=["plain", "indexed"])
def test_a_script_goes_whole_to_a_server_that_does_not_know_it(rig: Rig, key: bytes) -> None:
    rig.server.special = lambda command: {b"EVALSHA": b"-NOSCRIPT no\r\n", b"EVAL": b":0\r\n"}.get(command[0])
    assert settled(rig, put(rig, key)) is None
    by_digest, whole = scripts(rig)
    assert b"redis.call('HSET'" in whole[1]
    assert whole[2:] == by_digest[2:]
    assert rig.pool.in_use == rig.pool.pending == 0


def test_a_server_that_never_knows_the_script_refuses(rig: Rig) -> None:
    rig.server.special = lambda command: b"-NOSCRIPT no\r\n"
    assert isinstance(settled(rig, put(rig)), CommandRefused)
    assert len(scripts(rig)) == 2


def test_a_cancelled_write_is_not_sent_again(rig: Rig) -> None:
    rig.server.special = lambda command: b"-NOSCRIPT no\r\n"
    write = put(rig)
    written = outcome(write)
    write.cancel()
    rig.settle()
    assert isinstance(written[0], CancelledError)
    assert len(scripts(rig)) == 1
    assert rig.pool.pending == 0


def test_a_write_is_dated_by_the_clock_of_the_server(rig: Rig) -> None:
    answers = [b":9000000\r\n", b":0\r\n"]
    rig.server.special = lambda command: answers.pop(0)
    assert settled(rig, put(rig)) is None
    latest = [int(command[7]) for command in scripts(rig)]
    # TIME was 1000 s when the connection was made, 5 s before
    assert latest == [1_000_000 + 5000 + 3000, 9_000_000 + 3000]


def test_a_write_that_is_too_late_twice_fails(rig: Rig) -> None:
    rig.server.special = lambda command: b":9000000\r\n"
    assert isinstance(settled(rig, put(rig)), TimedOut)
    assert len(scripts(rig)) == 2


def test_a_target_is_dropped_in_steps_on_one_connection(rig: Rig) -> None:
    answers = [b"*3\r\n:1000\r\n*1\r\n$1\r\na\r\n*0\r\n", b"*3\r\n:3\r\n*1\r\n$1\r\nb\r\n*0\r\n"]
    rig.server.special = lambda command: answers.pop(0)
    assert settled(rig, RedisStore(rig.pool).delete_target(b"/x")) == {b"a", b"b"}
    assert len(scripts(rig)) == 2
    assert rig.pool.pending == 0


def test_each_step_has_its_own_deadline(rig: Rig) -> None:
    rig.server.special = lambda command: b"*3\r\n:1000\r\n*0\r\n*0\r\n"
    rig.server.freeze()
    dropped = outcome(RedisStore(rig.pool).delete_target(b"/x"))
    rig.server.clock.advance(2.5)
    rig.server.wires[0].flush()
    rig.server.clock.advance(2.9)
    assert dropped == []
    rig.server.clock.advance(0.1)
    assert isinstance(dropped[0], TimedOut)


def test_a_call_with_many_steps_gives_others_no_more_time(rig: Rig) -> None:
    rig.server.special = lambda command: b"" if command[0] == b"ECHO" else b"*3\r\n:1000\r\n*0\r\n*0\r\n"
    rig.server.freeze()
    dropped = outcome(RedisStore(rig.pool).delete_target(b"/x"))
    unanswered = rig.echo(b"x")
    rig.server.clock.advance(2.5)
    rig.server.wires[0].flush()
    rig.server.clock.advance(0.5)
    assert isinstance(unanswered[0], TimedOut)
    rig.settle()
    assert isinstance(dropped[0], ConnectionGone)
