"""The bus on one Redis: silence, refusals and messages that were not taken, on a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.bus_message import EVERYTHING, Invalidation, encode
from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.bus import FORBIDDEN_SECONDS, PING_SECONDS, RETRY_SECONDS, RedisBus, Subscription
from caching_proxy.store.redis.connection import pack
from caching_proxy.store.redis.errors import Forbidden

CHANNEL = b"cachingproxy:invalidations:0"
X = Invalidation(targets=(b"/x",))


class Transport(StringTransport):
    """Aborting ends it at once."""

    protocol: Subscription

    def abortConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Server:
    """Is endpoint and pool at once."""

    def __init__(self) -> None:
        self.connections: list[Transport] = []
        self.trouble: StoreError | None = None
        self.published: list[bytes] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        connection = factory.buildProtocol(None)
        transport = Transport()
        transport.protocol = connection
        connection.makeConnection(transport)
        self.connections.append(transport)
        return succeed(connection)

    def execute(self, call: Any) -> Deferred[Any]:
        if self.trouble is not None:
            return fail(self.trouble)
        self.published.append(call.payload(None))
        return succeed(call.read([1]))

    def says(self, data: bytes) -> None:
        self.connections[-1].protocol.dataReceived(data)


class Bus:
    def __init__(self) -> None:
        self.clock, self.server = Clock(), Server()
        topology = parse_cache_url("redis://redis.test")
        assert isinstance(topology, RedisTopology)
        self.bus = RedisBus(self.clock, topology, self.server, self.server, 5.0, b"me")  # type: ignore[arg-type]
        self.heard: list[object] = []
        self.bus.start(self.heard.append, lambda: self.heard.append("gap"))

    def log_in(self) -> None:
        self.server.says(b"*2\r\n$1\r\n0\r\n$1\r\n0\r\n")

    def subscribe(self) -> None:
        self.log_in()
        self.server.says(b"*3\r\n$9\r\nsubscribe\r\n$28\r\n" + CHANNEL + b"\r\n:1\r\n")

    def message(self, content: bytes) -> None:
        self.server.says(pack(b"message", CHANNEL, content))


@pytest.fixture
def rig() -> Iterator[Bus]:
    rig = Bus()
    yield rig
    rig.bus.stop()
    for part in (*rig.server.connections, rig.bus):  # circles, which other tests look for
        vars(part).clear()


def test_hears_others_and_not_itself(rig: Bus) -> None:
    rig.subscribe()
    rig.message(encode(b"other", X))
    rig.message(encode(b"me", X))
    rig.message(b"?")
    assert rig.heard == [X, EVERYTHING]
    assert (rig.bus.received, rig.bus.gaps, rig.bus.subscribed) == (2, 0, True)


def test_a_loss_is_a_gap(rig: Bus) -> None:
    rig.subscribe()
    rig.server.connections[-1].abortConnection()
    assert not rig.bus.subscribed
    rig.clock.advance(RETRY_SECONDS)
    rig.subscribe()
    assert (rig.heard, rig.bus.gaps) == (["gap"], 1)


@pytest.mark.parametrize("subscribed", [True, False])
def test_a_silent_connection_is_given_up(rig: Bus, subscribed: bool) -> None:
    (rig.subscribe if subscribed else rig.log_in)()
    rig.clock.advance(PING_SECONDS)
    rig.clock.advance(PING_SECONDS)
    rig.clock.advance(RETRY_SECONDS)
    assert len(rig.server.connections) == 2


@pytest.mark.parametrize("pong", [b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", b"-NOPERM no permissions to run 'ping'\r\n"])
def test_any_answer_to_a_ping_is_a_sign_of_life(rig: Bus, pong: bytes) -> None:
    rig.subscribe()
    for _ in range(3):
        rig.clock.advance(PING_SECONDS)
        assert rig.server.connections[-1].value().endswith(pack(b"PING"))
        rig.server.says(pong)
    assert (len(rig.server.connections), rig.bus.subscribed) == (1, True)


def test_a_refusal_is_not_argued_with(rig: Bus) -> None:
    rig.log_in()
    rig.server.says(b"-NOPERM this user has no permissions to run the 'subscribe' command\r\n")
    rig.clock.advance(FORBIDDEN_SECONDS - 1)
    assert len(rig.server.connections) == 1
    rig.clock.advance(1)
    rig.subscribe()
    assert rig.bus.subscribed


def test_a_message_that_was_not_taken_is_made_good(rig: Bus) -> None:
    rig.server.trouble = StoreError("down")
    rig.bus.publish(X)
    rig.bus.publish(X)
    rig.clock.advance(RETRY_SECONDS)
    assert rig.server.published == []
    rig.server.trouble = None
    rig.clock.advance(RETRY_SECONDS)
    assert rig.server.published == [pack(b"PUBLISH", CHANNEL, encode(b"me", EVERYTHING))]
    rig.bus.publish(X)
    assert (len(rig.server.published), rig.bus.sent) == (2, 2)


def test_a_forbidden_message_is_not_repeated(rig: Bus) -> None:
    rig.server.trouble = Forbidden("NOPERM")
    rig.bus.publish(X)
    rig.server.trouble = None
    rig.clock.advance(RETRY_SECONDS)
    assert rig.server.published == []


@pytest.mark.parametrize("stage", ["connecting", "subscribed", "waiting"])
def test_nothing_is_left_after_the_end(rig: Bus, stage: str) -> None:
    if stage != "connecting":
        rig.subscribe()
    if stage == "waiting":
        rig.server.connections[-1].abortConnection()
    ended: list[object] = []
    rig.bus.stop().addCallback(ended.append)
    rig.clock.pump([1] * 100)
    assert (ended, len(rig.server.connections), rig.clock.getDelayedCalls()) == ([None], 1, [])
