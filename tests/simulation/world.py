"""What a game consists of beside its players: the seed, the time, what may go wrong how often, and the trace.

Every choice is the seed's: how long each message takes, and so which of two comes first; what fails, stalls, is cut
or restarted. The odds are drawn anew for each game, many of them none: trouble of one kind alone finds other things
than all of it together.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from simulation.clocks import WorldClock
from simulation.model import PLACES, Model, Place

START = 1_900_000_000.0


class Wrong(AssertionError):
    """What must not happen happened."""


@attrs.frozen
class Odds:
    """How often what goes wrong, how long things take, and how the proxies are set up, in one game.

    ``slow`` and ``stuck`` are parts of messages that take up to a tenth of a second or up to ``longest`` seconds;
    ``faults`` has the kinds that may happen, ``fault`` how many of all events are one. ``places`` are sets of targets
    and roles, of which each request takes one; ``changes`` is how many events are one of ``hows``, ``ledger`` whether
    the proxies keep one; ``heads`` and ``parts`` are how many requests are HEAD, or for a range.
    """

    proxies: int
    events: int
    slow: float
    stuck: float
    pieces: float
    leaving: float
    refresh: float
    fault: float
    faults: tuple[str, ...]
    answers: tuple[tuple[str, ...], tuple[float, ...]]
    hot_seconds: float
    burst_seconds: float
    pool: tuple[int, int]
    ledger_length: int
    server_ahead: float
    fleet: bool
    hot_entries: int
    sleep: float
    longest: float = 4.0
    places: tuple[tuple[Place, ...], ...] = (PLACES[:1], PLACES[:2], PLACES)
    changes: float = 0.2
    hows: tuple[str, ...] = ("target", "pattern", "key", "tag", "put")
    ledger: bool = True
    heads: float = 0.0
    parts: float = 0.0

    @property
    def backend_fails(self) -> bool:
        """Whether a request may fail for the backend's sake."""
        return not {"silent", "gone", "error", "cut"}.isdisjoint(self.answers[0])


FAULTS = (
    "cut",
    "stall",
    "freeze",
    "mood",
    "restart redis",
    "flush",
    "forget scripts",
    "kill",
    "restart",
    "unsubscribe",
)
_ANSWERS = {"private": 0.1, "short": 0.3, "error": 0.1, "silent": 0.03, "gone": 0.1, "cut": 0.1}


def drawn(random: Random, proxies: int) -> Odds:
    """The odds of a game."""

    def sometimes(*values: float) -> float:
        return random.choice((0.0, *values))

    kinds = [kind for kind in _ANSWERS if random.random() < 0.25]
    return Odds(
        proxies=proxies,
        events=random.choice((15, 25, 40)),
        slow=sometimes(0.1, 0.3),
        stuck=sometimes(0.0, 0.02, 0.1),
        pieces=sometimes(0.0, 0.2),
        leaving=sometimes(0.1, 0.3),
        refresh=sometimes(0.1, 0.4),
        fault=sometimes(0.05, 0.1, 0.25),
        faults=tuple(random.sample(FAULTS, random.choice((1, 2, 3, len(FAULTS))))),
        answers=(("fresh", *kinds), (0.5, *map(_ANSWERS.__getitem__, kinds))),
        hot_seconds=random.choice((0.5, 5.0, 30.0, 30.0)),
        burst_seconds=random.choice((0.5, 10.0)),
        pool=random.choice(((1, 1), (1, 3), (2, 10))),
        ledger_length=random.choice((3, 6, 1000)),
        server_ahead=random.choice((0.0, -3600.0, 5.0)),
        fleet=random.random() < 0.15,
        hot_entries=random.choice((100, 100, 1, 0)),
        sleep=sometimes(0.02, 0.1),
    )


class World:
    """One game's seed, time, odds and model. ``calm``: nothing goes wrong any more."""

    def __init__(self, seed: int, odds: Callable[[Random, int], Odds], tracing: bool = False) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clock = WorldClock(START)
        self.odds = odds(self.random, seed)
        self.model = Model(self)
        self.tracing = tracing
        self.trace: list[str] = []
        self.calm = False
        self.frozen = False  # the server stands still
        self.down = False  # nobody listens where the server was
        self.wrong: str | None = None

    @property
    def now(self) -> float:
        return self.clock.rightNow

    def happens(self, part: float) -> bool:
        """Whether something of this probability does."""
        return self.random.random() < part

    def delay(self) -> float:
        """How long something takes, in seconds."""
        random, odds = self.random.random, self.odds
        if self.calm:
            return 0.0002 + 0.001 * random()
        kind = random()
        if kind < odds.stuck:
            return odds.longest * random()
        if kind < odds.stuck + odds.slow:
            return 0.1 * random()
        return 0.002 * random()

    def note(self, what: str) -> None:
        """A line of the trace, where one is kept."""
        if self.tracing:
            self.trace.append(f"{self.now - START:11.6f} {what}")

    def fail(self, why: str) -> None:
        """The game is lost: noted, as whoever finds out may be called by code that swallows exceptions."""
        self.note(f"WRONG: {why}")
        self.wrong = self.wrong or why
