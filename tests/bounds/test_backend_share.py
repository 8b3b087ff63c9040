"""Backend connections and waiters: no client holds more than its share, and what nobody waits for is given up."""

from __future__ import annotations

import asyncio
import time

import pytest
from bounds.conftest import Client, World, clients, head

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.bounds]


async def _soon(world: World, target: str, *lines: str) -> tuple[int, float]:
    """Status and seconds of a request from another address."""
    started = time.monotonic()
    async with clients(world, 1) as [client]:
        status, _, _ = await asyncio.wait_for(client.get(target, *lines), 30)
    return status, time.monotonic() - started


def test_abandoned_event_streams(start_world, check):
    world = start_world(BACKEND_MAX_CONNECTIONS="5")

    async def attack(world: World) -> None:
        for n in range(12):
            async with clients(world, 1) as [client]:
                await client.send(head(f"/events{n % 2}?endless&type=text/event-stream"))
                await client.reader.readuntil(b"data")
            await asyncio.sleep(0.15)  # the backend notices a reset at its next write
        status, took = await _soon(world, "/plain?size=10")
        assert status == 200
        assert took < 10

    check(world.measure(attack), growth=40, connections=5)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson", "multipart/x-mixed-replace"])
def test_second_reader_of_an_endless_stream(start_world, check, kind):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 3) as readers:
            for client in readers:
                await client.send(head(f"/stream?endless&type={kind}"))
                await asyncio.wait_for(client.reader.readuntil(b"data: x"), 10)

    check(world.measure(attack), growth=40)


def test_cancelled_downloads(start_world, check):
    world = start_world(BACKEND_MAX_CONNECTIONS="5")

    async def attack(world: World) -> None:
        for n in range(10):
            async with clients(world, 1) as [client]:
                await client.send(head(f"/slow{n}?size=5000000&rate=20000&cc=max-age=60"))
                await client.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        status, took = await _soon(world, "/plain?size=10")
        assert status == 200
        assert took < 15

    check(world.measure(attack), growth=60)


def test_follower_reads_with_the_leader(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 2) as [leader, follower]:
            target = "/shared?size=4000000&rate=1000000&cc=max-age=60"
            await leader.send(head(target))
            await leader.reader.readexactly(500_000)
            await follower.send(head(target))
            before = world.backend()["requests"]
            await asyncio.wait_for(follower.reader.readexactly(100_000), 2)
            assert world.backend()["requests"] == before

    check(world.measure(attack), growth=60)


def test_slow_uploads(start_world, check):
    world = start_world(BACKEND_MAX_CONNECTIONS="20")

    async def attack(world: World) -> None:
        async with clients(world, 100) as uploads:
            for client in uploads:
                await client.send(head("/up", "Content-Length: 100000", method="POST") + bytes(600))
            await asyncio.sleep(0.5)
            status, took = await _soon(world, "/plain?size=10")
            assert status == 200
            assert took < 5
            assert world.backend()["open"] <= 10

    check(world.measure(attack), growth=60)


def test_readers_of_uncacheable_answers_that_stop(start_world, check):
    world = start_world(BACKEND_MAX_CONNECTIONS="20", TRUSTED_PROXIES="127.0.0.1")

    async def attack(world: World) -> None:
        async with clients(world, 60, small=True) as idle:
            for n, client in enumerate(idle):
                await client.send(head(f"/big{n}?size=4000000&cc=no-store", "X-Forwarded-For: 192.0.2.1"))
            await asyncio.sleep(0.5)
            status, took = await _soon(world, "/plain?size=10", "X-Forwarded-For: 192.0.2.2")
            assert status == 200
            assert took < 5

    check(world.measure(attack), growth=60, connections=20)


def test_herd_on_a_hanging_backend(start_world, check):
    world = start_world(BACKEND_TIMEOUT="2")

    async def attack(world: World) -> None:
        started = time.monotonic()
        async with clients(world, 5) as herd:

            async def each(client: Client) -> int:
                status, _, _ = await client.get("/hang?hang")
                return status

            assert set(await asyncio.gather(*map(each, herd))) == {504}
        assert time.monotonic() - started < 3.8

    check(world.measure(attack), growth=40)


def test_leavers_at_every_point(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        request = head("/l?size=200000&cc=max-age=60&rate=2000000")
        for at in range(0, len(request) + 40, 3):
            async with clients(world, 1) as [client]:
                await client.send(request[:at])
                if at > len(request):
                    await client.reader.readexactly((at - len(request)) * 1000)
        await asyncio.sleep(0.5)

    check(world.measure(attack), growth=60)
