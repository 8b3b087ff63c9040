"""The bus on one Redis: silence, refusals and messages that were not taken, on a clock of our own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
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
from caching_proxy.rules.ledger import UNKNOWN, merged, published
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.bus import (
    CHECK_SECONDS,
    FORBIDDEN_SECONDS,
    PING_SECONDS,
    RETRY_SECONDS,
    RedisBus,
    Subscription,
)
from caching_proxy.store.redis.connection import pack
from caching_proxy.store.redis.errors import Forbidden
from caching_proxy.store.redis.ledger import LEDGER, Words
from caching_proxy.store.redis.ledger_calls import Marked, Since

CHANNEL = b"cachingproxy:invalidations:0"
X, Y, Z = (Invalidation(targets=(target,)) for target in (b"/x", b"/y", b"/z"))


class Transport(StringTransport):
    """Aborting ends it at once."""

    protocol: Subscription

    def abortConnection(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Server:
    """Is endpoint, store and pool at once, and keeps a ledger."""

    def __init__(self) -> None:
        self.connections: list[Transport] = []
        self.trouble: StoreError | None = None
        self.pool = self
        self.on_marked: Callable[[Marked], object] = lambda marked: None
        self.entries = [b"0:new "]
        self.words = itertools.count()
        self.forgotten = 0
        self.reads = 0
        self.held: list[Callable[[], None]] | None = None

    def connect(self, factory: Any) -> Deferred[Any]:
        connection = factory.buildProtocol(None)
        transport = Transport()
        transport.protocol = connection
        connection.makeConnection(transport)
        self.connections.append(transport)
        return succeed(connection)

    @property
    def newest(self) -> bytes:
        return self.entries[-1].partition(b" ")[0]

    def enter(self, origin: bytes, invalidation: Invalidation) -> bytes:
        """What is published of it."""
        previous = self.newest
        self.entries.append(b"%d:%d " % (len(self.entries), next(self.words)) + encode(origin, invalidation))
        return previous + b" " + self.entries[-1]

    def execute(self, call: Any) -> Deferred[Any]:
        self.reads += 1
        if self.trouble is not None:
            return fail(self.trouble)
        if not isinstance(call, Since):
            assert call.payload(None) == pack(b"HGET", LEDGER, b"last")
            return succeed(self.newest)
        known = call.parts(None)[3]  # type: ignore[arg-type]
        places = [at for at, entry in enumerate(self.entries) if entry.startswith(known + b" ")]
        log = self.entries[places[0] :] if places and places[0] >= self.forgotten and known != self.newest else []
        answer = call.told([self.newest, *log])
        if self.held is None:
            return succeed(answer)
        late: Deferred[Any] = Deferred()
        self.held.append(lambda: late.callback(answer))
        return late

    def says(self, data: bytes) -> None:
        self.connections[-1].protocol.dataReceived(data)


class Bus:
    def __init__(self) -> None:
        self.clock, self.server = Clock(), Server()
        topology = parse_cache_url("redis://redis.test")
        assert isinstance(topology, RedisTopology)
        self.bus = RedisBus(self.clock, topology, self.server, self.server, Words(b"me", 0), 5.0)  # type: ignore[arg-type]
        self.heard: list[object] = []
        self.bus.start(self.heard.append, lambda: self.heard.append("flush"))
        assert (self.heard, self.bus.seen) == ([], self.server.newest), "nobody has invalidated anything yet"

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
    for message in [rig.server.enter(b"other", X), rig.server.enter(b"me", Y)]:
        rig.message(message)
    assert (rig.heard, rig.bus.seen) == ([X], rig.server.newest)
    rig.message(b"?")
    assert rig.heard == [X, EVERYTHING]
    assert (rig.bus.received, rig.bus.gaps, rig.bus.flushes, rig.bus.subscribed) == (2, 0, 0, True)


def test_what_follows_upon_what_was_seen_needs_no_look_at_the_ledger(rig: Bus) -> None:
    rig.subscribe()
    reads = rig.server.reads
    for _ in range(10):
        rig.message(rig.server.enter(b"other", X))
    assert (rig.heard, rig.server.reads, rig.bus.seen) == ([X] * 10, reads, rig.server.newest)


def test_a_gap_is_filled_from_the_ledger(rig: Bus) -> None:
    rig.subscribe()
    rig.server.enter(b"other", X)
    rig.server.enter(b"me", Y)
    rig.message(rig.server.enter(b"other", Z))
    assert {each for heard in rig.heard for each in heard.targets} == {b"/x", b"/z"}  # type: ignore[attr-defined]
    assert (rig.bus.seen, rig.bus.flushes) == (rig.server.newest, 0)


def test_a_loss_is_made_up_from_the_ledger(rig: Bus) -> None:
    rig.subscribe()
    rig.server.connections[-1].abortConnection()
    assert not rig.bus.subscribed
    rig.server.enter(b"other", X)
    rig.clock.advance(RETRY_SECONDS)
    assert rig.heard == []
    rig.subscribe()
    assert (rig.heard, rig.bus.gaps, rig.bus.flushes) == ([X], 1, 0)


def test_a_message_that_never_comes_is_missed_for_no_longer_than_a_check_takes_to_come(rig: Bus) -> None:
    rig.subscribe()
    rig.server.enter(b"other", X)
    rig.clock.advance(CHECK_SECONDS)
    assert rig.heard == [X]


def test_where_the_ledger_does_not_reach_back_nothing_is_trusted(rig: Bus) -> None:
    rig.subscribe()
    for _ in range(3):
        rig.server.enter(b"other", X)
    rig.server.forgotten = 2
    rig.clock.advance(CHECK_SECONDS)
    assert (rig.heard, rig.bus.flushes, rig.bus.seen) == (["flush"], 1, rig.server.newest)


def test_a_ledger_that_began_anew_is_another(rig: Bus) -> None:
    rig.subscribe()
    rig.message(rig.server.enter(b"other", X))
    rig.server.entries = [b"0:again "]
    rig.message(rig.server.enter(b"other", Y))
    assert (rig.heard, rig.bus.seen) == ([X, Y, "flush"], rig.server.newest)


def test_messages_that_overtake_a_look_at_the_ledger(rig: Bus) -> None:
    rig.subscribe()
    rig.server.held = []
    rig.clock.advance(CHECK_SECONDS)
    rig.message(rig.server.enter(b"other", X))
    rig.message(rig.server.enter(b"other", Y))
    rig.server.held.pop()()
    assert (rig.heard, rig.bus.flushes, rig.bus.seen) == ([X, Y], 0, rig.server.newest)


def test_messages_that_come_after_the_ledger_told_the_same(rig: Bus) -> None:
    rig.subscribe()
    late = [rig.server.enter(b"other", each) for each in (X, Y)]
    rig.clock.advance(CHECK_SECONDS)
    reads = rig.server.reads
    for message in late:
        rig.message(message)
    assert (rig.heard, rig.server.reads) == ([merged([X, Y])], reads)


def test_our_own_entry_brings_us_on_if_nothing_is_between(rig: Bus) -> None:
    rig.subscribe()
    entry = published(rig.server.enter(b"me", X))
    rig.server.on_marked(Marked(entry.previous, entry.mark, ""))
    assert (rig.bus.seen, rig.bus.sent) == (entry.mark, 1)
    rig.server.enter(b"other", Y)
    entry = published(rig.server.enter(b"me", X))
    rig.server.on_marked(Marked(entry.previous, entry.mark, ""))
    assert (rig.bus.seen, rig.heard) == (b"1:0", [])
    rig.bus.catch_up()
    assert (rig.bus.seen, rig.heard) == (entry.mark, [Y])


def test_all_who_wait_for_the_ledger_share_one_look(rig: Bus) -> None:
    rig.server.held = []
    reads, told = rig.server.reads, []
    for _ in range(3):
        rig.bus.catch_up().addCallback(told.append)
    rig.server.held.pop()()
    assert (rig.server.reads - reads, told) == (1, [None] * 3)


def test_a_server_that_does_not_answer_is_asked_again(rig: Bus) -> None:
    rig.subscribe()
    rig.server.trouble = StoreError("down")
    failed: list[Failure] = []
    rig.bus.catch_up().addErrback(failed.append)
    assert failed
    rig.clock.advance(CHECK_SECONDS)
    rig.server.enter(b"other", X)
    rig.server.trouble = None
    rig.clock.advance(CHECK_SECONDS)
    assert rig.heard == [X]


def test_without_the_right_to_the_ledger_there_is_no_order_and_a_loss_empties_memory(rig: Bus) -> None:
    rig.subscribe()
    rig.server.trouble = Forbidden("NOPERM")
    rig.clock.advance(CHECK_SECONDS)
    assert rig.bus.seen is None
    rig.message(rig.server.enter(b"other", X))
    reads = rig.server.reads
    rig.server.connections[-1].abortConnection()
    rig.clock.advance(RETRY_SECONDS)
    rig.subscribe()
    assert (rig.heard, rig.server.reads) == ([X, "flush"], reads)
    rig.server.trouble = None
    rig.clock.advance(FORBIDDEN_SECONDS)
    assert (rig.bus.seen, rig.heard) == (rig.server.newest, [X, "flush", "flush"])


@pytest.mark.parametrize("message", [encode(b"other", X), b"1:x 2:y"])
def test_a_message_of_another_release(rig: Bus, message: bytes) -> None:
    rig.subscribe()
    rig.message(message)
    assert (rig.heard, rig.bus.seen != UNKNOWN) == ([X if message.startswith(b"{") else EVERYTHING], True)


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


def test_that_nobody_could_be_told_is_said_once(rig: Bus) -> None:
    warnings: list[str] = []
    rig.bus._log = SimpleNamespace(warn=lambda text, how, why: warnings.append(why))  # type: ignore[assignment]
    for _ in range(2):
        entry = published(rig.server.enter(b"me", X))
        rig.server.on_marked(Marked(entry.previous, entry.mark, "NOPERM"))
    assert (warnings, rig.bus.sent, rig.bus.seen) == (["NOPERM"], 0, rig.server.newest)


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


def test_a_bug_that_keeps_it_from_subscribing_is_logged(
    rig: Bus, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    """It was silent: proxies heard of each other a second late, and nobody knew why."""
    monkeypatch.delattr(Subscription, "subscribe")
    rig.log_in()
    assert not rig.bus.subscribed
    [line] = logged_errors.flush()
    assert "AttributeError" in line
