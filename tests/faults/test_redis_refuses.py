"""Redis that answers, but not what it was asked for: real servers in each of their states."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterable

import attrs
import pytest
from faults.conftest import World
from support.redis_server import RedisError, RedisServer

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults]


def some(names: Iterable[str], *short: str) -> list[object]:
    """Parameters of which all but the ``short`` ones are left to ``make test-faults``."""
    return [name if name in short else pytest.param(name, marks=pytest.mark.long) for name in names]


@attrs.frozen
class State:
    """How a server gets into a state and out of it; ``cached``: hits in Redis go on meanwhile."""

    begin: Callable[[RedisServer], object]
    end: Callable[[RedisServer], object]
    seconds: float = 2.0


def _set(name: str, value: str) -> Callable[[RedisServer], object]:
    def tell(redis: RedisServer) -> None:
        with contextlib.suppress(OSError):  # our own connection may be one that was closed
            redis.cli("PING")
        redis.cli("CONFIG", "SET", name, value)

    return tell


def _all(*each: Callable[[RedisServer], object]) -> Callable[[RedisServer], object]:
    return lambda redis: [one(redis) for one in each]


def _run(*words: str) -> Callable[[RedisServer], object]:
    return lambda redis: redis.cli(*words)


def _drop_clients(redis: RedisServer) -> None:
    redis.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _misconf(redis: RedisServer) -> None:
    """A snapshot that cannot be written, after which writes are refused."""
    redis.cli("CONFIG", "SET", "save", "3600 1")
    (redis.directory / "dump.rdb").mkdir()
    redis.cli("BGSAVE")
    for _ in range(100):
        if b"rdb_last_bgsave_status:err" in redis.cli("INFO", "persistence"):  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("a snapshot was written in place of a folder")


def _recovered(redis: RedisServer) -> None:
    redis.cli("CONFIG", "SET", "save", "")
    (redis.directory / "dump.rdb").rmdir()
    redis.cli("BGSAVE")


def _busy(redis: RedisServer) -> None:
    """A script that does not end by itself: all others are answered BUSY."""
    redis.cli("CONFIG", "SET", "lua-time-limit", "100")
    if os.fork() == 0:  # a client of its own that waits for the answer
        try:
            another = RedisServer.__new__(RedisServer)
            another.socket_path, another._client = redis.socket_path, None
            another.user = another.requirepass = None
            another.cli("EVAL", "while true do end", "0")
        except BaseException:  # noqa: BLE001, S110 killed, as it should be
            pass
        os._exit(0)
    time.sleep(0.5)


def _unbusy(redis: RedisServer) -> None:
    redis.cli("SCRIPT", "KILL")
    os.wait()


STATES = {
    "READONLY": State(_run("REPLICAOF", "127.0.0.1", "1"), _run("REPLICAOF", "NO", "ONE")),
    "OOM": State(_set("maxmemory", "1"), _set("maxmemory", "0")),
    "MISCONF": State(_misconf, _recovered),
    "NOAUTH": State(_all(_set("requirepass", "x"), _drop_clients), _all(_set("requirepass", ""), _drop_clients)),
    "NOPERM": State(_run("ACL", "SETUSER", "default", "-eval", "-evalsha"), _run("ACL", "SETUSER", "default", "+@all")),
    "BUSY": State(_busy, _unbusy),
    "maxclients": State(_all(_set("maxclients", "2"), _drop_clients), _set("maxclients", "1000")),
    "CLIENT PAUSE": State(_run("CLIENT", "PAUSE", "1500", "ALL"), lambda redis: None),
    "SCRIPT FLUSH": State(_run("SCRIPT", "FLUSH"), lambda redis: None),
    "timeout": State(_set("timeout", "1"), _set("timeout", "0"), 3.0),
    "CLIENT KILL": State(_drop_clients, lambda redis: None),
}


@pytest.mark.parametrize("state", some(STATES, "READONLY"))
def test_a_state_costs_clients_misses_at_most(world: World, state: str) -> None:
    world.run().busy()
    before = len(world.proxy.log_lines_so_far())
    try:
        STATES[state].begin(world.redis)
    except RedisError as problem:
        pytest.skip(f"this server knows no such state: {problem}")
    try:
        world.watch(STATES[state].seconds).hold()
    finally:
        STATES[state].end(world.redis)
    world.until(lambda report: report.share("HIT") > 0.1, "hits in Redis again", 3)
    said = [str(line["msg"]) for line in world.proxy.log_lines_so_far()[before:] if line["level"] != "info"]
    assert len(said) <= 6, said


def _each_value(redis: RedisServer) -> list[bytes]:
    return [key for key in redis.cli("KEYS", "cache:*") if redis.cli("TYPE", key) == b"string"]  # type: ignore[union-attr]


def _hashes(redis: RedisServer) -> list[bytes]:
    return [key for key in redis.cli("KEYS", "*") if redis.cli("TYPE", key) == b"hash"]  # type: ignore[union-attr]


def _spoil(redis: RedisServer, change: Callable[[bytes, random.Random], bytes]) -> int:
    chance, spoilt = random.Random(5), 0
    for key in _hashes(redis):
        for field in redis.cli("HKEYS", key):  # type: ignore[union-attr]
            value = redis.cli("HGET", key, field)
            if isinstance(value, bytes):
                redis.cli("HSET", key, field, change(value, chance))
                spoilt += 1
    for key in _each_value(redis):
        value = redis.cli("GET", key)
        if isinstance(value, bytes):
            redis.cli("SET", key, change(value, chance), "KEEPTTL")
            spoilt += 1
    return spoilt


def _one_byte(value: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(value)) if value else 0
    return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :] if value else b"?"


CHANGES = {
    "one bit": _one_byte,
    "cut short": lambda value, chance: value[: chance.randrange(len(value) or 1)],
    "longer": lambda value, chance: value + b"\0",
    "other version": lambda value, chance: b"\xff" + value[1:],
    "empty": lambda value, chance: b"",
    "text": lambda value, chance: b"something else",
}


@pytest.mark.parametrize("change", some(CHANGES, "one bit"))
def test_a_spoilt_value_is_fetched_anew(world: World, change: str) -> None:
    world.run().busy()
    assert _spoil(world.redis, CHANGES[change]) > 100
    world.watch(2).hold()
    world.until(lambda report: report.share("HIT") > 0.1, "hits in Redis again", 3)


@pytest.mark.long
def test_swapped_values_are_fetched_anew(world: World) -> None:
    """Each key holds what another one's did."""
    world.run().busy()
    keys = [key for key in _hashes(world.redis) if b"object" in key] or _each_value(world.redis)
    assert len(keys) > 100
    for one, other in zip(keys[::2], keys[1::2], strict=False):
        for source, target in ((one, b"kept"), (other, one), (b"kept", other)):
            world.redis.cli("RENAME", source, target)
    world.watch(2).hold()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["list", "string", "hash", "set"])
def test_another_type_at_a_key_is_replaced(world: World, kind: str) -> None:
    world.run().busy()
    write = {"list": ("LPUSH", "x"), "string": ("SET", "x"), "hash": ("HSET", "x", "y"), "set": ("SADD", "x")}[kind]
    for key in world.redis.cli("KEYS", "cache:*"):  # type: ignore[union-attr]
        world.redis.cli("DEL", key)
        world.redis.cli(write[0], key, *write[1:])
    world.watch(2).hold()
    world.until(lambda report: report.share("HIT") > 0.1, "hits in Redis again", 4)
