"""A log that cannot be written costs log lines, and no request."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.conftest import World
from support.own_files import mounted

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]


def unaffected(world: World, seconds: float) -> None:
    assert world.watch(seconds).hold().share("HOT_HIT", "HIT") > 0.8


@pytest.fixture
def unread() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def test_a_stdout_that_nobody_reads(world: World, unread: tuple[int, int]) -> None:
    """More comes than may wait; when somebody reads again, the log says how much is missing."""
    reader, writer = unread
    world.more["stdout"] = writer
    world.run().busy()
    while not world.metric("log_lines_lost_total"):
        unaffected(world, 2)
    unaffected(world, 2)
    read = bytearray()
    reading = threading.Thread(target=lambda: _read(reader, read, b"log lines were lost"), daemon=True)
    reading.start()
    unaffected(world, 3)
    reading.join(20)
    assert b"log lines were lost" in read
    world.note(f"{world.metric('log_lines_lost_total'):.0f} log lines lost, no request")


def test_the_end_with_a_stdout_that_nobody_reads(world: World, unread: tuple[int, int]) -> None:
    _, writer = unread
    world.more["stdout"] = writer
    world.run().busy()
    unaffected(world, 2)
    world.ended = True
    assert world.proxy.stop() == 0
    assert world.seen().wrong == []


def test_a_disk_that_is_full(world: World, tmp_path: Path) -> None:
    """A real one, of a quarter of a megabyte; when there is room again, lines are written again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    world.more["through"] = mounted(f"mount -t tmpfs -o size=256k tmpfs {disk}", f"head -c 100000 /dev/zero > {disk}/x")
    world.run(LOG_FILE=str(disk / "proxy.log"), LOG_ROTATE_BYTES="0").busy()
    inside = Path(f"/proc/{world.proxy.pid}/root{disk}")
    assert world.metric("log_lines_lost_total") > 0
    unaffected(world, 2)
    size = (inside / "proxy.log").stat().st_size
    (inside / "x").unlink()
    unaffected(world, 2)
    assert (inside / "proxy.log").stat().st_size > size
    world.note(f"{world.metric('log_lines_lost_total'):.0f} log lines lost, no request")


def _read(reader: int, read: bytearray, until: bytes) -> None:
    while until not in read:
        read += os.read(reader, 1 << 16)
