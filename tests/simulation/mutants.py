"""Guards of the proxy, each taken away in turn: games have to find every one of them missing.

The one table of names within the proxy that this depends on. ``MUTANTS`` has what to replace, and by what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

from simulation.play import play
from twisted.internet.defer import Deferred, succeed

from caching_proxy.cache import walk
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.key_state import KeyState, Lease
from caching_proxy.cache.memory import Memory
from caching_proxy.cache.pending import Pending, invalidation_of
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IStore
from caching_proxy.rules.ledger import published
from caching_proxy.store.redis import follower
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger_calls import Marked
from caching_proxy.store.redis.scripts import Put

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
    """Writes of a key side by side."""
    self._record(key).writes = None
    begin(*args)


def no_turn(self: KeyState, key: bytes) -> None:
    record = self.records.get(key)
    if record is not None:
        self.rest(record)


MUTANTS: dict[str, Callable[[], Sequence[Patch]]] = {
    "leases are not voided": lambda: [replaced(Lease, "void", lambda self, moment: None)],
    "a flight stays joinable after an invalidation": lambda: [replaced(KeyState, "void", void_leases_only)],
    "no flight can be joined": lambda: [replaced(KeyState, "flight", lambda self, key: None)],
    "a write does not outdate what is read": lambda: [replaced(KeyState, "outdate", lambda self, key: None)],
    "tags of work under way are not looked at": lambda: [
        replaced(Lease, "carry", lambda self, tags: self.valid),
        replaced(KeyState, "void_tags", lambda self, tags, now: None),
    ],
    "a voided write is not taken back": lambda: [replaced(Writer, "_remove", lambda self, entry: succeed(None))],
    "writes of a key go side by side": lambda: [
        replaced(KeyState, "in_turn", at_once),
        replaced(KeyState, "end_turn", no_turn),
    ],
    "the memory tiers keep what is invalidated": lambda: [
        replaced(Memory, "drop_target", lambda self, target: (self._clock.seconds(), set()))
    ],
    "what was read during an invalidation is kept": lambda: [
        replaced(Invalidator, "_forget_what_was_read", lambda self, over: None)
    ],
    "what the store has yet to remove is given out": lambda: [
        replaced(Invalidator, "_hidden_since", lambda self, key, moment: moment)
    ],
    "what is in the journal is forgotten at a restart": lambda: [
        replaced(Invalidator, "restore", lambda self, invalidations: None)
    ],
    "a write does not name the newest invalidation": lambda: [replaced(Put, "__init__", any_time)],
    "a write has no latest time": lambda: [replaced(Put, "parts", no_deadline)],
    "a write of a lost connection is over at once": lambda: [replaced(Put, "if_lost", "fail")],
    "an invalidation is numbered only after the deletion": lambda: told_by(only_after),
    "an invalidation is told only before the deletion": lambda: told_by(only_before),
    "a gap among messages is not noticed": lambda: [replaced(Follower, "heard", blind)],
    "our own entry skips those before it": lambda: [replaced(Follower, "marked", hasty)],
    "a ledger that is too short is taken for all": lambda: [
        replaced(follower, "missed", lambda known, newest, log: ())
    ],
    "the ledger is not read again": lambda: [replaced(Follower, "catch_up", lambda self: succeed(None))],
}


def void_leases_only(self: KeyState, matches: Callable[[bytes], bool], now: float) -> None:
    for record in [record for key, record in self.records.items() if matches(key)]:
        for lease in record.leases:
            lease.void(now)


def told_by(function: object) -> list[Patch]:
    return [replaced(walk, "told_before_and_after", function)]


def seeds_needed(name: str, most: int) -> int | None:
    """How many games it takes to find the guard ``name`` missing; None if ``most`` do not."""
    with ExitStack() as patches:
        for patch in MUTANTS[name]():
            patches.enter_context(patch)
        for seed in range(most):
            try:
                play(seed)
            except Exception:  # noqa: BLE001 whatever it breaks, it is found out
                return seed + 1
    return None
