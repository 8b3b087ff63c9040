"""A real Redis that comes back with much to load: until it has, it answers LOADING."""

from __future__ import annotations

import contextlib

import pytest
from faults.conftest import SLACK, World
from support.proxy_process import wait_for
from support.redis_server import RedisClient, RedisError

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]

FILLER = 20_000
MICROSECONDS = 200
"""Per key, which a setting meant for tests makes loading take: four seconds in all."""


def loading(world: World) -> bool:
    try:
        with contextlib.closing(RedisClient(world.redis.port)) as client:
            client.run("PING")
    except RedisError as problem:
        return "LOADING" in str(problem)
    except OSError:
        return False
    return False


def test_misses_until_it_has_loaded_its_file(world: World) -> None:
    world.run().busy()
    world.redis.cli("EVAL", f"for n = 1, {FILLER} do redis.call('SET', 'filler:' .. n, 'x') end", 0)
    world.redis.cli("SAVE")
    world.redis.kill()
    world.redis.options |= {"key_load_delay": str(MICROSECONDS), "loading_process_events_interval_bytes": "1024"}
    world.redis.start(wait=False)
    wait_for(lambda: loading(world), "LOADING")
    world.seen().hold()
    world.watch(1).hold()
    assert loading(world)
    wait_for(lambda: not loading(world), "the end of it", 10 * SLACK)
    world.until(lambda report: report.share("HIT") > 0.1, "hits in Redis after it has loaded")
    said = [str(line["msg"]) for line in world.proxy.log_lines_so_far() if line["level"] in ("warn", "error")]
    assert len(said) <= 6, said
