"""Two proxies' caches on a real Redis and a real Cluster: no fill from before an invalidation outlives it.

``RACES=10000`` runs so many of each; the long case does without being asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import pytest_twisted
from support import real_races
from support.real_races import Fault, Game, Wrong
from support.redis_cluster import RedisCluster
from support.redis_server import RedisServer

pytestmark = [pytest.mark.live, pytest.mark.slow]

RACES = int(os.environ.get("RACES", "60"))
MANY = 10_000

CONNECTIONS: Sequence[Fault] = (real_races.lost_subscriptions, real_races.lost_connections, real_races.a_pause)


async def played(url: str, servers: Sequence[RedisServer], races: int, faults: Sequence[Fault], **more: Any) -> None:
    often = 0.02 if races == MANY else 0.1
    game = Game(url, servers, seed=races, faults=faults, **{"often": often, **more})
    await game.start()
    try:
        await game.play(races)
    finally:
        await game.stop()


@pytest.mark.parametrize("races", [RACES, pytest.param(MANY, marks=pytest.mark.long)])
@pytest_twisted.ensureDeferred
async def test_races_on_one_server(redis_server: RedisServer, races: int) -> None:
    await played(redis_server.url, [redis_server], races, (*CONNECTIONS, real_races.an_emptied_server))


@pytest.mark.parametrize("races", [RACES, pytest.param(MANY, marks=pytest.mark.long)])
@pytest_twisted.ensureDeferred
async def test_races_on_a_cluster(shared_cluster: RedisCluster, races: int) -> None:
    shared_cluster.everywhere("FLUSHALL")
    await played(shared_cluster.url, shared_cluster.servers, races, (*CONNECTIONS, real_races.a_lost_fence))


@pytest.mark.parametrize("races", [RACES, pytest.param(MANY, marks=pytest.mark.long)])
@pytest_twisted.ensureDeferred
async def test_races_on_a_cluster_whose_slots_move(shared_cluster: RedisCluster, races: int) -> None:
    """What is named is followed. Of patterns and tags nothing is promised meanwhile; docs/scaling.md says so."""
    shared_cluster.everywhere("FLUSHALL")
    faults = (*CONNECTIONS, real_races.an_emptied_server, real_races.a_lost_fence, real_races.moving(shared_cluster))
    await played(shared_cluster.url, shared_cluster.servers, races, faults, ways=("target", "key"))


@pytest.mark.long
@pytest.mark.parametrize("where", ["server", "cluster"])
@pytest_twisted.ensureDeferred
async def test_writes_that_are_not_held_to_the_order_are_found_out(
    where: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from caching_proxy.store.redis.cluster import ClusterStore
    from caching_proxy.store.redis.store import RedisStore

    if where == "server":
        server: RedisServer = request.getfixturevalue("redis_server")
        url, servers = server.url, [server]
    else:
        cluster: RedisCluster = request.getfixturevalue("shared_cluster")
        url, servers = cluster.url, cluster.servers
    kind = RedisStore if where == "server" else ClusterStore
    monkeypatch.setattr(kind, "put", in_no_order(kind.put))
    with pytest.raises(Wrong):
        await played(url, servers, MANY, [real_races.lost_subscriptions], often=0.5)


def in_no_order(put: Callable[..., Any]) -> Callable[..., Any]:
    def careless(
        self: Any, key: bytes, field: bytes, value: bytes, ttl: int, since: Any = None, *more: Any, **named: Any
    ) -> Any:
        return put(self, key, field, value, ttl, None, *more, **named)

    return careless
