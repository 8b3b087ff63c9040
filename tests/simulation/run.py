"""``make simulate``: many games on all cores, or with ``SEED=n`` the story of one; ``make simulate-mutants``.

A game that is lost is named by its seed and profile; ``make simulate SEED=n PROFILE=name`` replays it and prints each
event.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from simulation.mutants import MUTANTS, seeds_needed  # noqa: E402
from simulation.play import lost, told  # noqa: E402
from simulation.profiles import PROFILES  # noqa: E402

PIECE = 100


def _piece(profile: str, first: int) -> list[tuple[str, int, str]]:
    gc.set_threshold(100_000)
    return [(profile, seed, why) for seed, why in lost(range(first, first + PIECE), profile)]


def _pieces(first: int, games: int, profile: str | None) -> list[tuple[str, int]]:
    """Every other piece is of the mixture, the rest of each narrower profile in turn."""
    narrow = itertools.cycle([name for name in PROFILES if name != "mixed"])
    pieces = range(first, first + games, PIECE)
    return [(profile or ("mixed" if n % 2 == 0 else next(narrow)), start) for n, start in enumerate(pieces)]


def _needed(name: str, games: int) -> tuple[str, int | None]:
    gc.set_threshold(100_000)
    return name, seeds_needed(name, games)


def mutants(games: int) -> int:
    """How many games find each guard missing that is taken away; 1 if one is not missed."""
    with multiprocessing.Pool(len(os.sched_getaffinity(0)), maxtasksperchild=1) as pool:
        found = pool.starmap(_needed, [(name, games) for name in MUTANTS], chunksize=1)
    for name, needed in found:
        print(f"{needed or 'not found':>9}  {name} ({MUTANTS[name][0]})")
    return int(any(needed is None for _, needed in found))


def main() -> int:
    """The exit status: 1 if any game was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--games", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--profile", choices=list(PROFILES), help="only this kind of games (profiles.py)")
    parser.add_argument("--mutants", action="store_true")
    options = parser.parse_args()
    if options.mutants:
        return mutants(options.games)
    if options.seed is not None:
        why, story = told(options.seed, options.profile or "mixed")
        print(*story, why or "all is well", sep="\n")
        return int(why is not None)
    began = time.monotonic()
    found: list[tuple[str, int, str]] = []
    pieces = _pieces(options.first, options.games, options.profile)
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for some in pool.imap_unordered(_star, pieces):
            found += some
            for profile, seed, why in some:
                print(f"seed {seed}, {profile}: {why}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(pieces) * PIECE} games in {seconds:.0f} s, {len(found)} lost")
    return int(bool(found))


def _star(piece: tuple[str, int]) -> list[tuple[str, int, str]]:
    return _piece(*piece)


if __name__ == "__main__":
    sys.exit(main())
