"""Two proxies on one store, raced by seed: nothing old is stored or answered, whatever is late, lost or broken.

``INTERLEAVINGS=10000`` plays so many games. A game that goes wrong names its seed, and replays exactly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.two_caches import Wrong, play
from twisted.internet.defer import Deferred

from caching_proxy.cache import walk
from caching_proxy.cache.pending import Pending, invalidation_of
from caching_proxy.interfaces import IStore
from caching_proxy.rules.ledger import published
from caching_proxy.store.redis import follower
from caching_proxy.store.redis.follower import Follower
from caching_proxy.store.redis.ledger_calls import Marked

GAMES = int(os.environ.get("INTERLEAVINGS", "1000"))
PIECE = 250


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, GAMES, PIECE))
def test_nothing_old_comes_out(first: int) -> None:
    for seed in range(first, min(first + PIECE, GAMES)):
        play(seed)


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


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "numbered only after the deletion": lambda patch: told(patch, only_after),
    "told only before the deletion": lambda patch: told(patch, only_before),
    "a gap is not noticed": lambda patch: patch.setattr(Follower, "heard", blind),
    "our own entry skips those before it": lambda patch: patch.setattr(Follower, "marked", hasty),
    "a log that is too short is taken for all": lambda patch: patch.setattr(
        follower, "missed", lambda known, newest, log: ()
    ),
}


def told(patch: pytest.MonkeyPatch, function: object) -> None:
    patch.setattr(walk, "told_before_and_after", function)


def goes_wrong(**options: Any) -> bool:
    for seed in range(3000):
        try:
            play(seed, **options)
        except Wrong:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_each_guard_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BROKEN[name](monkeypatch)
    assert goes_wrong()


@pytest.mark.slow
def test_a_store_that_takes_every_write_is_found_out() -> None:
    assert goes_wrong(since_matters=False)
