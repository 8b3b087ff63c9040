"""Clients that are many, slow, large, or gone within an answer: the load beside them does not notice."""

from __future__ import annotations

import resource
import socket
import time

import pytest
from faults.conftest import SLACK, Report, World
from support.faults_helper import Helper
from support.proxy_process import wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]

RESERVE = 500
"""Descriptors of the daemon that are not for idle clients."""

GIGABYTE = 1 << 30


def crowd(world: World) -> Helper:
    helper = Helper("faults_crowd", world.proxy.port)
    world.around.callback(helper.stop)
    assert helper.first == "ready"
    return helper


def unaffected(world: World, before: Report, now: Report) -> None:
    """The load's answers are right, and hot hits not much slower than before or than the machine makes them."""
    now.hold()
    world.note(f"p99 of hot hits {before.p99:.1f} ms before, {now.p99:.1f} ms meanwhile")
    assert now.p99 <= max(2 * before.p99, 5, 4000 * now.lag) * SLACK


def per_client(world: World, before: int, count: int) -> float:
    """KiB of resident memory for each of ``count`` clients."""
    return (world.resident() - before) / count / 1024


def test_twenty_thousand_idle_connections(world: World) -> None:
    """Or as many as the limit on open files lets be, of the daemon and of each of two processes of clients."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(20_000, files - RESERVE)
    world.run(MAX_CONNECTIONS="30000", IDLE_TIMEOUT="600", HEAD_TIMEOUT="600").busy()
    before = world.resident()
    two = [crowd(world), crowd(world)]
    for one in two:
        assert one.ask(do="idle", count=count // 2) == {"open": count // 2}
    world.seen()
    wait_for(lambda: world.files() >= count, "all of them to be accepted", 30)
    each = per_client(world, before, count)
    world.note(f"{count} idle connections, {each:.1f} KiB each")
    assert each < 16
    unaffected(world, world.healthy, world.watch(5))
    assert sum(int(str(one.ask(do="look")["open"])) for one in two) == count // 2 * 2
    for one in two:
        one.ask(do="close")
    world.memory += count * 16 * 1024


def test_ten_thousand_clients_leave_within_an_answer(world: World) -> None:
    world.run(BACKEND_MAX_PER_PEER="100").busy()
    clients = crowd(world)
    clients.tell(do="leave", count=10_000, target="/big/200000/{n}", together=10)
    start = time.monotonic()
    unaffected(world, world.healthy, world.watch(5))
    clients.told()
    world.note(f"10,000 clients left within {time.monotonic() - start:.0f} s")
    world.seen().hold()
    world.watch(1).hold()
    wait_for(lambda: int(str(world.backend.ask()["now"])) < 100, "the backend to be left in peace")


def test_a_thousand_slow_heads(world: World) -> None:
    """They are dropped when the time for a head is over, however steadily their bytes come."""
    world.run(HEAD_TIMEOUT="4").busy()
    clients = crowd(world)
    assert clients.ask(do="slow", count=1000) == {"open": 1000}
    world.seen()
    unaffected(world, world.healthy, world.watch(3))
    wait_for(lambda: clients.ask(do="look") == {"open": 0}, "all of them to be dropped", 4 * SLACK)
    world.seen()
    world.watch(1).hold()


@pytest.mark.parametrize("target", ["/big/10000000/{n}", "/object/1?{n}"], ids=["large", "small"])
def test_readers_that_stop(world: World, target: str) -> None:
    count = 200
    world.run(BACKEND_MAX_CONNECTIONS="300", BACKEND_MAX_PER_PEER="300").busy()
    world.kept_files += count
    clients = crowd(world)
    before = world.resident()
    assert clients.ask(do="stopped", count=count, target=target) == {"open": count}
    world.seen()
    unaffected(world, world.healthy, world.watch(5))
    each = per_client(world, before, count)
    world.note(f"{each:.0f} KiB for each reader that stopped")
    assert each <= 64
    clients.ask(do="close")


def test_bodies_of_a_gigabyte_both_ways(world: World) -> None:
    world.run().busy()
    before = world.resident()
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", world.proxy.port), 60) as client:
        client.sendall(f"GET /big/{GIGABYTE}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head, _, body = client.recv(1 << 16).partition(b"\r\n\r\n")
        room, got = bytearray(1 << 20), len(body)
        while size := client.recv_into(room):
            got += size
    assert (head[9:12], got) == (b"200", GIGABYTE)
    down, most = time.monotonic() - start, world.resident()
    with socket.create_connection(("127.0.0.1", world.proxy.port), 60) as client:
        client.sendall(f"POST /object/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {GIGABYTE}\r\n\r\n".encode())
        for _ in range(GIGABYTE // len(room)):
            client.sendall(room)
        assert client.recv(100)[9:12] == b"200"
    up, most = time.monotonic() - start - down, max(most, world.resident())
    world.note(
        f"1 GiB: {1024 / down:.0f} MiB/s down, {1024 / up:.0f} MiB/s up, {(most - before) >> 20} MiB more memory"
    )
    assert most - before < 32 << 20
    world.seen().hold()


def test_a_hundred_thousand_keys(world: World) -> None:
    """What they leave in memory is what the settings say, and the second half of them adds nothing."""
    megabytes = 16
    most = {"HOT_CACHE_MAX_BYTES": f"{megabytes}MiB", "BURST_CACHE_MAX_BYTES": f"{megabytes}MiB"}
    world.run(HOT_CACHE_MAX_ENTRIES="100000", BURST_CACHE_MAX_ENTRIES="100000", **most).busy()
    clients = crowd(world)
    held = [world.resident()]
    for first in (0, 50_000):
        told = clients.ask(do="get", first=first, count=50_000, target="/key/{n}")
        assert told == {"statuses": {"200": 50_000}, "wrong": []}
        held.append(world.resident())
    before, half, whole = held
    world.note(f"{(half - before) >> 20} MiB after 50,000 keys, {(whole - before) >> 20} MiB after 100,000")
    assert whole - before < 2 * megabytes * 1.2 * (1 << 20) + (16 << 20)
    assert whole - half < 8 << 20
    world.seen().hold()
