"""Real Sentinels, a real master and its replica, and a real proxy that follows the failover."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import cast

import pytest
from support.live_backend import LiveBackend
from support.load_threads import Load
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_sentinels import SentinelGroup
from support.redis_server import RedisServer

pytestmark = [pytest.mark.live, pytest.mark.slow]

FROM_REDIS = {"HOT_CACHE_MAX_ENTRIES": "0", "BURST_CACHE_MAX_ENTRIES": "0"}


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup(password="p@ss", sentinel_password="watch") as group:
        yield group


def metric(proxy: ProxyProcess, name: str) -> float:
    lines = proxy.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].partition("{")[0] == name)


def hit(proxy: ProxyProcess, target: str) -> bool:
    return proxy.get(target).cache == "HIT"


@pytest.mark.parametrize("way", ["kill", "freeze"])
def test_a_master_that_dies_under_load(
    group: SentinelGroup, start_proxy: StartProxy, backend: LiveBackend, way: str
) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=group.url, ADMIN_AUTH="none", **FROM_REDIS)
    wait_for(lambda: hit(proxy, "/x"), "a hit")
    wait_for(lambda: metric(proxy, "bus_subscribed") == 1, "a subscription")
    gaps = metric(proxy, "bus_gaps_total")
    with Load(proxy.port, "/x") as load:
        getattr(group.servers[0], way)()
        promoted = group.wait_for_promotion()
        wait_for(lambda: hit(proxy, "/x"), "hits again")
        assert time.monotonic() - promoted < 5
        tally = load.stop()
    assert set(tally.answered) == {200}
    assert (tally.fresh, tally.reused, tally.cut, tally.refused) == ([], [], [], 0)
    assert group.servers[1].cli("EXISTS", "cache:GET:anonymous:/x") == 1
    wait_for(lambda: metric(proxy, "bus_gaps_total") == gaps + 1, "a subscription at the new master")
    assert f"is 127.0.0.1:{group.servers[1].port} now" in proxy.log


def test_a_planned_failover_moves_everybody(
    group: SentinelGroup, start_proxy: StartProxy, backend: LiveBackend
) -> None:
    first, second = (start_proxy(BACKEND_URL=backend.url, CACHE_URL=group.url, ADMIN_AUTH="none") for _ in range(2))
    wait_for(lambda: metric(first, "bus_subscribed") == metric(second, "bus_subscribed") == 1, "subscriptions")
    group.run(group.ports[0], "SENTINEL", "FAILOVER", "the-master")
    group.wait_for_promotion()
    for proxy in (first, second):
        wait_for(lambda proxy=proxy: metric(proxy, "bus_gaps_total") >= 1, "a new subscription")  # type: ignore[misc]
    wait_for(lambda: second.get("/y").cache == "HOT_HIT", "/y in memory")
    patterns = b'{"pattern": "cache:GET:*:/y"}'
    assert first.request("POST", "/invalidate", {"Content-Type": "application/json"}, patterns).status == 200
    wait_for(lambda: second.get("/y").cache == "MISS", "the other's copy gone")
    wait_for(lambda: len(strangers(group.servers[0])) == 1, "nobody but this test at the old master")


def strangers(server: RedisServer) -> list[bytes]:
    """Clients of ``server`` that are neither Sentinels nor servers."""
    listed = cast("bytes", server.cli("CLIENT", "LIST", "TYPE", "normal")).splitlines()
    return [line for line in listed if b"name=sentinel" not in line]


def test_without_sentinels_the_master_stays(
    group: SentinelGroup, start_proxy: StartProxy, backend: LiveBackend
) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=group.url, ADMIN_AUTH="none", **FROM_REDIS)
    wait_for(lambda: hit(proxy, "/z"), "a hit")
    group.kill_sentinels()
    with contextlib.suppress(OSError):  # the connection that says so is one of them
        group.servers[0].cli("CLIENT", "KILL", "TYPE", "normal")
    wait_for(lambda: hit(proxy, "/z"), "a hit on new connections")
    assert "CIRCUIT_OPEN" not in proxy.log


def test_tls_to_sentinels_and_master(start_proxy: StartProxy, backend: LiveBackend) -> None:
    with SentinelGroup(tls=True) as group:
        where = {"BACKEND_URL": backend.url, "CACHE_URL": group.url, "ADMIN_AUTH": "none", **FROM_REDIS}
        proxy = start_proxy(CACHE_CA_FILE=str(group.servers[0].ca_path), **where)
        wait_for(lambda: hit(proxy, "/tls"), "a hit")
        group.servers[0].kill()
        group.wait_for_promotion()
        wait_for(lambda: hit(proxy, "/tls"), "hits again")
        stranger = start_proxy(**where)
        assert stranger.get("/tls").status == 200
        wait_for(lambda: "certificate verify failed" in stranger.log, "a refusal")


@pytest.mark.parametrize(
    ("wrong", "says"), [({"password": "other"}, "WRONGPASS"), ({"sentinel_password": "other"}, "WRONGPASS")]
)
def test_a_wrong_password_is_one_line(
    group: SentinelGroup, start_proxy: StartProxy, backend: LiveBackend, wrong: dict[str, str], says: str
) -> None:
    for name, value in wrong.items():
        setattr(group, name, value)
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=group.url, ADMIN_AUTH="none")
    assert proxy.get("/x").status == 200
    wait_for(lambda: says in proxy.log, "a line")
    assert proxy.get("/ready").json()["status"] == "degraded"  # type: ignore[index]
    lines = [line for line in proxy.log.splitlines() if "cannot connect to" in line and "Connections" in line]
    assert len(lines) == 1
    assert says in lines[0]
    assert "other" not in proxy.log
