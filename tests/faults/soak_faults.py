"""What may break in a long run (``soak.py``): each fault with what begins it, what mends it, and what it excuses."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import attrs
from faults.conftest import World
from support.faulty_link import FaultyLink
from support.shifted_clock import ShiftedClock

FAILING = ("200", "502", "504")
"""Statuses while the backend fails; what is cached is still answered."""

LEAVERS = 300
IDLE = 300
RULES = [{"post_path_regex": "^/never/", "invalidate_patterns": ["cache:GET:*:/never/*"]}]


@attrs.frozen
class Fault:
    """``statuses`` are those that clients may see meanwhile, and shortly after."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    statuses: tuple[str, ...] = ("200",)


def faults_of(world: World, to_redis: FaultyLink, to_backend: FaultyLink, clock: ShiftedClock) -> list[Fault]:
    """Everything that may happen."""
    return [*_of_redis(world, to_redis), *_of_backend(world, to_backend), *_of_process(world, clock)]


def _of_redis(world: World, link: FaultyLink) -> Iterator[Fault]:
    redis = world.redis

    def set_memory(most: int) -> Callable[[], object]:
        return lambda: redis.cli("CONFIG", "SET", "maxmemory", most)

    yield Fault("Redis killed", redis.kill, redis.start)
    yield Fault("Redis frozen", redis.freeze, redis.thaw)
    yield Fault("Redis emptied", lambda: redis.cli("FLUSHALL"))
    yield Fault(
        "Redis read-only",
        lambda: redis.cli("REPLICAOF", "127.0.0.1", "1"),
        lambda: redis.cli("REPLICAOF", "NO", "ONE"),
    )
    yield Fault("Redis out of memory", set_memory(1), set_memory(0))
    yield Fault("Redis cut off", link.cut, link.cut)
    yield Fault("Redis silent", lambda: link.silence(True), lambda: (link.cut(), link.silence(False)))
    yield Fault("Redis slow", lambda: setattr(link, "delay", 0.1), lambda: setattr(link, "delay", 0.0))
    yield Fault("Redis too late", lambda: setattr(link, "delay", 0.35), lambda: setattr(link, "delay", 0.0))


def _of_backend(world: World, link: FaultyLink) -> Iterator[Fault]:
    def tell(**words: object) -> Callable[[], object]:
        return lambda: world.backend.ask(**words)

    well = tell(fault=None)
    yield Fault("backend cut off", link.cut, link.cut, FAILING)
    yield Fault("backend hangs", tell(fault="hang"), well, FAILING)
    yield Fault("backend resets", tell(fault="reset", at=5), well, FAILING)


def _of_process(world: World, clock: ShiftedClock) -> Iterator[Fault]:
    yield Fault("SIGHUP", lambda: world.proxy.signal(signal.SIGHUP))
    yield Fault("SIGHUP with bad rules", lambda: _write_rules(world, "[{"), lambda: _write_rules(world, RULES))
    yield Fault("clock 1 h ahead", lambda: clock.by(3600), lambda: clock.by(0))
    yield Fault("clock 1 h behind", lambda: clock.by(-3600), lambda: clock.by(0))
    yield Fault("clients leave", lambda: _leave(world.proxy.port))
    idle: list[socket.socket] = []
    yield Fault("idle clients", lambda: idle.extend(_connected(world.proxy.port)), lambda: _close(idle))


def _write_rules(world: World, rules: object) -> None:
    path = world.proxy.directory / "invalidation_config.json"
    path.write_text(rules if isinstance(rules, str) else json.dumps(rules))
    world.proxy.signal(signal.SIGHUP)


_numbers = itertools.count()


def _leave(port: int) -> None:
    """Ask for what has to be fetched, and leave at once or within the answer."""
    for n in itertools.islice(_numbers, LEAVERS):
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(f"GET /left/{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            if n % 2:
                client.settimeout(5)
                with suppress(OSError):
                    client.recv(100)


def _connected(port: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 10) for _ in range(IDLE)]


def _close(clients: list[socket.socket]) -> None:
    while clients:
        clients.pop().close()
    time.sleep(0)
