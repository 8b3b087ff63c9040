"""Two whole caches on real servers, raced by seed: fills against invalidations elsewhere, while something breaks.

In one process, so that a race takes milliseconds: the caches, stores, buses and servers are the real ones, only clients
and backend have no sockets. A round is over when all that was begun has ended; then nothing from before the
invalidation may be stored or answered, whoever made it, and whatever was lost on the way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from support.memory_proxy import Exchange, Roles
from support.redis_cluster import Migration, RedisCluster
from support.redis_server import RedisError, RedisServer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.build import CacheConfig, Surroundings, build_cache
from caching_proxy.cache.requests import ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import IStore, IUpstream, StoreError
from caching_proxy.rules.codec import decode
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.redis.fences import fence_of
from caching_proxy.store.redis.slots import name_of, slot_of
from caching_proxy.testing import FakeUpstream, Reply

TARGETS = tuple(b"/race/%d" % nth for nth in range(6))
ROLES = (b"anonymous", b"editor")
WAYS = ("target", "key", "pattern", "tag")
SPREAD = 0.004
"""Seconds over which what belongs to a round begins."""

PATIENCE = 0.2
"""Seconds for which a command is waited for; a write whose connection is lost counts as under way for so long."""


class Wrong(AssertionError):
    """Something old was answered or stored."""


def key_of(target: bytes, role: bytes) -> bytes:
    return b"cache:GET:%b:%b" % (role, target)


class Game:
    """``ways`` are those of invalidating; ``faults`` are called with the game and the target of a round, at a random
    moment of it, each in ``often`` of all rounds."""

    def __init__(
        self,
        url: str,
        servers: Sequence[RedisServer],
        seed: int,
        faults: Sequence[Fault] = (),
        often: float = 0.1,
        ways: Sequence[str] = WAYS,
    ) -> None:
        self.random = Random(seed)
        self.servers = servers
        self.versions = dict.fromkeys(TARGETS, 1)
        self.rounds = self.overtaken = 0
        self._faults = faults
        self._often = often
        self._ways = ways
        self.log = ""
        self.proxies = [Proxy(self, url, name) for name in (b"a", b"b")]
        self.onlooker = build_store(reactor, url, StoreConfig(pool_min=1))

    async def start(self) -> None:
        await self.onlooker.start()
        for proxy in self.proxies:
            await proxy.start()

    async def stop(self) -> None:
        for proxy in self.proxies:
            await proxy.stop()
        await self.onlooker.stop()

    async def play(self, rounds: int) -> None:
        for _ in range(rounds):
            await self._round()
            self.rounds += 1

    def soon(self, begin: Callable[[], Any]) -> Deferred[Any]:
        """``begin`` at a random moment of the round; what it gives when that has come."""

        def go() -> Any:
            begun = begin()
            return Deferred.fromCoroutine(begun) if isinstance(begun, Coroutine) else begun

        return deferLater(reactor, self.random.random() * SPREAD, go)

    async def _round(self) -> None:
        random, target = self.random, self.random.choice(TARGETS)
        changes, way = random.choice(self.proxies), random.choice(self._ways)
        begun = [self.soon(lambda: changes.change(target, way))]
        asking = [proxy for proxy in self.proxies for _ in range(random.choice((0, 1, 1, 2)))]
        begun += [self.soon(lambda proxy=proxy: proxy.get(target, random.choice(ROLES))) for proxy in asking]
        faults = [fault for fault in self._faults if random.random() < self._often]
        begun += [self.soon(lambda fault=fault: fault(self, target)) for fault in faults]
        self.log = f"round {self.rounds}, {way} by {changes.name!r} amid {[fault.__name__ for fault in faults]}"
        await gatherResults(begun, consumeErrors=True)
        for proxy in self.proxies:
            await proxy.at_rest()
        await self._check(target)

    async def _check(self, target: bytes) -> None:
        least = self.versions[target]
        for role in ROLES:
            stored = await insisting(lambda role=role: self.onlooker.lookup(key_of(target, role)))
            for value in stored.variants.values() if stored is not None else ():
                found = int(decode(value, key_of(target, role)).body)
                if found < least:
                    raise Wrong(f"{target!r} of {role!r} is {found} in the store, not {least}; {self.log}")
        for proxy in self.proxies:
            await insisting(proxy.bus.catch_up)
            answered = await proxy.get(target, random_role(self.random))
            if answered < least:
                raise Wrong(f"{proxy.name!r} answered {answered} for {target!r}, not {least}; {self.log}")
            await proxy.at_rest()


Fault = Callable[[Game, bytes], Any]


def random_role(random: Random) -> bytes:
    return random.choice(ROLES)


async def insisting(ask: Callable[[], Deferred[Any]]) -> Any:
    """The answer, in spite of faults."""
    for _ in range(200):
        try:
            return await ask()
        except StoreError:
            await deferLater(reactor, 0.02)
    return await ask()


@implementer(IUpstream)
class Upstream(FakeUpstream):
    """Reads what it answers at one moment, and gives it at another."""

    def __init__(self, game: Game) -> None:
        super().__init__(self._read)
        self._game = game

    def _read(self, head: RequestHead, body: bytes) -> Reply:
        fields = [(b"Date", format_date(reactor.seconds())), (b"Cache-Control", b"max-age=600")]  # type: ignore[attr-defined]
        fields += [(b"Vary", b"X-Nothing"), (b"Surrogate-Key", b"all" + head.target.replace(b"/", b"-"))]
        return Reply(fields=fields, body=b"%d" % self._game.versions[head.target])

    def fetch(self, *args: Any, **named: Any) -> Deferred[Any]:
        fetched = self._game.soon(lambda: FakeUpstream.fetch(self, *args, **named))
        return fetched.addCallback(lambda answer: self._game.soon(lambda: answer))


class Proxy:
    """One cache, its store and its bus."""

    def __init__(self, game: Game, url: str, name: bytes) -> None:
        self.name = name
        self._game = game
        store_config = StoreConfig(pool_min=1, origin=name, breaker_threshold=1 << 30, command_timeout=PATIENCE)
        self.store: IStore = build_store(reactor, url, store_config)
        bus = build_bus(reactor, url, self.store, store_config)
        assert bus is not None
        self.bus = bus
        config = CacheConfig(
            policy=CachePolicy(default_ttl=0),
            keys=KeyPolicy(),
            name=None,
            hot_entries=100,
            hot_bytes=1 << 20,
            hot_seconds=600.0,
            burst_entries=100,
            burst_bytes=1 << 20,
            burst_seconds=600.0,
            flight_seconds=60.0,
            salt=b"",
        )
        route = BackendRoute(Upstream(game), b"backend.test", b"http://backend.test", b"", b"caching-proxy")
        around = Surroundings(store=self.store, verifier=Roles(), route=route, rules=lambda: (), clock=reactor, bus=bus)
        self.cache = build_cache(config, around)

    async def start(self) -> None:
        await self.store.start()
        self.bus.start(self.cache.invalidator.carried_out_elsewhere, self.cache.invalidator.forget)
        await insisting(self.bus.catch_up)

    async def stop(self) -> None:
        self.cache.invalidator.stop()
        await self.bus.stop()
        await self.store.stop()

    def get(self, target: bytes, role: bytes) -> Deferred[int]:
        """The version that is answered."""
        lines = [(b"Host", b"p")]
        if role != b"anonymous":
            lines.append((b"Authorization", b"role " + role))
        handled = self.cache.pipeline.handle(
            ClientRequest(RequestHead(b"GET", target, Fields(lines)), Body.of(b""), b"192.0.2.7", b"r")
        )
        return Deferred.fromCoroutine(_read(handled if isinstance(handled, Deferred) else succeed(handled)))

    async def change(self, target: bytes, way: str) -> None:
        """The backend has something else, and it is invalidated here; over when that is carried out."""
        self._game.versions[target] += 1
        invalidator, done = self.cache.invalidator, []
        if way == "target":
            invalidator.invalidate_target(target, done.append)
        elif way == "tag":
            invalidator.invalidate_tags([b"all" + target.replace(b"/", b"-")]).addErrback(done.append)
        elif way == "pattern":
            invalidator.invalidate(b"cache:*:" + target).addErrback(done.append)
        else:
            for role in ROLES:
                invalidator.invalidate(key_of(target, role)).addErrback(done.append)
        await self._carried_out()

    async def _carried_out(self) -> None:
        for _ in range(200):
            if not self.cache.invalidator.pending:
                return
            await self.cache.invalidator.settled()
            if self.cache.invalidator.pending:
                await deferLater(reactor, 0.02)
        raise Wrong("an invalidation was never carried out")

    async def at_rest(self) -> None:
        await self.cache.writer.drain()
        await self._carried_out()


async def _read(work: Deferred[Any]) -> int:
    exchange = Exchange(work, read=True)
    while exchange.answer is None:
        if exchange.failure is not None:
            exchange.failure.raiseException()
        await deferLater(reactor, 0.0005)
    return int(exchange.answer.body)


# -- what breaks


def lost_subscriptions(game: Game, target: bytes) -> None:
    for server in game.servers:
        server.cli("CLIENT", "KILL", "TYPE", "pubsub")


def lost_connections(game: Game, target: bytes) -> None:
    game.random.choice(game.servers).cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def a_pause(game: Game, target: bytes) -> None:
    game.random.choice(game.servers).cli("CLIENT", "PAUSE", 15, game.random.choice(("ALL", "WRITE")))


def an_emptied_server(game: Game, target: bytes) -> None:
    game.random.choice(game.servers).cli("FLUSHALL")


def slot(target: bytes) -> int:
    return slot_of(name_of(key_of(target, b"anonymous")))


def a_lost_fence(game: Game, target: bytes) -> None:
    for server in game.servers:
        with contextlib.suppress(RedisError):  # another one has it
            server.cli("UNLINK", fence_of(slot(target)))


def moving(cluster: RedisCluster) -> Fault:
    """The slot of the target moves to another master, in three steps at three moments."""

    async def move(game: Game, target: bytes) -> None:
        number = slot(target)
        source = cluster.owner(number)
        others = [server for server in cluster.servers if server is not source]
        migration = Migration(cluster, number, source, game.random.choice(others))
        migration.begin()
        names = migration.names()
        game.random.shuffle(names)
        for name in names:
            await game.soon(lambda name=name: migration.move(name))
        await game.soon(lambda: None)
        while names := migration.names():
            migration.move(*names)
        migration.end()

    return move
