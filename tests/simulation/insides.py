"""What games look at within a proxy: the one place that knows where the cache keeps count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from caching_proxy.cache.backend.tee import BUDGET

if TYPE_CHECKING:
    from simulation.process import Process

    from caching_proxy.cache.build import Cache
    from caching_proxy.cache.pending import Pending


def on_purge(cache: Cache, told: Callable[[bytes], object]) -> None:
    """``told`` hears of each key that is invalidated because the store could not be put right."""
    purge = cache.writer._purge_key

    def purged(key: bytes) -> None:
        told(key)
        purge(key)

    cache.writer._purge_key = purged


def on_forget(cache: Cache, told: Callable[[], object]) -> None:
    """``told`` hears when what was read during an invalidation is forgotten, as it has ended."""
    forget = cache.invalidator._forget_what_was_read

    def forgotten(over: Pending) -> None:
        told()
        forget(over)

    cache.invalidator._forget_what_was_read = forgotten  # type: ignore[method-assign]


def under_way(process: Process) -> dict[str, int]:
    """What is under way in the cache of ``process``, by name."""
    cache = process.cache
    return {
        "keys": len(cache.key_state),
        "bytes on their way to the store": cache.writer._pending_bytes,
        "bytes being collected": BUDGET - cache.fills.left,
        "invalidations": cache.invalidator.pending,
        "commands": process.store.store.pool.pending + process.store.store.bulk.pending,
    }


def remains(process: Process) -> dict[str, int]:
    """The same, and what holds a stopped process: only what is left. Invalidations may wait, in the journal."""
    found = under_way(process)
    del found["invalidations"]
    found |= Counter(f"timer of {call.func!r}" for call in process.clock.getDelayedCalls())
    found["connections"] = len(process.link.of(process.clock))
    return {name: count for name, count in found.items() if count}
