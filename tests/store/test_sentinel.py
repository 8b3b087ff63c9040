"""Which Sentinel is believed, on servers in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.redis_in_memory import Server, outcome
from twisted.internet.task import Clock

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.store_topology import Address, RedisTopology, SentinelTopology
from caching_proxy.store.redis.sentinel import SentinelEndpoint

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
NAMES = tuple((f"s{nth}", 26379) for nth in range(3))


def names(address: Address) -> Callable[[list[bytes]], bytes]:
    host, port = address[0].encode(), b"%d" % address[1]
    return lambda command: b"*2\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(host), host, len(port), port)


class Net:
    """Three Sentinels, and the two servers that they may name."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.servers = {address: Server() for address in (*NAMES, OLD, NEW)}
        for server in self.servers.values():
            server.clock = self.clock
        self.say(OLD, OLD, OLD)
        self.endpoint = SentinelEndpoint(self.clock, SentinelTopology(NAMES, "m"), self.reach, 4.0)
        self.changes: list[Address | None] = []
        self.endpoint.changed.append(lambda: self.changes.append(self.endpoint.master))

    def reach(self, server: RedisTopology) -> Server:
        return self.servers[server.host, server.port]

    def say(self, *addresses: Address | None) -> None:
        """What each Sentinel answers; one of None is down."""
        for name, address in zip(NAMES, addresses, strict=True):
            self.servers[name].down = address is None
            if address is not None:
                self.servers[name].special = names(address)

    def find(self) -> Any:
        results = outcome(_deferred(self.endpoint))
        for _ in range(60):
            self.clock.advance(0.05)
        (result,) = results
        return result

    @property
    def asked(self) -> list[int]:
        return [self.servers[name].attempts for name in NAMES]


def _deferred(endpoint: SentinelEndpoint) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(endpoint.find())


def test_one_that_says_what_is_known_is_enough_and_they_take_turns() -> None:
    net = Net()
    assert net.find() == OLD
    assert net.asked == [1, 1, 0], "the first time two must agree"
    for _ in range(3):
        assert net.find() == OLD
    assert sum(net.asked) == 5
    assert net.changes == []


def test_one_that_is_behind_is_not_believed() -> None:
    net = Net()
    net.find()
    for behind in range(3):
        net.say(*(NEW if nth == behind else OLD for nth in range(3)))
        for _ in range(3):
            assert net.find() == OLD
    assert net.changes == []


def test_two_are_believed() -> None:
    net = Net()
    net.find()
    net.say(OLD, NEW, NEW)
    found = [net.find() for _ in range(3)]
    assert found[-1] == NEW
    assert net.changes == [NEW]
    assert [net.find() for _ in range(3)] == [NEW] * 3, "and the one that is behind is not, later"


@pytest.mark.parametrize("left", range(3))
def test_the_last_that_answers_is_believed(left: int) -> None:
    net = Net()
    net.find()
    net.say(*(NEW if nth == left else None for nth in range(3)))
    assert net.find() == NEW
    assert net.changes == [NEW]


def test_while_none_answers_the_known_address_stays() -> None:
    net = Net()
    net.find()
    net.say(None, None, None)
    assert net.find() == OLD
    assert net.changes == []


def test_without_any_the_reason_of_each_is_told() -> None:
    net = Net()
    net.say(None, None, OLD)
    net.servers[NAMES[2]].special = lambda command: b"*-1\r\n"
    problem = net.find()
    assert isinstance(problem, StoreError)
    for text in ("s0:26379", "s1:26379", "s2:26379: knows no master called 'm'"):
        assert text in str(problem)


def test_one_that_is_silent_costs_a_second() -> None:
    net = Net()
    net.find()
    net.servers[NAMES[2]].silent = True
    assert net.find() == OLD


@pytest.mark.parametrize(
    "reply", [b"+OK\r\n", b":1\r\n", b"*1\r\n$1\r\na\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"-ERR no\r\n"]
)
def test_odd_answers_are_none(reply: bytes) -> None:
    net = Net()
    net.find()
    net.servers[NAMES[2]].special = lambda command: reply
    assert net.find() == OLD


def test_watching_finds_a_change_by_itself_and_ends() -> None:
    net = Net()
    net.find()
    net.endpoint.start()
    net.say(NEW, NEW, NEW)
    for _ in range(40):
        net.clock.advance(0.05)
    assert net.changes == [NEW]
    net.endpoint.stop()
    before = net.asked
    for _ in range(100):
        net.clock.advance(0.05)
    assert net.asked == before
    assert net.clock.getDelayedCalls() == []
