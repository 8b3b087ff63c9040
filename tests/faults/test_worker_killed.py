"""A worker that is killed under load: nobody's request fails but those it was at, and another is there soon."""

from __future__ import annotations

import datetime
import os
import signal
import time

import pytest
from faults.conftest import SLACK, World
from support.proxy_process import wait_for
from support.workers import serving, wait_for_workers, worker_pids

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]

CONNECTIONS = 20
"""Of the load, each with one request at a time."""

KILLS = 5
APART = 5.5
"""Seconds; a worker that dies within five of its start is taken for one that cannot live."""


@pytest.mark.parametrize("spares", [0, 1])
def test_another_serves_soon(world: World, spares: int) -> None:
    """Within a second with a spare; without one it takes what a start takes on this machine."""
    world.run(WORKERS="2", SPARE_WORKERS=str(spares))
    wait_for_workers(world.proxy, 2)
    world.busy()
    took = sorted(kill(world, n, 2 + spares) for n in range(KILLS))
    world.note(f"another worker serves after {took[KILLS // 2]:.2f} s, {took[-1]:.2f} s at worst")
    if spares:
        assert took[KILLS // 2] < SLACK
    world.forget_lag()
    world.watch(2).hold()


def kill(world: World, n: int, processes: int) -> float:
    """Kill the older worker; seconds until there are two that serve again."""
    time.sleep(APART if n else 0)
    wait_for(lambda: len(worker_pids(world.proxy)) == processes, "all workers")
    world.seen().hold()
    start = time.time()
    os.kill(worker_pids(world.proxy)[0], signal.SIGKILL)
    wait_for(lambda: serving(world.proxy) > 2 + n, "another worker", 10 * SLACK)
    world.watch(0.5).hold(broken=CONNECTIONS)
    last = [line for line in world.proxy.log_lines_so_far() if " serves" in str(line["msg"])][-1]
    return datetime.datetime.fromisoformat(str(last["time"])).timestamp() - start
