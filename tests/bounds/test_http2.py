"""HTTP/2: many streams on one connection cost others no more than many connections would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from bounds.conftest import StartWorld, World
from h2.settings import SettingCodes
from support.authority import Authority
from support.h2_blocking import Client
from support.tls_client import write_pair

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.bounds]

AUTHORITY = Authority()
STORED = "cc=max-age=600"

Work = Callable[[World], None]


@pytest.fixture
def start_h2(start_world: StartWorld, tmp_path) -> StartWorld:
    """A world that speaks TLS."""
    certificate, key = write_pair(tmp_path, "pair", AUTHORITY, "localhost")
    return lambda **settings: start_world(TLS_CERT_FILE=certificate, TLS_KEY_FILE=key, **settings)


def in_thread(work: Work):
    """``work`` with blocking clients, as an attack."""

    async def attack(world: World) -> None:
        await asyncio.get_running_loop().run_in_executor(None, work, world)

    return attack


def client(world: World, reading: bool = True) -> Client:
    return Client(world.port, AUTHORITY, reading)


@pytest.mark.parametrize("query", [STORED, "cc=no-store"], ids=["stored", "uncacheable"])
def test_streams_that_nobody_reads(start_h2, check, query):
    """Thirty connections with a hundred streams each, all windows closed after their first 64 KiB."""
    world = start_h2(BACKEND_MAX_CONNECTIONS="64")

    def attack(world: World) -> None:
        many = [client(world, reading=False) for _ in range(30)]
        for nth, one in enumerate(many):
            for n in range(100):
                one.begin(f"/unread{n if query == STORED else (nth, n)}?size=1000000&{query}")
        for one in many:
            one.receive()
        for one in many:
            one.socket.close()

    check(world.measure(in_thread(attack)), growth=160)


def test_windows_that_never_open(start_h2, check):
    """The client allows no byte of content at all."""
    world = start_h2()

    def attack(world: World) -> None:
        many = [client(world, reading=False) for _ in range(20)]
        for one in many:
            one.machine.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            one.flush()
            for n in range(100):
                one.begin(f"/closed{n % 10}?size=5000000&{STORED}")
        for one in many:
            one.receive()
            one.socket.close()

    check(world.measure(in_thread(attack)), growth=160)


def test_heads_that_never_repeat(start_h2, check):
    world = start_h2()

    def attack(world: World) -> None:
        one = client(world)
        for n in range(0, 6000, 50):
            numbers = [
                one.begin("/probe?cc=max-age=3600&size=1000", fields=[(f"x-{m}", "v" * 200), ("x-id", str(m))])
                for m in range(n, n + 50)
            ]
            assert {answer.status for answer in one.finish(*numbers)} == {200}
        one.socket.close()

    check(world.measure(in_thread(attack)), growth=40)


def test_uploads_in_tiny_frames(start_h2, check):
    world = start_h2()

    def attack(world: World) -> None:
        one = client(world)
        number = one.begin("/up?size=5", "POST", ends=False)
        for _ in range(20_000):
            if not one.machine.local_flow_control_window(number):
                one.receive()
            one.machine.send_data(number, b"x")
            one.flush()
        one.machine.end_stream(number)
        one.flush()
        [answer] = one.finish(number)
        assert answer.status == 200
        one.socket.close()

    check(world.measure(in_thread(attack)), growth=40)


def test_requests_that_are_reset_at_once(start_h2, check):
    """Rapid reset: whoever takes back what he asks for, again and again, is sent away."""
    world = start_h2()

    def attack(world: World) -> None:
        for turn in range(20):
            one = client(world)
            try:
                for n in range(500):
                    number = one.begin(f"/reset{turn}-{n}?wait=1&{STORED}")
                    one.machine.reset_stream(number)
                    one.flush()
            except OSError:
                pass  # sent away
            one.socket.close()

    check(world.measure(in_thread(attack)), growth=60, connections=64)


def test_hits_on_a_hundred_streams(start_h2, check):
    world = start_h2()

    def attack(world: World) -> None:
        many = [client(world) for _ in range(5)]
        for _ in range(20):
            for one in many:
                numbers = [one.begin("/probe?cc=max-age=3600&size=1000") for _ in range(90)]
                assert {answer.status for answer in one.finish(*numbers)} == {200}
        for one in many:
            one.socket.close()

    check(world.measure(in_thread(attack)), growth=40)
