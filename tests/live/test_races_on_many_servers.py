"""Two real proxies on a real Cluster, and on Sentinels: an invalidation at one against what the other fetches or holds.

Each round is drawn by seed: what breaks (connections, servers and proxies that stand still, a planned failover),
whether the other proxy has the page in memory or is fetching it, and how it is invalidated. ``RACES=200`` plays so
many; the long case plays many without being asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import attrs
import pytest
from support.gated_page import Page, bus
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_cluster import MASTERS, RedisCluster, replicates, role
from support.redis_sentinels import NAME, SentinelGroup
from support.redis_server import RedisError, RedisServer

pytestmark = [pytest.mark.live, pytest.mark.slow]

RACES = int(os.environ.get("RACES", "8"))
MANY = 150
PATIENCE = 10_000
"""Milliseconds for which a server that stands still is not given up: an unplanned failover may undo an invalidation."""

MEMORY = {"HOT_CACHE_TTL_SECONDS": "600", "BURST_CACHE_TTL_SECONDS": "600"}
JSON = {"Content-Type": "application/json"}
Undo = Callable[[], object]


@attrs.define
class Place:
    """Two proxies and the servers behind them, replicas included."""

    first: ProxyProcess
    second: ProxyProcess
    backend: LiveBackend
    servers: Sequence[RedisServer]
    fail_over: Callable[[random.Random], None]

    def masters(self) -> list[RedisServer]:
        return [server for server in self.servers if role(server) == b"master"]

    def wait_until_well(self) -> None:
        for proxy in (self.first, self.second):
            wait_for(lambda proxy=proxy: bus(proxy) == "up", "a bus that is up", 30)  # type: ignore[misc]
            wait_for(lambda proxy=proxy: state(proxy) == "ok", "a proxy that is ready", 30)  # type: ignore[misc]

    def stored(self, page: Page) -> bytes:
        """All that any master has under names that end with the page's."""
        found = b""
        for server in self.masters():
            for name in cast("list[bytes]", reply(server, "KEYS", f"*cache:GET:*:{page.target}")):
                if reply(server, "TYPE", name) == b"hash":
                    found += b"".join(cast("list[bytes]", reply(server, "HVALS", name)))
        return found


def reply(server: RedisServer, *command: str | bytes) -> object:
    """On a new connection if the old one was cut, as all are when a server changes its role."""
    with contextlib.suppress(OSError):
        return server.cli(*command)
    return server.cli(*command)


def state(proxy: ProxyProcess) -> object:
    return cast("dict[str, object]", proxy.get("/ready").json())["status"]


def metric(proxy: ProxyProcess, name: str) -> float:
    lines = proxy.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].partition("{")[0] == name)


def nothing(place: Place, rng: random.Random) -> Undo:
    return lambda: None


def lost_subscriptions(place: Place, rng: random.Random) -> Undo:
    everywhere(place, "CLIENT", "KILL", "TYPE", "pubsub")
    return lambda: None


def lost_connections(place: Place, rng: random.Random) -> Undo:
    """When it is invalidated, before the fetch ends."""
    return lambda: everywhere(place, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def all_lost_at_once(place: Place, rng: random.Random) -> Undo:
    lost_connections(place, rng)()
    return lost_subscriptions(place, rng)


def a_pause(place: Place, rng: random.Random) -> Undo:
    everywhere(place, "CLIENT", "PAUSE", rng.choice(["100", "400"]), rng.choice(["ALL", "WRITE"]))
    return lambda: None


def a_server_that_stands_still(place: Place, rng: random.Random) -> Undo:
    """For less than it takes to be given up."""
    server = rng.choice(place.masters())
    server.freeze()
    thaw = threading.Timer(0.3, server.thaw)
    thaw.start()
    return thaw.join


def a_stopped_proxy(place: Place, rng: random.Random) -> Undo:
    place.second.signal(signal.SIGSTOP)
    return lambda: place.second.signal(signal.SIGCONT)


def a_stopped_proxy_without_subscription(place: Place, rng: random.Random) -> Undo:
    going_on = a_stopped_proxy(place, rng)
    lost_subscriptions(place, rng)
    return going_on


def a_planned_failover(place: Place, rng: random.Random) -> Undo:
    """It is over, and the proxies know of it, when somebody invalidates: until then it may be undone."""
    place.fail_over(rng)
    place.wait_until_well()
    return lambda: None


FAULTS = [
    nothing,
    lost_subscriptions,
    lost_connections,
    all_lost_at_once,
    a_pause,
    a_server_that_stands_still,
    a_stopped_proxy,
    a_stopped_proxy_without_subscription,
]
RARE = 0.05
"""How often a round has a failover instead: it takes seconds."""


def everywhere(place: Place, *command: str) -> None:
    for server in place.masters():
        with contextlib.suppress(OSError):  # it may cut the very connection that says so
            server.cli(*command)


def meant(page: Page, rng: random.Random) -> dict[str, object]:
    """A way to invalidate it."""
    pattern = rng.choice(["cache:GET:*:{}", "cache:GET:*:{}*", "cache:GET:anonymous:{}", ""])
    return {"pattern": pattern.format(page.target)} if pattern else {"tags": [page.tag]}


def acknowledged(proxy: ProxyProcess, asked: dict[str, object]) -> bool:
    status = proxy.request("POST", "/invalidate", JSON, json.dumps(asked).encode()).status
    assert status in (200, 503)
    return status == 200


def play(place: Place, page: Page, fault: Callable[[Place, random.Random], Undo], rng: random.Random) -> None:
    """One round; the page's gate is to be opened, whatever comes of it."""
    in_memory = rng.random() < 0.4
    asking = threading.Thread(target=place.second.get, args=(page.target,))
    if in_memory:
        page.gate.set()
        wait_for(lambda: place.second.get(page.target).cache == "HOT_HIT", "a copy in memory")
        wait_for(lambda: page.body(1) in place.stored(page), "it stored")
    else:
        asking.start()
        assert page.arrived.wait(10)
    mend = fault(place, rng)
    page.version = 2
    asked = meant(page, rng)
    wait_for(lambda: acknowledged(place.first, asked), "an acknowledgement", 30)
    if in_memory:
        assert place.first.get(page.target).body == page.body(2), asked
    if rng.random() < 0.5:
        mend()
        page.gate.set()
    else:
        page.gate.set()
        mend()
    if not in_memory:
        asking.join(30)
        assert not asking.is_alive()

    def fresh() -> bool:
        assert page.body(1) not in place.stored(page), (asked, place.masters())
        return place.second.get(page.target).body == page.body(2)

    wait_for(fresh, f"the second proxy to answer what is true, after {asked}")
    wait_for(lambda: place.second.get(page.target).body == page.body(2) in place.stored(page), "it stored")
    for proxy in (place.first, place.second, place.first, place.second):
        assert proxy.get(page.target).body == page.body(2), asked


def play_all(place: Place, seed: int, races: int) -> None:
    rng = random.Random(seed)
    turns = [a_planned_failover, *rng.sample(FAULTS, len(FAULTS))]
    for number in range(races):
        fault = turns[number] if number < len(turns) else rng.choice(FAULTS)
        if number >= len(turns) and rng.random() < RARE:
            fault = a_planned_failover
        page = Page(place.backend, f"/{seed}/{races}/{number}/{fault.__name__}", f"tag-{seed}-{races}-{number}")
        try:
            play(place, page, fault, rng)
        finally:
            page.gate.set()
        place.wait_until_well()
    for proxy in (place.first, place.second):
        assert "Traceback" not in proxy.log
        assert "Unhandled" not in proxy.log


def proxies(start: StartProxy, backend: LiveBackend, url: str) -> tuple[ProxyProcess, ProxyProcess]:
    settings = {"BACKEND_URL": backend.url, "CACHE_URL": url, "ADMIN_AUTH": "none", **MEMORY}
    return start(**settings), start(**settings)


@pytest.fixture(scope="module")
def on_a_cluster(start_shared: StartProxy, backend: LiveBackend) -> Iterator[Place]:
    with RedisCluster(replicas=True, node_timeout=3000) as cluster:

        def fail_over(rng: random.Random) -> None:
            """A planned one loses nothing: the old master holds its clients back until the replica has all."""
            heir = rng.choice([server for server in cluster.servers if role(server) == b"slave"])
            wait_for(lambda: replicates(heir), "a replica that is connected", 30)

            def promoted() -> bool:
                with contextlib.suppress(RedisError):  # it is the master now
                    reply(heir, "CLUSTER", "FAILOVER")
                for _ in range(50):  # to be asked again begins it anew, and masters do not vote twice within seconds
                    if role(heir) == b"master":
                        return True
                    time.sleep(0.1)
                return False

            wait_for(promoted, "a promotion", 60)
            wait_for(lambda: len([s for s in cluster.servers if role(s) == b"master"]) == MASTERS, "a replica more", 30)

        place = Place(*proxies(start_shared, backend, cluster.url), backend, cluster.servers, fail_over)
        place.wait_until_well()
        yield place


@pytest.fixture(scope="module")
def on_sentinels(start_shared: StartProxy, backend: LiveBackend) -> Iterator[Place]:
    with SentinelGroup(down_after=PATIENCE) as group:

        def fail_over(rng: random.Random) -> None:
            wait_for(lambda: sorted(map(str, map(role, group.servers))) == ["b'master'", "b'slave'"], "a replica", 30)
            heir = next(server for server in group.servers if role(server) == b"slave")
            old = next(server for server in group.servers if server is not heir)
            gaps = [metric(proxy, "bus_gaps_total") for proxy in (place.first, place.second)]

            def accepted() -> bool:
                """Not within seconds of the last one."""
                with contextlib.suppress(RedisError):
                    return group.run(group.ports[0], "SENTINEL", "FAILOVER", NAME) == b"OK"
                return False

            wait_for(accepted, "Sentinels that agree to it", 30)
            wait_for(lambda: role(heir) == b"master" and role(old) == b"slave", "a promotion", 30)
            for proxy, before in zip((place.first, place.second), gaps, strict=True):
                wait_for(lambda p=proxy, b=before: metric(p, "bus_gaps_total") > b, "a new subscription", 30)

        place = Place(*proxies(start_shared, backend, group.url), backend, group.servers, fail_over)
        place.wait_until_well()
        yield place


@pytest.mark.parametrize("races", [RACES, pytest.param(MANY, marks=pytest.mark.long)])
def test_races_on_a_cluster(on_a_cluster: Place, races: int) -> None:
    play_all(on_a_cluster, 1, races)


@pytest.mark.parametrize("races", [RACES, pytest.param(MANY, marks=pytest.mark.long)])
def test_races_on_sentinels(on_sentinels: Place, races: int) -> None:
    play_all(on_sentinels, 2, races)
