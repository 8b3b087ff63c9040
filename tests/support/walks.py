"""Walking over a store's keys to the end."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from caching_proxy.interfaces import SCAN_ENDS, IStore


async def walked(store: IStore, prefix: bytes = b"") -> list[bytes]:
    """The keys that begin with ``prefix``, each as often as it came."""
    keys: list[bytes] = []
    cursor = SCAN_ENDS
    while True:
        step = await store.scan(cursor, prefix)
        keys += step.keys
        cursor = step.cursor
        if cursor == SCAN_ENDS:
            return keys


def walk(store: IStore, prefix: bytes = b"") -> Deferred[list[bytes]]:
    return Deferred.fromCoroutine(walked(store, prefix))
