"""The wall clock is set, under load: nothing is served for longer than its lifetime."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from faults.conftest import World
from support.shifted_clock import ShiftedClock

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults, pytest.mark.long]

LIFETIME = 5


@pytest.mark.parametrize("hours", [1, -1])
def test_nothing_lives_longer_than_its_lifetime(world: World, tmp_path: Path, hours: int) -> None:
    clock = ShiftedClock(tmp_path)
    world.backend.ask(age=LIFETIME)
    world.run(**clock.environment).busy(cached=0.0)
    for version, seconds in enumerate((hours * 3600, 0), 1):
        changed = time.monotonic()
        world.backend.ask(version=version)
        world.watch(1).hold()
        clock.by(seconds)
        world.seen()
        world.watch(LIFETIME + 2 - (time.monotonic() - changed)).hold()
        world.watch(1, oldest=version).hold()
