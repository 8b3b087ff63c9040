"""One process of a proxy: the real store, bus and cache, wired as the daemon wires them, on the world's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simulation.backend import BACKEND_SECONDS, Backend, Exchange
from simulation.clocks import ProcessClock
from simulation.insides import on_forget, on_purge, remains
from simulation.model import PLACES
from simulation.network import Link
from simulation.short_way import ShortWay
from simulation.world import World
from support.memory_proxy import Roles
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.build import CacheConfig, Surroundings, build_cache
from caching_proxy.interfaces import IClaims
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.store.build import StoreConfig, build_bus, build_store
from caching_proxy.store.redis.claims import RedisClaims

URL = "redis://redis.test"
COMMAND_SECONDS = 3.0
FLIGHT_SECONDS = 3 * BACKEND_SECONDS


class Disk:
    """A journal that outlives its process: what is kept is on the disk a moment later."""

    def __init__(self, world: World) -> None:
        self.lines: list[Invalidation] = []
        self._world = world

    def open(self, clock: ProcessClock) -> Journal:
        return Journal(self, clock, self._world)


class Journal:
    """An ``IJournal`` on ``disk``."""

    def __init__(self, disk: Disk, clock: ProcessClock, world: World) -> None:
        self._disk = disk
        self._clock = clock
        self._world = world
        self._free_at = 0.0
        self._writing: dict[Any, Callable[[], None]] = {}

    def keep(self, invalidations: Sequence[Invalidation]) -> Deferred[None]:
        return self._later(lambda: self._disk.lines.extend(invalidations))

    def clear(self) -> Deferred[None]:
        return self._later(self._disk.lines.clear)

    def stop(self) -> None:
        """What is under way is written now."""
        while self._writing:
            call, written = next(iter(self._writing.items()))
            call.cancel()
            written()

    def _later(self, work: Callable[[], object]) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def written() -> None:
            del self._writing[call]
            work()
            done.callback(None)

        now = self._world.now
        self._free_at = max(self._free_at, now + self._world.delay())  # one batch after the other
        call = self._clock.callLater(self._free_at - now, written)
        self._writing[call] = written
        return done


class NoBus:
    """In place of a bus where none is: there is nobody to hear."""

    seen = b""
    subscribed = True

    def start(self, heard: object, forget: object) -> None:
        """Nothing to do."""

    def stop(self) -> Deferred[None]:
        return succeed(None)


class Process:
    """Born with empty memory. ``loose`` says until when the fetches of a target and role need not be one."""

    def __init__(
        self, world: World, link: Link, disk: Disk, origin: bytes, on_fetch: Callable[[Process, Exchange], None]
    ) -> None:
        self.world = world
        self.origin = origin
        self.alive = True
        self.clock = ProcessClock(world.clock)
        self.backend = Backend(world, lambda exchange: on_fetch(self, exchange), self.loosen)
        self.loose: dict[tuple[bytes, bytes], float] = {}
        self.link = link
        self.store, self.bus = self._store(link)
        self.journal = disk.open(self.clock)
        self.cache = build_cache(self._config(), self._around())
        self.short_way = ShortWay(self)
        on_purge(self.cache, lambda key: self.loosen(None))
        on_forget(self.cache, lambda: self.loosen(None))
        if disk.lines:
            world.note(f"{origin.decode()} finds {len(disk.lines)} in its journal")
        self.store.start()
        self.bus.start(self._heard, self._forget)
        self.cache.invalidator.restore(list(disk.lines))

    def _store(self, link: Link) -> tuple[Any, Any]:
        least, most = self.world.odds.pool
        config = StoreConfig(
            pool_min=least,
            pool_max=most,
            command_timeout=COMMAND_SECONDS,
            origin=self.origin if self.world.odds.ledger else b"",
            endpoints=lambda topology: link.endpoint(self.clock),
        )
        store = build_store(self.clock, URL, config)
        return store, build_bus(self.clock, URL, store, config) or NoBus()

    def _config(self) -> CacheConfig:
        odds = self.world.odds
        return CacheConfig(
            policy=CachePolicy(default_ttl=0),
            keys=KeyPolicy(),
            name=None,
            hot_entries=odds.hot_entries,
            hot_bytes=1 << 20,
            hot_seconds=odds.hot_seconds,
            burst_entries=10,
            burst_bytes=1 << 20,
            burst_seconds=odds.burst_seconds,
            flight_seconds=FLIGHT_SECONDS,
            salt=b"",
        )

    def _around(self) -> Surroundings:
        claims: IClaims | None = None
        if self.world.odds.fleet:
            claims = RedisClaims(self.store.store.pool, self.origin)
        return Surroundings(
            store=self.store,
            verifier=Roles(),
            route=BackendRoute(self.backend, b"backend.test", b"http://backend.test", b"", b"caching-proxy"),
            rules=lambda: (),
            clock=self.clock,
            bus=None if isinstance(self.bus, NoBus) else self.bus,
            journal=self.journal,
            claims=claims,
        )

    def _heard(self, invalidation: Invalidation) -> None:
        self.world.note(f"{self.origin.decode()} applies {invalidation}")
        self.loosen(None)
        self.cache.invalidator.carried_out_elsewhere(invalidation)

    def _forget(self) -> None:
        self.world.note(f"{self.origin.decode()} forgets everything")
        self.loosen(None)
        self.cache.invalidator.forget()

    def loosen(self, key: tuple[bytes, bytes] | None, seconds: float = 0.0) -> None:
        """From now on, and for ``seconds``, fetches of ``key``, or of all, may begin beside those under way."""
        for each in PLACES if key is None else (key,):
            self.loose[each] = max(self.loose.get(each, 0.0), self.world.now + seconds)

    async def stop(self) -> dict[str, int]:
        """End in order, as the daemon does; what is left that should not be."""
        self.cache.invalidator.stop()
        await self.cache.writer.drain()
        await self.bus.stop()
        await self.store.stop()
        await deferLater(self.clock, 0)  # connections that were given up hear that they are lost
        self.journal.stop()
        self.alive = False
        return remains(self)

    def kill(self) -> None:
        """It is no more; what it has sent is on its way."""
        self.alive = False
        self.clock.kill()
        self.backend.die()
        for wire in self.link.of(self.clock):
            wire.dies()
