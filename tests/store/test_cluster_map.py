"""When the map of slots is asked for, and of whom; on servers in memory."""

from __future__ import annotations

from typing import Any

import pytest
from support.redis_in_memory import Server, outcome
from twisted.internet.task import Clock

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.store_topology import Address, ClusterTopology, RedisTopology
from caching_proxy.store.redis.cluster_map import PAUSE_SECONDS, ClusterMap
from caching_proxy.store.redis.slots import STEP

SEED, A, B = ("seed", 1), ("a", 1), ("b", 1)


def slots(*nodes: Address) -> bytes:
    """The reply to CLUSTER SLOTS: the slots shared among ``nodes``."""
    each = 16384 // len(nodes)
    reply = b"*%d\r\n" % len(nodes)
    for nth, (host, port) in enumerate(nodes):
        reply += b"*3\r\n:%d\r\n:%d\r\n*3\r\n" % (nth * each, nth * each + each - 1)
        reply += b"$%d\r\n%b\r\n:%d\r\n$2\r\nid\r\n" % (len(host), host.encode(), port)
    return reply


class Net:
    def __init__(self) -> None:
        self.clock = Clock()
        self.servers = {address: Server() for address in (SEED, A, B)}
        self.say(slots(A, B))
        for server in self.servers.values():
            server.clock = self.clock
        self.map = ClusterMap(self.clock, ClusterTopology((SEED,)), self.reach, 5.0)
        self.changes: list[tuple[Address, ...]] = []
        self.map.changed.append(lambda known: self.changes.append(known.masters))

    def reach(self, server: RedisTopology) -> Server:
        return self.servers[server.host, server.port]

    def say(self, reply: bytes, *who: Address) -> None:
        for address in who or tuple(self.servers):
            self.servers[address].special = lambda command: reply

    def settle(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            self.clock.advance(0)

    def refresh(self) -> list[Any]:
        results = outcome(self.map.refresh())
        self.settle()
        return results

    @property
    def asked(self) -> dict[Address, int]:
        return {address: server.attempts for address, server in self.servers.items() if server.attempts}


def test_the_seed_is_asked_and_then_the_masters_in_turn() -> None:
    net = Net()
    assert net.refresh() == [None]
    assert net.asked == {SEED: 1}
    for _ in range(4):
        net.settle(PAUSE_SECONDS)
        net.refresh()
    assert net.asked == {SEED: 1, A: 2, B: 2}
    assert net.changes == [(A, B)]


@pytest.mark.slow
def test_many_at_once_and_soon_after_ask_once() -> None:
    net = Net()
    many = [outcome(net.map.refresh()) for _ in range(100)]
    net.settle()
    assert many == [[None]] * 100
    assert net.refresh() == [None]
    assert net.asked == {SEED: 1}


def test_a_node_that_is_down_silent_or_no_longer_one_is_passed_over() -> None:
    net = Net()
    net.refresh()
    for spoil in (lambda: setattr(net.servers[A], "down", True), lambda: net.say(b"*0\r\n", A)):
        spoil()
        net.settle(PAUSE_SECONDS)
        assert net.refresh() == [None]
    net.servers[B].silent = True
    net.settle(PAUSE_SECONDS)
    results = outcome(net.map.refresh())
    for _ in range(3):
        net.settle(1.0)
    assert results == [None], "by the seed"


def test_when_nobody_tells_the_reason_of_each_is_one_line_until_it_is_well(logged_lines: list[tuple[str, str]]) -> None:
    net = Net()
    net.say(b"-WRONGPASS no\r\n")
    for _ in range(3):
        (problem,) = net.refresh()
        assert isinstance(problem, StoreError)
        assert str(problem) == "cannot read the slots of redis+cluster://seed:1: seed:1: WRONGPASS no"
        net.settle(PAUSE_SECONDS)
    net.say(slots(A))
    assert net.refresh() == [None]
    assert [text for _, text in logged_lines] == [str(problem), "the slots of redis+cluster://seed:1 are known again"]


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"*1\r\n:1\r\n", b"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n"])
def test_odd_answers_are_none(reply: bytes) -> None:
    net = Net()
    net.say(reply)
    (problem,) = net.refresh()
    assert isinstance(problem, StoreError)


def test_whoever_gives_up_waiting_stops_nobody_else() -> None:
    net = Net()
    first, second = net.map.refresh(), net.map.refresh()
    given_up, done = outcome(first), outcome(second)
    first.cancel()
    net.settle()
    assert len(given_up) == 1
    assert done == [None]


def test_stopping_ends_a_question_under_way() -> None:
    net = Net()
    net.servers[SEED].silent = True
    waiting = outcome(net.map.refresh())
    net.map.stop()
    net.settle()
    assert isinstance(waiting[0], StoreError)
    assert isinstance(net.refresh()[0], StoreError), "and no other is asked"
    assert net.asked == {SEED: 1}
    assert net.clock.getDelayedCalls() == []


def test_one_that_is_read_anew_is_not_of_before() -> None:
    from twisted.internet.defer import Deferred

    net = Net()
    net.refresh()
    net.say(slots(B, A))
    done = outcome(Deferred.fromCoroutine(net.map.read_anew()))
    net.settle()
    assert done == [None]
    assert net.map.slots.owners[0] == B


def test_a_map_in_pieces_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    net.say(slots(*(A, B) * 8192))
    later, turns = net.clock.callLater, list[float]()

    def counted(delay: float, *call: Any, **named: Any) -> Any:
        turns.append(delay)
        return later(delay, *call, **named)

    monkeypatch.setattr(net.clock, "callLater", counted)
    assert net.refresh() == [None]
    assert turns.count(0) > 16384 // STEP
    assert net.map.slots.owners[:4] == (A, B, A, B)
