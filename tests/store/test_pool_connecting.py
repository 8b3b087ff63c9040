"""How the connections of a pool are made, tried again, logged in, pinged, and replaced when they break."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.redis_in_memory import Rig

from caching_proxy.interfaces import StoreError, StoreUnavailable
from caching_proxy.rules.store_topology import RedisTopology


def test_login_database_and_clock_come_first(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, topology=RedisTopology("h", username="ü", password="p", db=3)).started()
    assert rig.server.commands == [[b"AUTH", "ü".encode(), b"p"], [b"SELECT", b"3"], [b"TIME"]]
    assert rig.server.wires[0].writes == 1


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
    assert 100 <= rig.server.attempts <= 270
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


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad\r\n\r\n", b"+nobody asked\r\n"], ids=["not-resp", "surplus"])
def test_nonsense_from_the_server_costs_the_connection(rigs: Callable[..., Rig], garbage: bytes) -> None:
    rig = rigs(minimum=1).started()
    rig.server.clock.advance(5)
    rig.server.wires[0].client.dataReceived(garbage)
    rig.settle()
    assert [wire.open for wire in rig.server.wires] == [False, True]


def test_recovery_is_told_once_and_only_after_trouble(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=2)
    told: list[int] = []
    rig.pool.on_recovery = lambda: told.append(rig.pool.size)
    rig.pool.start()
    rig.settle()
    assert told == []
    rig.server.down = True
    for wire in rig.server.wires:
        wire.lose()
    rig.settle()
    for _ in range(30):
        rig.server.clock.advance(0.1)
    rig.server.down = False
    for _ in range(30):
        rig.server.clock.advance(0.1)
        rig.settle()
    assert told == [1]


def test_when_another_server_has_taken_over_all_connections_are_made_anew(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=2).started()
    for _ in range(2):  # however soon
        rig.pool.moved()
        rig.settle()
    assert [wire.open for wire in rig.server.wires] == [False] * 4 + [True] * 2


@pytest.mark.parametrize(("role", "size"), [(b"$6\r\nmaster", 1), (b"$5\r\nslave", 0)])
def test_a_server_that_others_named_must_be_a_master(rigs: Callable[..., Rig], role: bytes, size: int) -> None:
    rig = rigs(minimum=1, topology=RedisTopology("h", master_of="redis+sentinel://s/m"))
    rig.server.special = lambda command: b"*1\r\n" + role + b"\r\n" if command[0] == b"ROLE" else None
    rig.pool.start()
    rig.settle()
    assert rig.pool.size == size
    assert [command[0] for command in rig.server.commands] == [b"ROLE", b"TIME"]


def test_a_server_that_does_not_tell_its_role_is_taken(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, topology=RedisTopology("h", master_of="redis+sentinel://s/m"))
    rig.server.special = lambda command: b"-NOPERM no\r\n" if command[0] == b"ROLE" else None
    rig.pool.start()
    rig.settle()
    assert rig.pool.size == 1
