"""``make simulate``: many games on all cores, or with ``SEED=n`` the story of one; ``make simulate-mutants``.

A game that is lost ends the run with its seed; ``make simulate SEED=n`` replays it and prints each event.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from simulation.mutants import MUTANTS, seeds_needed  # noqa: E402
from simulation.play import lost, told  # noqa: E402

PIECE = 100


def _piece(first: int) -> list[tuple[int, str]]:
    gc.set_threshold(100_000)
    return lost(range(first, first + PIECE))


def _needed(name: str, games: int) -> tuple[str, int | None]:
    gc.set_threshold(100_000)
    return name, seeds_needed(name, games)


def mutants(games: int) -> int:
    """How many games find each guard missing that is taken away; 1 if one is not missed."""
    with multiprocessing.Pool(len(os.sched_getaffinity(0)), maxtasksperchild=1) as pool:
        found = pool.starmap(_needed, [(name, games) for name in MUTANTS], chunksize=1)
    for name, needed in found:
        print(f"{needed or 'not found':>9}  {name}")
    return int(any(needed is None for _, needed in found))


def main() -> int:
    """The exit status: 1 if any game was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--games", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mutants", action="store_true")
    options = parser.parse_args()
    if options.mutants:
        return mutants(options.games)
    if options.seed is not None:
        why, story = told(options.seed)
        print(*story, why or "all is well", sep="\n")
        return int(why is not None)
    began = time.monotonic()
    found: list[tuple[int, str]] = []
    pieces = range(options.first, options.first + options.games, PIECE)
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for some in pool.imap_unordered(_piece, pieces):
            found += some
            for seed, why in some:
                print(f"seed {seed}: {why}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(pieces) * PIECE} games in {seconds:.0f} s, {len(found)} lost")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
