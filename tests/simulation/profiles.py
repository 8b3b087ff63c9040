"""Kinds of games: what is more likely in each than in the mixture of everything.

The mixture finds what a bit of everything brings about. Some guards matter only in a corner that it seldom visits: an
answer must cross an invalidation, on its way to one of few targets, while a third message is late. A profile draws the
odds of the mixture, then narrows them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from simulation.model import PLACES, Place
from simulation.world import Odds, drawn

Narrowing = Callable[[Random], dict[str, Any]]


def _few(random: Random) -> tuple[Place, ...]:
    return random.choice((PLACES[:1], PLACES[2:3], PLACES[2:4], PLACES[:4:2], PLACES[1:4:2]))


_NO_FAULTS: dict[str, Any] = {"fault": 0.0, "answers": (("fresh",), (1.0,)), "leaving": 0.0}


@attrs.frozen
class Profile:
    """``proxies``: how many share the store; None alternates by seed. ``ledger``: whether Redis refuses writes from
    before an invalidation. Without it the guards of one proxy stand alone, as they do for one whose user may not run
    the scripts."""

    narrowed: Narrowing = lambda random: {}
    proxies: int | None = None
    ledger: bool = True

    def odds(self, random: Random, seed: int) -> Odds:
        """Those of the game ``seed``."""
        odds = drawn(random, self.proxies or 1 + seed % 2)
        return attrs.evolve(odds, ledger=self.ledger, **self.narrowed(random))


def _crossing(random: Random) -> dict[str, Any]:
    """Two proxies, few targets, no faults: messages overtake each other."""
    return {
        **_NO_FAULTS,
        "places": (_few(random),),
        "changes": random.choice((0.1, 0.3)),
        "hows": random.choice((("target",), ("tag",), ("key",), ("target", "tag", "key", "pattern"))),
        "events": 80,
        "slow": random.choice((0.3, 0.6)),
        "stuck": random.choice((0.0, 0.02)),
        "pool": (4, 10),
        "pieces": 0.0,
        "fleet": False,
        "server_ahead": 0.0,
        "hot_seconds": 30.0,
        "hot_entries": 100,
        "ledger_length": 1000,
        "sleep": 0.1,
    }


def _overtaking(random: Random) -> dict[str, Any]:
    """As crossing, with one target that changes all the time."""
    return {
        **_crossing(random),
        "places": (random.choice((PLACES[:1], PLACES[2:3])),),
        "changes": random.choice((0.2, 0.4)),
        "hows": (random.choice(("target", "tag")),),
        "events": 120,
        "slow": 0.6,
        "stuck": 0.0,
        "sleep": 0.01,
    }


def _deaf(random: Random) -> dict[str, Any]:
    """Two proxies that do not hear each other for a while."""
    return {
        **_crossing(random),
        "fault": 0.15,
        "faults": ("unsubscribe",),
        "stuck": random.choice((0.0, 0.02)),
        "hot_seconds": 30.0,
    }


def _outages(random: Random) -> dict[str, Any]:
    """Redis refuses or is out of reach, and proxies are killed and restarted meanwhile."""
    return {
        **_NO_FAULTS,
        "places": (_few(random),),
        "changes": 0.3,
        "fault": 0.3,
        "faults": ("mood", "mood", "kill", "restart"),
        "events": 40,
        "stuck": 0.0,
        "sleep": 0.1,
    }


def _late_writes(random: Random) -> dict[str, Any]:
    """One proxy, whose writes come late, or after their connection was given up."""
    return {
        **_NO_FAULTS,
        "places": (_few(random),),
        "changes": 0.3,
        "hows": ("target", "key", "pattern"),
        "events": 40,
        "slow": 0.3,
        "stuck": random.choice((0.1, 0.3)),
        "pool": (2, 10),
        "fault": random.choice((0.0, 0.1)),
        "faults": ("cut", "stall"),
        "hot_entries": random.choice((0, 1, 100)),
        "fleet": False,
        "sleep": 0.3,
    }


def _lost_writes(random: Random) -> dict[str, Any]:
    """As late writes, of which some come after everybody has given them up, or after their connection was cut."""
    return {
        **_late_writes(random),
        "events": 80,
        "stuck": 0.15,
        "longest": random.choice((3.0, 10.0)),
        "fault": random.choice((0.0, 0.15, 0.3)),
        "faults": ("cut",),
        "sleep": random.choice((0.05, 0.2)),
    }


def _refreshing(random: Random) -> dict[str, Any]:
    """One proxy, whose clients ask for what is new though nobody invalidated anything."""
    return {
        **_NO_FAULTS,
        "places": (_few(random),),
        "hows": ("silently",),
        "changes": 0.3,
        "refresh": 0.4,
        "events": 120,
        "slow": 0.6,
        "stuck": 0.0,
        "hot_seconds": 0.5,
        "burst_seconds": 10.0,
        "hot_entries": random.choice((0, 0, 1, 100)),
        "pool": (2, 10),
        "fleet": False,
        "sleep": 0.2,
    }


def _softly(random: Random) -> dict[str, Any]:
    """What is invalidated stays in the store, as stale."""
    return {
        **(_crossing(random) if random.random() < 0.5 else _outages(random)),
        "hows": ("soft target", "soft tag", "soft pattern", "soft key", "target", "tag"),
        "changes": 0.2,
    }


def _in_parts(random: Random) -> dict[str, Any]:
    """Clients ask for ranges and heads beside the whole."""
    return {
        **(_crossing(random) if random.random() < 0.5 else _outages(random)),
        "places": (PLACES[:1], PLACES[:4]),
        "hows": ("target", "tag", "key", "put", "silently"),
        "changes": 0.2,
        "heads": random.choice((0.0, 0.2)),
        "parts": random.choice((0.3, 0.6)),
        "refresh": random.choice((0.0, 0.1)),
        "pieces": random.choice((0.0, 0.2)),
    }


PROFILES = {
    "mixed": Profile(),
    "crossing": Profile(_crossing, proxies=2),
    "overtaking": Profile(_overtaking, proxies=2),
    "deaf": Profile(_deaf, proxies=2),
    "outages": Profile(_outages, proxies=1),
    "late writes": Profile(_late_writes, proxies=1, ledger=False),
    "lost writes": Profile(_lost_writes, proxies=1, ledger=False),
    "softly": Profile(_softly),
    "in parts": Profile(_in_parts),
    "refreshing": Profile(_refreshing, proxies=1),
}
