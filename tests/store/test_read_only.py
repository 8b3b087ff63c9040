"""A server that became a replica: its connections are given up, the name is asked again, and not too often."""

from __future__ import annotations

from collections.abc import Callable

from support.redis_in_memory import Rig, outcome

from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import checked, pack
from caching_proxy.store.redis.errors import ReadOnly


def write(rig: Rig) -> list[object]:
    return outcome(rig.pool.execute(Ask(pack(b"SET", b"a", b"b"), 1, lambda replies: checked(replies[0]))))


def replica(command: list[bytes]) -> bytes | None:
    return b"-READONLY You can't write against a read only replica.\r\n" if command[0] == b"SET" else None


def test_every_connection_is_made_anew(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=2).started()
    rig.server.special = replica
    refused = write(rig)
    rig.settle()
    rig.server.special = lambda command: None
    rig.settle()
    assert isinstance(refused[0], ReadOnly)
    assert [wire.open for wire in rig.server.wires] == [False, False, True, True]
    assert rig.pool.size == 2
    written = write(rig)
    rig.settle()
    assert written == [b"PONG"]


def test_calls_under_way_are_answered(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=10).started()
    rig.server.special = replica
    refused, asked = write(rig), []
    rig.server.clock.advance(0)
    rig.server.freeze()
    asked = rig.echo(b"x")
    rig.settle()
    assert isinstance(refused[0], ReadOnly)
    rig.server.thaw()
    rig.server.clock.advance(0.1)
    rig.settle()
    assert asked == [[b"x"]]
    assert rig.server.open == 1


def test_one_that_never_answers_is_closed_all_the_same(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=10).started()
    rig.server.special = lambda command: replica(command) if command[0] == b"SET" else None
    write(rig)
    stuck = rig.echo(b"x")
    first = rig.server.wires[0]
    first.held.pop()
    rig.settle()
    for _ in range(30):
        rig.server.clock.advance(0.05)
    rig.settle()
    assert not first.open
    assert stuck
    assert rig.pool.size == 1


def test_a_server_that_stays_read_only_is_not_asked_in_a_hurry(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1).started()
    rig.server.special = replica
    for _ in range(600):
        write(rig)
        rig.server.clock.advance(0.1)
        rig.settle()
    assert 4 <= rig.server.attempts <= 9, "in a minute"
