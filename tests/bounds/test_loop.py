"""No event stops the loop: what one client sends or makes the backend send does not hold up another's hot hit."""

from __future__ import annotations

import asyncio
import json

import pytest
from bounds.conftest import STALL, Client, World, clients, head

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.bounds]

STORED = "cc=max-age=600"
ADMIN = {"ADMIN_TOKEN": "a-secret-of-the-tests"}
TOKEN = "Authorization: Bearer a-secret-of-the-tests"


@pytest.mark.parametrize("number", [10_000, 60_000])
def test_upload_in_tiny_chunks(start_world, check, number):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            await client.send(head("/up?size=5", "Transfer-Encoding: chunked", method="POST"))
            await client.send(b"1\r\nx\r\n" * number + b"0\r\n\r\n")
            status, _, _ = await client.answer()
            assert status in (200, 400, 413)

    check(world.measure(attack), growth=40)


def test_answer_in_tiny_chunks(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for query in (STORED, "cc=no-store"):
                status, _, size = await client.get(f"/tiny?size=60000&chunk=1&{query}")
                assert (status, size) == (200, 60000)

    check(world.measure(attack), growth=40)


def test_many_ranges_pipelined(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        target = f"/r?size=10000000&{STORED}"
        async with clients(world, 1) as [client]:
            for _ in range(3):
                await client.get(target)
            client.writer.write(head(target, "Range: bytes=0-0,2-2") * 600)
            for _ in range(600):
                status, _, _ = await client.answer()
                assert status in (200, 206)

    check(world.measure(attack), growth=60)


def test_pipelined_hits(start_world, check):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 20) as many:

            async def each(client: Client) -> None:
                client.writer.write(head("/probe?cc=max-age=3600&size=1000") * 3000)
                for _ in range(3000):
                    await client.answer()

            await asyncio.gather(*map(each, many))

    check(world.measure(attack), growth=60)


def test_long_vary_values(start_world, check):
    world = start_world()
    values = [",".join(f"a{n}-{m};q=0.{m % 9}" for m in range(1200))[:14_000] for n in range(64)]

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for value in (*values, *values):
                await client.get(f"/vv?size=10&vary=Accept-Language&{STORED}", f"Accept-Language: {value}")

    check(world.measure(attack), growth=60)


HOSTILE = ("*" + "[ab]" * 400 + "c*", "*" + "a*" * 300 + "c", "*" + "?" * 3000 + "c*", "*" + "[a-z]*" * 200)


def test_hostile_patterns(start_world, check):
    world = start_world(**ADMIN)

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for n in range(60):
                await client.get(f"/{'ab' * 3400}{n}?size=10&{STORED}")
            for pattern in HOSTILE:
                body = json.dumps({"pattern": pattern}).encode()
                lines = (TOKEN, "Content-Type: application/json", f"Content-Length: {len(body)}")
                await client.send(head("/invalidate", *lines, method="POST") + body)
                status, _, _ = await client.answer()
                assert status in (200, 400)

    check(world.measure(attack), growth=60)


def test_listing_many_keys(start_world, check):
    world = start_world(**ADMIN)

    async def fill(client: Client, first: int) -> None:
        for n in range(first, 40_000, 8):
            await client.get(f"/k{n}?size=10&{STORED}")

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for _ in range(3):
                status, _, _ = await client.get("/keys", TOKEN)
                assert status == 200
                status, _, _ = await client.get("/keys?match=cache:*k1*&limit=10", TOKEN)
                assert status == 200
            body = b'{"pattern": "*"}'
            lines = (TOKEN, "Content-Type: application/json", f"Content-Length: {len(body)}")
            await client.send(head("/invalidate", *lines, method="POST") + body)
            await client.answer()

    async def filled(world: World) -> None:
        async with clients(world, 8) as many:
            await asyncio.gather(*(fill(client, n) for n, client in enumerate(many)))

    world.measure(filled)
    check(world.measure(attack))


@pytest.mark.parametrize("query", ["blanks=60000", "members=15000", "lines=400"])
def test_odd_heads_of_the_backend(start_world, check, query):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 4) as many:
            for client in many:
                status, _, _ = await client.get(f"/odd?size=10&{query}&{STORED}")
                assert status in (200, 502)

    check(world.measure(attack), growth=60)


@pytest.mark.parametrize(
    "line",
    [
        "Connection: " + "a," * 7000,
        "Cache-Control: " + "a=b," * 3500,
        "Cache-Control: " + '"' * 14000,
        "Accept-Language: " + "a;q=0.1," * 1700,
        "Cookie: " + "a=b; " * 2800,
        "If-None-Match: " + '"a",' * 3500,
        "Range: bytes=" + "1-2," * 3500,
        "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2400, 2)),
        "Via: " + "1.1 a (" * 1900,
        "Via: " + "1.1 a," * 2300,
        "Forwarded: " + "for=a;" * 2300,
        "X-Forwarded-For: " + "1.2.3.4," * 1700,
        "Authorization: Bearer " + "." * 14000,
        "Authorization: Bearer " + "eyJ" * 4700,
        "TE: " + "a;q=0.1," * 1700,
        "Expect: " + "a," * 7000,
        "Upgrade: " + "a/b," * 3500,
        "Cache-Status: " + 'a; b="c", ' * 1400,
        "X-Tab: " + "\t " * 7000,
    ],
    ids=lambda line: line[:24].strip(),
)
def test_long_fields(start_world, check, line):
    world = start_world()

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            await client.get(f"/f?size=5000&{STORED}")
            for n in range(30):
                await client.send(head(f"/f?size=5000&{STORED}", line, f"X-N: {n}"))
                status, top, _ = await client.answer()
                assert status in (200, 206, 304, 400, 401, 416, 417, 431), top
                if b"connection: close" in top.lower():
                    client.close()
                    client.__init__(*vars(await Client.connect(world)).values())

    check(world.measure(attack), growth=60)


def test_rule_invalidations(start_world, check, tmp_path):
    rules = tmp_path / "rules.json"
    patterns = [f"cache:GET:*:/zz{n}*" for n in range(30)]
    rules.write_text(json.dumps([{"post_path_regex": "^/act", "invalidate_patterns": patterns}]))
    world = start_world(INVALIDATION_CONFIG=str(rules))

    async def fill(world: World) -> None:
        async with clients(world, 8) as many:

            async def each(client: Client, first: int) -> None:
                for n in range(first, 20_000, 8):
                    await client.get(f"/k{n}?size=10&{STORED}")

            await asyncio.gather(*(each(client, n) for n, client in enumerate(many)))

    async def attack(world: World) -> None:
        async with clients(world, 1) as [client]:
            for n in range(1200):
                await client.send(head(f"/act/{n}?size=2", "Content-Length: 0", method="POST"))
                await client.answer()
            _, top, _ = await client.get(f"/k7?size=10&{STORED}")
            assert b"HIT" in top

    world.measure(fill)
    check(world.measure(attack), growth=60)


def test_who_connects_while_a_crowd_fetches_large_bodies(start_world, check):
    """A connection waits for as many turns of the loop as there are connections before it that nobody has accepted."""
    world = start_world()
    longest = 0.0

    async def newcomers(world: World) -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        for _ in range(200):
            start = loop.time()
            async with clients(world, 1) as [client]:
                status, _, _ = await client.get("/probe?cc=max-age=3600&size=1000")
            assert status == 200
            longest = max(longest, loop.time() - start)
            await asyncio.sleep(0.01)

    async def attack(world: World) -> None:
        async with clients(world, 60, small=True) as herd:
            for n, client in enumerate(herd):
                await client.send(head(f"/new{n}?size=9900000&{STORED}"))
            await newcomers(world)

    check(world.measure(attack))
    assert longest <= STALL
