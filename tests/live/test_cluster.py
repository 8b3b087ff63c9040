"""A real Redis Cluster and a real proxy: nodes die, slots move, and no client sees an error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest
from support.live_backend import LiveBackend
from support.load_threads import Load
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_cluster import Migration, RedisCluster, role
from support.redis_server import RedisServer

from caching_proxy.store.redis.slots import name_of, slot_of

pytestmark = pytest.mark.live

FROM_REDIS = {"HOT_CACHE_MAX_ENTRIES": "0", "BURST_CACHE_MAX_ENTRIES": "0", "ADMIN_AUTH": "none"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three masters that stay what they are."""
    with RedisCluster(password="p@ss") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pair(start_shared: StartProxy, backend: LiveBackend, cluster: RedisCluster) -> tuple[ProxyProcess, ProxyProcess]:
    first, second = (start_shared(BACKEND_URL=backend.url, CACHE_URL=cluster.url, ADMIN_AUTH="none") for _ in range(2))
    for proxy in (first, second):
        wait_for(lambda proxy=proxy: metric(proxy, "bus_subscribed") == 1, "a subscription")  # type: ignore[misc]
    return first, second


def metric(proxy: ProxyProcess, name: str) -> float:
    lines = proxy.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].partition("{")[0] == name)


def slot(target: str) -> int:
    return slot_of(name_of(b"cache:GET:anonymous:" + target.encode()))


def spread(cluster: RedisCluster, prefix: str, each: int = 2) -> dict[int, list[str]]:
    """So many targets at each master, by its port."""
    return spread_over(cluster, cluster.masters(), prefix, each)


def spread_over(cluster: RedisCluster, masters: list[RedisServer], prefix: str, each: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {server.port: [] for server in masters}
    nth = 0
    while any(len(targets) < each for targets in found.values()):
        nth += 1
        targets = found[cluster.owner(slot(f"{prefix}{nth}")).port]
        if len(targets) < each:
            targets.append(f"{prefix}{nth}")
    return found


def listed(proxy: ProxyProcess, match: str) -> list[str]:
    return cast("dict[str, list[str]]", proxy.get(f"/keys?match={match}").json())["keys"]


def test_keys_and_patterns_concern_all_masters(pair: tuple[ProxyProcess, ProxyProcess], cluster: RedisCluster) -> None:
    first, second = pair
    targets = [target for some in spread(cluster, "/p%7Bx}{").values() for target in some]
    for target in targets:
        first.get(target)
        wait_for(lambda target=target: second.get(target).cache == "HOT_HIT", "a copy at the other")  # type: ignore[misc]
    keys = sorted(f"cache:GET:anonymous:{target}" for target in targets)
    assert sorted(listed(first, "cache:GET:*:/p*")) == keys
    answered = first.request("POST", "/invalidate", JSON, b'{"pattern": "cache:GET:*:/p*"}')
    assert answered.status == 200
    assert listed(first, "cache:GET:*:/p*") == []
    assert [name for name in cluster.names() if b"/p" in name] == []
    for target in targets:
        wait_for(lambda target=target: second.get(target).cache == "MISS", "the other's copy gone")  # type: ignore[misc]


def test_a_master_that_was_emptied(pair: tuple[ProxyProcess, ProxyProcess], cluster: RedisCluster) -> None:
    first, _ = pair
    (emptied, gone), (_, kept), *_rest = spread(cluster, "/flushed").items()
    targets = [*gone, *kept]
    for target in targets:
        first.get(target)
    wait_for(lambda: len(listed(first, "cache:GET:*:/flushed*")) == len(targets), "all stored")
    next(server for server in cluster.servers if server.port == emptied).cli("FLUSHALL")
    wait_for(lambda: len([n for n in cluster.names() if b"/flushed" in n]) == len(kept), "half gone")
    assert first.get(gone[0]).status == 200


def steady(proxy: ProxyProcess, target: str) -> bool:
    return all(proxy.get(target).cache == "HIT" for _ in range(10))


def test_a_slot_moves_under_load(cluster: RedisCluster, start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=cluster.url, **FROM_REDIS)
    wait_for(lambda: proxy.get("/moving").cache == "HIT", "a hit")
    moved = slot("/moving")
    source = cluster.owner(moved)
    target = next(server for server in cluster.masters() if server is not source)
    migration = Migration(cluster, moved, source, target)
    with Load(proxy.port, "/moving") as load:
        migration.begin()
        assert proxy.get("/moving").cache == "HIT", "still at the old one"
        migration.move(*migration.names())
        assert proxy.get("/moving").cache == "HIT", "by ASK"
        assert proxy.request("POST", "/invalidate", JSON, b'{"pattern": "cache:GET:*:/moving"}').status == 200
        # The first write may be from before the invalidation's end; then it is taken back, and made again.
        wait_for(lambda: steady(proxy, "/moving"), "stored anew, by ASK")
        wait_for(lambda: target.cli("CLUSTER", "COUNTKEYSINSLOT", moved) == 2, "entry and fence at the new one")
        migration.end()
        wait_for(lambda: steady(proxy, "/moving"), "hits by MOVED, and then by the map")
        tally = load.stop()
    assert set(tally.answered) == {200}
    assert (tally.fresh, tally.reused, tally.cut, tally.refused) == ([], [], [], 0)
    assert [
        line for line in proxy.log_lines_so_far() if "store" in str(line["logger"]) and line["level"] == "warn"
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["kill", "freeze"])
def test_a_master_that_dies_under_load(start_proxy: StartProxy, backend: LiveBackend, way: str) -> None:
    with RedisCluster(replicas=True) as cluster:
        proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=cluster.url, **FROM_REDIS)
        targets = spread(cluster, "/x", 1)
        victim, *others = cluster.masters()
        hurt, fine = targets[victim.port][0], targets[others[0].port][0]
        for target in (hurt, fine):
            wait_for(lambda target=target: proxy.get(target).cache == "HIT", "a hit")  # type: ignore[misc]
        wait_for(lambda: metric(proxy, "bus_subscribed") == 1, "a subscription")
        heir = cluster.servers[cluster.servers.index(victim) + 3]
        with Load(proxy.port, hurt) as load:
            getattr(victim, way)()
            wait_for(lambda: role(heir) == b"master", "a promotion", 30)
            promoted = time.monotonic()
            wait_for(lambda: proxy.get(hurt).cache == "HIT", "hits again")
            assert time.monotonic() - promoted < 5
            assert proxy.get(fine).cache == "HIT"
            tally = load.stop()
        assert set(tally.answered) == {200}
        assert (tally.fresh, tally.reused, tally.cut, tally.refused) == ([], [], [], 0)
        wait_for(lambda: metric(proxy, "bus_subscribed") == 1, "a subscription", 30)


def test_a_wrong_password_is_one_line(start_proxy: StartProxy, backend: LiveBackend, cluster: RedisCluster) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=cluster.url.replace("p%40ss", "hush"), ADMIN_AUTH="none")
    assert [proxy.get("/x").status for _ in range(10)] == [200] * 10
    assert proxy.get("/ready").json()["status"] == "degraded"  # type: ignore[index]
    lines = [line for line in proxy.log.splitlines() if "cannot read the slots" in line and "ClusterMap" in line]
    assert len(lines) == 1
    assert "WRONGPASS" in lines[0]
    assert "hush" not in proxy.log


def test_tls_proves_every_node(start_proxy: StartProxy, backend: LiveBackend) -> None:
    with RedisCluster(tls=True) as cluster:
        where = {"BACKEND_URL": backend.url, "CACHE_URL": cluster.url, **FROM_REDIS}
        proxy = start_proxy(CACHE_CA_FILE=str(cluster.servers[0].ca_path), **where)
        for target in (target for some in spread_over(cluster, cluster.servers, "/tls", 2).values() for target in some):
            wait_for(lambda target=target: proxy.get(target).cache == "HIT", "a hit")  # type: ignore[misc]
        wait_for(lambda: metric(proxy, "bus_subscribed") == 1, "a subscription")
        stranger = start_proxy(**where)
        assert stranger.get("/tls1").status == 200
        wait_for(lambda: "certificate verify failed" in stranger.log, "a refusal")


def test_a_server_that_is_no_cluster(start_proxy: StartProxy, backend: LiveBackend, redis_server) -> None:  # type: ignore[no-untyped-def]
    url = redis_server.url.replace("redis://", "redis+cluster://")
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=url, ADMIN_AUTH="none")
    assert proxy.get("/x").status == 200
    wait_for(lambda: "cluster support disabled" in proxy.log, "a line")
