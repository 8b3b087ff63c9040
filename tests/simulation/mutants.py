"""Guards of the proxy, each taken away in turn: games have to find every one of them missing.

The one table of names within the proxy that this depends on. ``MUTANTS`` has the kind of games that find it, what to
replace, and by what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

from simulation.play import play
from simulation.world import Wrong
from twisted.internet.defer import Deferred, succeed

from caching_proxy.cache import walk
from caching_proxy.cache.backend.fetch import Fetcher
from caching_proxy.cache.flights import Flight
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.key_state import KeyState, Lease
from caching_proxy.cache.memory import Memory
from caching_proxy.cache.pending import Pending, invalidation_of
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IStore
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.ledger import published
from caching_proxy.store.redis import follower
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger_calls import Marked
from caching_proxy.store.redis.put import Put
from caching_proxy.store.redis.store import RedisStore

replaced = mock.patch.object
Patch = Any
"""What ``mock.patch`` makes: in force while it is entered."""


async def only_after(together: Sequence[Pending], store: IStore, change: Callable[[], Deferred[Any]]) -> Any:
    changed = await change()
    await store.mark(invalidation_of(together))
    return changed


async def only_before(together: Sequence[Pending], store: IStore, change: Callable[[], Deferred[Any]]) -> Any:
    await store.mark(invalidation_of(together))
    return await change()


def blind(self: Follower, payload: bytes) -> None:
    entry = published(payload)
    self._take(entry)
    self._advance(entry.mark)


def hasty(self: Follower, marked: Marked) -> None:
    if marked.mark:
        self._advance(marked.mark)


_fill = Fetcher.fill


def late(self: Fetcher, entry: CacheEntry, lease: Lease, flight: Flight | None) -> None:
    lease.close()
    _fill(self, entry, Lease(lease._state, lease.key), flight)


_init = Put.__init__


def any_time(self: Put, *args: Any, **named: Any) -> None:
    """As ``Put``, but sent without the newest invalidation that was looked at."""
    _init(self, *args[:5], None, *args[6:], **named)


_parts = Put.parts


def no_deadline(self: Put, connection: Any) -> Any:
    self.deadline += 1e6
    try:
        return _parts(self, connection)
    finally:
        self.deadline -= 1e6


def at_once(self: KeyState, key: bytes, begin: Callable[..., None], *args: Any) -> None:
    """Writes of a key side by side: each goes on as if nothing else were under way."""
    record = self.records.get(key) or self._begun(key)
    record.writes = deque()
    begin(*args)


def no_turn(self: KeyState, key: bytes) -> None:
    record = self.records.get(key)
    if record is not None:
        record.writes = None
        self.rest(record)


MUTANTS: dict[str, tuple[str, Callable[[], Sequence[Patch]]]] = {
    "leases are not voided": ("mixed", lambda: [replaced(Lease, "void", lambda self, moment: None)]),
    "a flight stays joinable after an invalidation": (
        "crossing",
        lambda: [replaced(KeyState, "void", void_leases_only)],
    ),
    "no flight can be joined": ("mixed", lambda: [replaced(KeyState, "flight", lambda self, key, selected=(): None)]),
    "a write does not outdate what is read": (
        "in parts",
        lambda: [replaced(KeyState, "outdate", lambda self, key: None)],
    ),
    "tags of work under way are not looked at": (
        "crossing",
        lambda: [
            replaced(Lease, "carry", lambda self, tags: self.valid),
            replaced(KeyState, "void_tags", lambda self, tags, now: None),
        ],
    ),
    "an ordinary miss opens its lease when the answer is here": ("mixed", lambda: [replaced(Fetcher, "fill", late)]),
    "a voided write is not taken back": (
        "late writes",
        lambda: [replaced(Writer, "_remove", lambda self, entry: succeed(None))],
    ),
    "writes of a key go side by side": (
        "refreshing",
        lambda: [
            replaced(KeyState, "in_turn", at_once),
            replaced(KeyState, "end_turn", no_turn),
        ],
    ),
    "the memory tiers keep what is invalidated": (
        "mixed",
        lambda: [replaced(Memory, "drop_target", lambda self, target: (self._clock.seconds(), set()))],
    ),
    "what was read during an invalidation is kept": (
        "overtaking",
        lambda: [replaced(Invalidator, "_forget_what_was_read", lambda self, over: None)],
    ),
    "what the store has yet to remove is given out": (
        "mixed",
        lambda: [replaced(Invalidator, "_hidden_since", lambda self, key, moment: moment)],
    ),
    "what is invalidated softly stays fresh in the store": (
        "softly",
        lambda: [
            replaced(RedisStore, "soften", lambda self, keys, moment: succeed(set())),
            replaced(RedisStore, "soften_target", lambda self, target, moment: succeed(set())),
        ],
    ),
    "what is in the journal is forgotten at a restart": (
        "outages",
        lambda: [replaced(Invalidator, "restore", lambda self, invalidations: None)],
    ),
    "a write does not name the newest invalidation": ("mixed", lambda: [replaced(Put, "__init__", any_time)]),
    "a write has no latest time": ("lost writes", lambda: [replaced(Put, "parts", no_deadline)]),
    "a write of a lost connection is over at once": ("lost writes", lambda: [replaced(Put, "if_lost", "fail")]),
    "an invalidation is numbered only after the deletion": ("crossing", lambda: told_by(only_after)),
    "an invalidation is told only before the deletion": ("crossing", lambda: told_by(only_before)),
    "a gap among messages is not noticed": ("deaf", lambda: [replaced(Follower, "heard", blind)]),
    "our own entry skips those before it": ("crossing", lambda: [replaced(Follower, "marked", hasty)]),
    "a ledger that is too short is taken for all": (
        "mixed",
        lambda: [replaced(follower, "missed", lambda known, newest, log: ())],
    ),
    "the ledger is not read again": ("mixed", lambda: [replaced(Follower, "catch_up", lambda self: succeed(None))]),
}


def void_leases_only(self: KeyState, matches: Callable[[bytes], bool], now: float) -> None:
    for record in [record for key, record in self.records.items() if matches(key)]:
        for lease in record.leases:
            lease.void(now)


def told_by(function: object) -> list[Patch]:
    return [replaced(walk, "told_before_and_after", function)]


def seeds_needed(name: str, most: int) -> int | None:
    """How many games of its profile it takes to find the guard ``name`` missing; None if ``most`` do not.

    Only what the model says is wrong counts: whatever else is raised is a fault of the mutation.
    """
    profile, patches = MUTANTS[name]
    with ExitStack() as entered:
        for patch in patches():
            entered.enter_context(patch)
        for seed in range(most):
            try:
                play(seed, profile)
            except Wrong:
                return seed + 1
    return None
