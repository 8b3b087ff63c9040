"""Games in orders chosen by seed (``play.py``): nothing that must not happen does, and a game replays exactly.

``make simulate`` plays a hundred thousand, ``make simulate SEED=n`` tells the story of one. The first games are the
same everywhere.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulation.play import told

GAMES = 1000


@pytest.mark.slow
def test_nothing_goes_wrong() -> None:
    run = [sys.executable, str(Path(__file__).with_name("run.py")), "--games", str(GAMES)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), f"make simulate SEED=n tells how it came to that: {ended}"
    assert ended.stdout.startswith(f"{GAMES} games")


@pytest.mark.parametrize("seed", [7, 44, 1915])
def test_a_game_replays_exactly(seed: int) -> None:
    why, story = told(seed)
    assert why is None
    assert len(story) > 100
    assert told(seed) == (why, story)
