"""The backend's name: it moves, is gone, or nobody answers for it. Looked up anew for each connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.conftest import SLACK, Report, World
from support.faults_helper import Helper
from support.name_server import NameServer
from support.own_files import instead, mounted
from support.proxy_process import free_port

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]

HERE, THERE = "127.0.0.41", "127.0.0.42"
FAILING = ("200", "502", "504")


@pytest.fixture
def names(world: World, tmp_path: Path) -> Iterator[NameServer]:
    """The only name server that the daemon knows; the backend listens at :data:`HERE`, and has a name."""
    world.backend.stop()
    port = free_port()
    world.backend = Helper("faults_backend", port, HERE)
    world.around.callback(world.backend.stop)
    with NameServer() as server:
        server.address = HERE
        resolv, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
        resolv.write_text(f"nameserver {server.host}\n")
        hosts.write_text("127.0.0.1 localhost\n")
        world.more["through"] = mounted(instead(resolv, "/etc/resolv.conf"), instead(hosts, "/etc/hosts"))
        world.run(BACKEND_URL=f"http://backend.test:{port}").busy()
        assert server.asked > 0
        yield server


def misses(report: Report) -> bool:
    return report.share("MISS") > 0.05


def back(world: World, what: str, seconds: float) -> None:
    """Misses are answered again, and then nothing fails any more."""
    world.seen()
    world.until(misses, what, seconds, statuses=FAILING)
    deadline = time.monotonic() + seconds * SLACK
    while "502" in (found := world.watch(0.5).hold(FAILING).statuses) or "504" in found:
        assert time.monotonic() < deadline
    world.watch(1).hold()


def test_the_name_moves_and_the_old_address_is_gone(world: World, names: NameServer) -> None:
    port = int(world.backend.first)
    moved = Helper("faults_backend", port, THERE)
    world.around.callback(moved.stop)
    names.address = THERE
    world.backend.stop()
    world.backend = moved
    back(world, "misses from the new address", 1)
    assert int(str(moved.ask()["requests"])) > 0


def test_the_name_is_gone(world: World, names: NameServer) -> None:
    """Connections that exist go on; then they end, and there is a 502 at once for what is not cached."""
    names.address = None
    assert world.watch(2).hold(FAILING).share("MISS") > 0.05
    world.backend.stop()
    world.seen()
    away = world.watch(2).hold(FAILING)
    assert away.share("HOT_HIT", "HIT") > 0.8, "what is cached is served"
    world.backend = Helper("faults_backend", int(world.backend.first), HERE)
    world.around.callback(world.backend.stop)
    names.address = HERE
    back(world, "misses after the name's return", 2)


def test_the_name_server_says_nothing(world: World, names: NameServer) -> None:
    """A lookup takes the resolver's ten seconds then, an answer to a client no longer than the time to connect."""
    names.silent = True
    world.backend.stop()
    world.seen()
    away = world.watch(5).hold(FAILING)
    assert away.share("HOT_HIT", "HIT") > 0.8, "what is cached is served"
    start = time.monotonic()
    assert world.proxy.get("/asked-meanwhile").status in (502, 504)
    assert time.monotonic() - start < 1 + SLACK
    world.backend = Helper("faults_backend", int(world.backend.first), HERE)
    world.around.callback(world.backend.stop)
    names.silent = False
    back(world, "misses after the name server's return", 6)
