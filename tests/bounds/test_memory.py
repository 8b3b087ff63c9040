"""Memory is bounded by bytes, whatever the sizes and the order of bodies, and whoever reads them or does not."""

from __future__ import annotations

import asyncio

import pytest
from bounds.conftest import Client, World, clients, head

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.bounds]

STORED = "cc=max-age=600"


async def _one_after_another(world: World, targets: list[str], *lines: str) -> None:
    async with clients(world, 1) as [client]:
        for target in targets:
            status, _, _ = await client.get(target, *lines)
            assert status == 200


def _spread(number: int, size: int, query: str = STORED) -> list[str]:
    return [f"/img{n}?size={size}&{query}" for n in range(number)]


@pytest.mark.parametrize(("number", "size"), [(400, 3_000_000), (60, 9_000_000), (4000, 150_000)])
def test_new_urls(start_world, check, number, size):
    world = start_world()
    check(world.measure(lambda w: _one_after_another(w, _spread(number, size))))


def test_new_urls_chunked(start_world, check):
    world = start_world()
    check(world.measure(lambda w: _one_after_another(w, _spread(250, 3_000_000, STORED + "&chunk=65536"))))


def test_too_large_for_the_cache(start_world, check):
    world = start_world()
    check(world.measure(lambda w: _one_after_another(w, _spread(20, 30_000_000))), growth=120)


def test_uncacheable(start_world, check):
    world = start_world()
    check(world.measure(lambda w: _one_after_another(w, _spread(60, 9_000_000, "cc=no-store"))), growth=60)


def test_refreshes_of_one_object(start_world, check):
    world = start_world()
    targets = [f"/same?size=2000000&{STORED}"] * 300
    check(world.measure(lambda w: _one_after_another(w, targets, "Cache-Control: no-cache")), growth=150)


def test_forced_refresh_of_large_objects(start_world, check):
    world = start_world()
    targets = _spread(60, 10_000_000)
    check(world.measure(lambda w: _one_after_another(w, targets, "Cache-Control: no-cache")))


def test_revalidations(start_world, check):
    world = start_world()
    targets = ['/v?size=2000000&cc=max-age=0&etag="a"'] * 200
    check(world.measure(lambda w: _one_after_another(w, targets)), growth=150)


def test_clients_that_leave_half_way(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        for n in range(100):
            async with clients(world, 1) as [client]:
                await client.send(head(f"/leave{n}?size=9000000&{STORED}&rate=40000000"))
                await client.reader.read(1000)

    check(world.measure(attack))


@pytest.mark.parametrize("number", [100, 200])
def test_hot_entry_that_nobody_reads(start_world, check, number):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/hot?size=9000000&{STORED}"
        await _one_after_another(world, [target] * 3)
        async with clients(world, number, small=True) as idle:
            for client in idle:
                await client.send(head(target))
            await asyncio.sleep(2)

    check(world.measure(attack), growth=60)


def test_ranges_of_a_hot_entry_that_nobody_reads(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/hot?size=9000000&{STORED}"
        await _one_after_another(world, [target] * 3)
        async with clients(world, 100, small=True) as idle:
            for n, client in enumerate(idle):
                await client.send(head(target, f"Range: bytes={n}-"))
            await asyncio.sleep(2)

    check(world.measure(attack), growth=60)


def test_many_ranges_that_nobody_reads(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/hot?size=9000000&{STORED}"
        await _one_after_another(world, [target] * 3)
        async with clients(world, 40, small=True) as idle:
            for client in idle:
                await client.send(head(target, "Range: bytes=0-4000000,4000002-8999999"))
            await asyncio.sleep(2)

    check(world.measure(attack), growth=100)


def test_herd_on_a_cold_url(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 40, small=True) as herd:
            for client in herd:
                await client.send(head(f"/cold?size=9000000&{STORED}&rate=9000000"))
            await asyncio.sleep(3)

    check(world.measure(attack), growth=80)


def test_herds_on_many_cold_urls(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 60, small=True) as herd:
            for n, client in enumerate(herd):
                await client.send(head(f"/cold{n}?size=9900000&{STORED}"))
            await asyncio.sleep(4)

    check(world.measure(attack))


async def _trickle(client: Client) -> None:
    for _ in range(60):
        await client.reader.read(2000)
        await asyncio.sleep(1)


@pytest.mark.parametrize("stored", [STORED, "cc=max-age=0"])
def test_clients_that_trickle_bodies_of_their_own(start_world, check, stored):
    """Each takes a little now and then, of a body that the tiers have long let go of."""
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 120, small=True) as slow:
            for n, client in enumerate(slow):
                await client.send(head(f"/slow{n}?size=9000000&{stored}"))
                await asyncio.sleep(0.05)
            trickling = [asyncio.create_task(_trickle(client)) for client in slow]
            await asyncio.sleep(30)
            for task in trickling:
                task.cancel()
            await asyncio.gather(*trickling, return_exceptions=True)

    check(world.measure(attack))


def test_pipelined_requests_of_a_client_that_does_not_read(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/hot?size=2000000&{STORED}"
        await _one_after_another(world, [target] * 3)
        async with clients(world, 20, small=True) as idle:
            for client in idle:
                client.writer.write(head(target) * 200)
            await asyncio.sleep(2)

    check(world.measure(attack), growth=60)


def test_pipelined_small_answers_that_nobody_reads(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/small?size=10000&{STORED}"
        await _one_after_another(world, [target] * 3)
        async with clients(world, 50, small=True) as idle:
            for client in idle:
                client.writer.write(head(target) * 2000)
            await asyncio.sleep(2)

    check(world.measure(attack), growth=60)


@pytest.mark.parametrize("size", [100_000, 2_000_000, 4_000_000])
def test_variants(start_world, check, size):
    world = start_world()
    languages = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]

    async def attack(world: World) -> None:
        target = f"/v?size={size}&vary=Accept-Language&{STORED}"
        async with clients(world, 1) as [client]:
            for _ in range(2):
                for language in languages:
                    await client.get(target, f"Accept-Language: {language}")

    check(world.measure(attack))


def test_interim_answers_without_end(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1, small=True) as [client]:
            await client.send(head("/hints?interim=300000"))
            await asyncio.sleep(4)

    check(world.measure(attack), growth=30)


def test_uploads_that_the_backend_does_not_read(start_world, check):
    world = start_world()

    async def upload(client: Client) -> None:
        await client.send(head("/slow?hang", "Content-Length: 50000000", method="POST"))
        for _ in range(50):
            await client.send(bytes(1_000_000))

    async def attack(world: World) -> None:
        async with clients(world, 40) as many:
            sending = [asyncio.create_task(upload(client)) for client in many]
            await asyncio.wait(sending, timeout=4)
            for task in sending:
                task.cancel()

    check(world.measure(attack), growth=120, connections=50)


def test_heads_that_never_repeat(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for n in range(8000):
                await client.get(f"/probe?cc=max-age=3600&size=10&q={n % 50}", f"X-Long-{n}: {n:0>7000}")

    check(world.measure(attack), growth=80)


def test_keys_that_never_repeat(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 8) as many:

            async def each(client: Client, first: int) -> None:
                for n in range(first, 16_000, 8):
                    await client.get(f"/k{n}{'x' * 2000}?cc=max-age=3600&size=10")

            await asyncio.gather(*(each(client, n) for n, client in enumerate(many)))

    check(world.measure(attack))


def test_tokens_that_never_repeat(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for n in range(3000):
                await client.get("/t?cc=max-age=3600&size=10", f"Authorization: Bearer {n:0>7000}")

    check(world.measure(attack), growth=80)


def test_idle_connections(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 800) as idle:
            for client in idle:
                await client.send(b"GET / HTTP/1.1\r\nHost: b\r\nX: " + b"y" * 4000)
            await asyncio.sleep(1)

    check(world.measure(attack), growth=60)


def test_vary_values_without_end(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for n in range(500):
                value = ",".join(f"x{n}y{m}" for m in range(1800))
                await client.get(f"/vv?size=10&vary=Accept-Language&{STORED}", f"Accept-Language: {value}"[:15000])

    check(world.measure(attack), growth=60)
