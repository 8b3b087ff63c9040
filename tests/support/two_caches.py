"""Two whole caches on one scripted store, in an order that a seed chooses, against a model of what they may answer.

Every command is carried out at one moment and answered at a later one; connections break before or after it took
effect; messages are late, and lost when a subscription breaks; the server is emptied. The caches, with all that they
consist of, and what follows the ledger are the real ones; the server does what the scripts do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from support.memory_proxy import START, Exchange, Roles
from support.two_caches_store import Server, Upstream, now
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.build import CacheConfig, Surroundings, build_cache
from caching_proxy.cache.requests import ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.codec import decode
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.ledger import UNKNOWN, number_of
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.store.memory import MemoryStore
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Marked

TARGETS = (b"/x", b"/y")
LEDGER_LENGTH = 6


class Wrong(AssertionError):
    """Something old was answered or stored."""


class World:
    """What happens, one event after the other; ``seed`` decides which of those that may happen is next."""

    def __init__(self, seed: int, *, since_matters: bool = True) -> None:
        self.random = Random(seed)
        self.since_matters = since_matters
        self.clock = Clock()
        self.clock.advance(START)
        self.data = MemoryStore(self.clock)
        self.ledger: list[bytes] = []
        self.first = 0  # the number of the oldest entry
        self.history: dict[bytes, int] = {}  # every mark there ever was, in order
        self.versions = dict.fromkeys(TARGETS, 1)  # what the backend answers now
        self.promised = dict.fromkeys(TARGETS, 0)  # nothing older may be in the store
        self.acknowledged: list[tuple[int, bytes, int]] = []  # place in the history, target, version
        self.events: list[Callable[[], object]] = []
        self.log: list[str] = []
        self.calm = False
        self.proxies = [Proxy(self, name) for name in (b"a", b"b")]
        for proxy in self.proxies:
            proxy.start()

    def later(self, event: Callable[[], object]) -> None:
        self.events.append(event)

    def chance(self, part: float) -> bool:
        return not self.calm and self.random.random() < part

    def step(self) -> None:
        """One of those that may happen, happens."""
        self.clock.advance(0.001)
        if self.events:
            self.events.pop(self.random.randrange(len(self.events)))()
        self.check()

    def settle(self) -> None:
        """Nothing breaks any more, and all that is begun ends."""
        self.calm = True
        for proxy in self.proxies:
            proxy.subscribed = True
            proxy.follower.catch_up().addErrback(lambda failure: failure.trap(StoreError))
        for _ in range(3000):
            if not self.events:
                self.clock.advance(1)
                if not self.events:
                    break
            self.step()
        else:
            raise Wrong("it never comes to rest")
        for proxy in self.proxies:
            proxy.follower.catch_up()
        while self.events:
            self.step()
        for proxy in self.proxies:
            if proxy.cache.invalidator.pending:
                raise Wrong("an invalidation was never carried out")
            if proxy.follower.seen != self.newest:
                raise Wrong(f"{proxy.name!r} never caught up")

    # -- the server

    @property
    def newest(self) -> bytes | None:
        return self.ledger[-1].partition(b" ")[0] if self.ledger else None

    def enter(self, entry: bytes) -> None:
        self.ledger.append(entry)
        mark = entry.partition(b" ")[0]
        self.history[mark] = len(self.history)
        while len(self.ledger) > LEDGER_LENGTH:
            self.ledger.pop(0)
            self.first += 1

    def mark(self, words: Words, invalidation: Invalidation) -> Marked:
        _, word, message = words.arguments(invalidation)
        previous = self.newest or b""
        number = max(number_of(previous), 0) + 1
        if not self.ledger:
            self.first = number
        mark = b"%d:%b" % (number, word)
        self.enter(mark + b" " + message)
        for proxy in self.proxies:
            if proxy.subscribed:
                proxy.publish(previous + b" " + mark + b" " + message)
        return Marked(previous, mark, "")

    def since(self, known: bytes, word: bytes) -> list[bytes | None]:
        if not self.ledger:
            self.first = 0
            self.enter(b"0:" + word + b" ")
        newest = self.newest
        assert newest is not None
        start, end = number_of(known), number_of(newest)
        if known == newest or not 0 <= start < end or end - start >= LEDGER_LENGTH:
            return [newest]
        entries = [self.ledger[n - self.first] if n >= self.first else None for n in range(start, end + 1)]
        return [newest, *entries]

    def flush(self) -> None:
        self.data = MemoryStore(self.clock)
        self.ledger.clear()

    # -- what must hold

    def check(self) -> None:
        for target, version in self.promised.items():
            key = b"cache:GET:anonymous:" + target
            for value in now(self.data.lookup(key)).variants.values() if now(self.data.lookup(key)) else ():
                if int(decode(value, key).body) < version:
                    raise Wrong(f"{target!r} is {decode(value, key).body!r} in the store, after {version}")
        for proxy in self.proxies:
            for target in TARGETS:
                proxy.check_memory(target)


class Proxy:
    """One cache, and what it has heard."""

    def __init__(self, world: World, name: bytes) -> None:
        self.world = world
        self.name = name
        self.subscribed = True
        self._coming: list[bytes] = []
        words = Words(name, 0)
        self.server = Server(world, words)
        self.follower = Follower(self.server, words)  # type: ignore[arg-type]
        self.server.on_marked = self.follower.marked
        self._own = dict.fromkeys(TARGETS, 0)  # what was acknowledged here
        config = CacheConfig(
            policy=CachePolicy(default_ttl=0),
            keys=KeyPolicy(),
            name=None,
            hot_entries=10,
            hot_bytes=1 << 20,
            hot_seconds=600.0,
            burst_entries=10,
            burst_bytes=1 << 20,
            burst_seconds=600.0,
            flight_seconds=60.0,
            salt=b"",
        )
        route = BackendRoute(Upstream(world), b"backend.test", b"http://backend.test", b"", b"caching-proxy")
        around = Surroundings(
            store=self.server,
            verifier=Roles(),
            route=route,
            rules=lambda: (),
            clock=world.clock,
            bus=self.follower,  # type: ignore[arg-type]
        )
        self.cache = build_cache(config, around)

    def start(self) -> None:
        self.follower.start(self.cache.invalidator.carried_out_elsewhere, self.cache.invalidator.forget)
        self.look()

    def look(self) -> None:
        self.follower.catch_up().addErrback(lambda failure: failure.trap(StoreError))

    def publish(self, payload: bytes) -> None:
        self._coming.append(payload)
        self.world.later(self._hear)

    def _hear(self) -> None:
        """In order; nothing where the subscription was lost meanwhile."""
        if self._coming:
            self.follower.heard(self._coming.pop(0))

    def lose_subscription(self) -> None:
        self.subscribed = False
        self._coming.clear()
        self.world.later(self._subscribe)

    def _subscribe(self) -> None:
        self.subscribed = True
        self.look()

    # -- what clients do

    def get(self, target: bytes) -> None:
        least = self.least(target)
        head = RequestHead(b"GET", target, Fields([(b"Host", b"p")]))
        handled = self.cache.pipeline.handle(ClientRequest(head, Body.of(b""), b"192.0.2.7", b"r"))
        exchange = Exchange(handled if isinstance(handled, Deferred) else succeed(handled), read=True)

        def answered() -> None:
            if exchange.answer is None:
                self.world.later(answered)
            elif exchange.answer.status == 200 and int(exchange.answer.body) < least:
                raise Wrong(f"{self.name!r} answered {exchange.answer.body!r} for {target!r}, after {least}")

        self.world.later(answered)

    def change(self, target: bytes, how: str) -> None:
        """The backend has something else, and it is invalidated here."""
        world = self.world
        world.versions[target] += 1
        version = world.versions[target]

        def done(outcome: object) -> None:
            if not isinstance(outcome, Failure):
                self._own[target] = max(self._own[target], version)
                world.promised[target] = max(world.promised[target], version)
                world.acknowledged.append((len(world.history) - 1, target, version))

        if how == "target":
            self.cache.invalidator.invalidate_target(target, done)
        else:
            pattern = b"cache:GET:anonymous:" + target if how == "key" else b"cache:*:" + target
            self.cache.invalidator.invalidate(pattern).addBoth(done)

    # -- what it may answer

    def least(self, target: bytes) -> int:
        """The oldest version that may be answered to a request from now on."""
        place = self.world.history.get(self.follower.seen or UNKNOWN, -1)
        heard = [version for at, what, version in self.world.acknowledged if what == target and at <= place]
        return max([self._own[target], *heard])

    def check_memory(self, target: bytes) -> None:
        key, least = b"cache:GET:anonymous:" + target, self.least(target)
        hot = self.cache.hot.get(key, self.world.clock.seconds())
        burst = self.cache.burst.get(key, self.world.clock.seconds())
        for record in (hot, burst):
            for entry in record.entries if record is not None else ():
                if entry.body and int(entry.body) < least:
                    raise Wrong(f"{self.name!r} holds {entry.body!r} of {target!r}, after {least}")


def play(seed: int, **options: Any) -> None:
    """A whole game; :class:`Wrong` with the seed where something old came out."""
    world = World(seed, **options)
    random = world.random
    gets = random.choice((0.05, 0.1, 0.2))
    try:
        for _ in itertools.repeat(None, random.choice((40, 80, 120))):
            proxy, target = random.choice(world.proxies), TARGETS[random.random() < 0.2]
            dice = random.random()
            if dice < gets:
                proxy.get(target)
            elif dice < gets + 0.05:
                proxy.change(target, random.choice(("target", "key", "pattern")))
            elif dice < gets + 0.08:
                proxy.lose_subscription()
            elif dice < gets + 0.10:
                proxy.look()
            elif dice < gets + 0.105:
                world.flush()
            else:
                world.step()
        world.settle()
        for proxy in world.proxies:
            proxy.cache.invalidator.stop()
    except Wrong as wrong:
        raise Wrong(f"seed {seed}: {wrong}") from None
