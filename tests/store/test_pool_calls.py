"""What becomes of a call to the pool: answered, late, tried again, cancelled or failed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial

import pytest
from support.redis_in_memory import Rig, echo, outcome, settled
from twisted.internet.defer import CancelledError
from txredisapi import ResponseError

from caching_proxy.interfaces import AnswerLost, Overtaken, StoreError
from caching_proxy.store.redis.commands import Ask, Call
from caching_proxy.store.redis.connection import RedisConnection, pack
from caching_proxy.store.redis.errors import CommandRefused, ConnectionGone, Sick, TimedOut
from caching_proxy.store.redis.store import RedisStore


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
    assert isinstance(result[0], AnswerLost)
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
        call = rig.pool.execute(Ask(pack(b"ECHO", b"x"), 1, lambda replies, token=token: token))
        call.addErrback(lambda failure: failure.trap(CancelledError))
        call.cancel()
    del token, call
    gc.collect()
    assert rig.pool.waiting == 0
    assert rig.pool.pending == 2
    assert not any(ref() for ref in tokens)


class _Token:
    """What only a call holds."""


@pytest.mark.parametrize("kind", [Overtaken, Sick, KeyError])
def test_a_call_that_fails_leaves_nothing_for_the_cycle_collector(
    rigs: Callable[..., Rig], kind: type[Exception]
) -> None:
    """While one target after another is invalidated, thousands of writes are refused in a second."""
    rig = rigs().started()
    failures: list[object] = []

    def read(replies: object, token: _Token) -> None:
        raise kind("refused")

    token = _Token()
    held = weakref.ref(token)
    gc.disable()
    try:
        call = rig.pool.execute(Ask(pack(b"ECHO", b"x"), 1, partial(read, token=token)))
        call.addErrback(lambda failure: failures.append(failure.type))
        rig.settle()
        del token, call
        assert failures == [kind]
        assert held() is None
    finally:
        gc.enable()


def test_a_cancelled_call_under_way_keeps_the_order_of_replies(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=5).started()
    rig.server.freeze()
    call = rig.pool.execute(echo(b"1"))
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
    call = rig.pool.execute(echo(b"1"))
    call.addErrback(lambda failure: failure.trap(CancelledError))
    call.cancel()
    rig.server.clock.advance(3)
    assert not rig.server.wires[0].open
    assert rig.pool.pending == 0


@pytest.mark.parametrize(
    ("reply", "kind"), [(b"-LOADING wait\r\n", Sick), (b"-ERR no\r\n", CommandRefused)], ids=["LOADING", "ERR"]
)
def test_errors_of_the_server_are_ours(rigs: Callable[..., Rig], reply: bytes, kind: type[StoreError]) -> None:
    rig = rigs().started()
    store = RedisStore(rig.pool)
    assert settled(rig, store.ping()) is None
    rig.server.special = lambda command: reply
    assert type(settled(rig, store.ping())) is kind
    assert type(settled(rig, store.lookup(b"k"))) is kind


def test_txredisapi_methods_work_beside_calls(rigs: Callable[..., Rig]) -> None:
    rig = rigs(minimum=1, maximum=1, depth=5).started()
    rig.server.special = lambda command: b"$1\r\nv\r\n" if command[0] == b"GET" else None
    connection = rig.server.wires[0].client
    before, theirs, after = rig.echo(b"1"), outcome(connection.get("k")), rig.echo(b"2")
    rig.settle()
    assert (before, theirs, after) == ([[b"1"]], [b"v"], [[b"2"]])
    rig.server.special = lambda command: b"-ERR no\r\n"
    assert isinstance(settled(rig, connection.ping()), ResponseError)
    lost = outcome(connection.ping())
    rig.server.wires[0].lose()
    rig.settle()
    assert isinstance(lost[0], ConnectionGone)


class Broken(Call[None]):
    """Fails where a bug in ``part`` would make it fail."""

    def __init__(self, part: str) -> None:
        self.part = part

    def payload(self, connection: RedisConnection) -> bytes:
        return pack(b"PING") if self.part != "payload" else b"%d" % (1 // 0)

    def read(self, replies: list[object]) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("part", ["payload", "read"])
def test_a_call_that_raises_frees_its_connection(rigs: Callable[..., Rig], part: str) -> None:
    rig = rigs(minimum=1, maximum=1).started()
    assert isinstance(settled(rig, rig.pool.execute(Broken(part))), ZeroDivisionError)
    assert rig.pool.in_use == rig.pool.pending == 0
    assert settled(rig, rig.pool.execute(echo(b"next"))) == [b"next"]


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
