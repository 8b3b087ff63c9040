"""Games in orders chosen by seed (``play.py``): nothing that must not happen does, and a game replays exactly.

``make simulate`` plays a hundred thousand, ``make simulate SEED=n`` tells the story of one. The first games are the
same everywhere.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from simulation.mutants import MUTANTS, seeds_needed
from simulation.play import told
from simulation.profiles import PROFILES

from caching_proxy.cache.key_state import KeyState

GAMES = 1000


@pytest.mark.slow
def test_nothing_goes_wrong() -> None:
    run = [sys.executable, str(Path(__file__).with_name("run.py")), "--games", str(GAMES)]  # half of them mixed
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), f"make simulate SEED=n tells how it came to that: {ended}"
    assert ended.stdout.startswith(f"{GAMES} games")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", [7, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (44, 1915))])
def test_a_game_replays_exactly(seed: int, profile: str) -> None:
    why, story = told(seed, profile)
    assert why is None
    assert len(story) > 70
    assert told(seed, profile) == (why, story)


def test_only_what_the_model_says_counts_as_found() -> None:
    """A mutation that raises of itself has found nothing."""
    broken = (
        "mixed",
        lambda: [mock.patch.object(KeyState, "in_turn", side_effect=RuntimeError("a mutation gone bad"))],
    )
    with mock.patch.dict(MUTANTS, {"broken": broken}), pytest.raises(RuntimeError):
        seeds_needed("broken", 1)


@pytest.mark.parametrize("name", ["leases are not voided", "the memory tiers keep what is invalidated"])
def test_a_guard_that_is_gone_is_found_missing(name: str) -> None:
    assert seeds_needed(name, 60) is not None
