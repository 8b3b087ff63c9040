"""Redis that is gone, frozen, slow or half open costs clients nothing but misses (SPEC 3 and 10)."""

from __future__ import annotations

import random
import time

import pytest
from faults.conftest import SLACK, Report, World
from support.faulty_link import FaultyLink
from support.proxy_process import wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults]

OPEN = 2


def hits(report: Report) -> bool:
    return report.share("HIT") > 0.1


def no_slower(world: World, away: Report) -> None:
    """Hot hits take at most twice as long. The load itself cannot tell less than some milliseconds apart, and less yet
    where the machine makes it late."""
    world.note(f"p99 of hot hits {world.healthy.p99:.1f} ms before, {away.p99:.1f} ms meanwhile")
    assert away.p99 <= max(2 * world.healthy.p99, 5, 4000 * away.lag) * SLACK


def test_killed_and_started_again(world: World) -> None:
    world.run().busy()
    world.redis.kill()
    away = world.watch(3).hold()
    assert away.caches.get("HOT_HIT", 0) > 0
    no_slower(world, away)
    world.redis.start()
    world.until(hits, "hits in Redis after its return")
    assert len(world.warnings("store")) <= 4, world.proxy.log


@pytest.mark.long
@pytest.mark.parametrize("seconds", [3, 30])
def test_frozen(world: World, seconds: float) -> None:
    world.run().busy()
    frozen = time.monotonic()
    world.redis.freeze()
    wait_for(lambda: world.metric("circuit_breaker_state") == OPEN, "the open breaker", 1.5 * SLACK)
    away = world.watch(seconds - (time.monotonic() - frozen)).hold()
    no_slower(world, away)
    assert world.metric("redis_pool_waiting") <= 1000
    world.redis.thaw()
    world.until(hits, "hits in Redis after the thaw")


@pytest.mark.long
def test_slow(world: World) -> None:
    """Each answer comes 200 ms late, which is in time."""
    with FaultyLink(world.redis.port) as link:
        world.run(cache_url=f"redis://127.0.0.1:{link.port}").busy()
        link.delay = 0.2
        slow = world.watch(3).hold()
        no_slower(world, slow)
        assert world.metric("redis_pool_waiting") <= 1000
        link.delay = 0.0
        world.until(hits, "hits in Redis at its old speed")


@pytest.mark.long
def test_replies_come_too_late(world: World) -> None:
    """Some just before the time for a command is over and some just after: nobody gets what another asked for."""
    chance = random.Random(3)
    with FaultyLink(world.redis.port) as link:
        world.run(cache_url=f"redis://127.0.0.1:{link.port}", BREAKER_FAILURE_THRESHOLD="1000000").busy()
        asked = 0
        for _ in range(40):
            link.delay = chance.choice((0.0, 0.1, 0.27, 0.29, 0.3, 0.31, 0.33, 0.6))
            asked += world.watch(0.25).hold().asked
        world.note(f"{asked} requests with replies of Redis around their time limit, no wrong answer")
        link.delay = 0.0
        world.until(hits, "hits in Redis again")


@pytest.mark.long
def test_half_open(world: World) -> None:
    """Connections that nothing comes through any more, and whose end is not told either."""
    with FaultyLink(world.redis.port) as link:
        world.run(cache_url=f"redis://127.0.0.1:{link.port}").busy()
        link.silence(True)
        wait_for(lambda: world.metric("circuit_breaker_state") == OPEN, "the open breaker", 1.5 * SLACK)
        world.watch(1).hold()
        link.cut()
        link.silence(False)
        world.until(hits, "hits in Redis again")


@pytest.mark.long
def test_cut_again_and_again(world: World) -> None:
    with FaultyLink(world.redis.port) as link:
        world.run(cache_url=f"redis://127.0.0.1:{link.port}").busy()
        for _ in range(10):
            link.cut()
            world.watch(0.2).hold()
        world.until(hits, "hits in Redis again")


@pytest.mark.long
def test_flushed_under_load(world: World) -> None:
    world.run().busy()
    world.backend.ask(version=0)
    for _ in range(5):
        world.redis.cli("FLUSHALL")
        world.watch(0.3).hold()
    assert world.backend.ask()["most"] <= 3, "one fetch at most for each of an object's readers"
    world.until(hits, "hits in Redis again")
