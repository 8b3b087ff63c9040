"""An entry of one key, and what the store of a proxy in memory has under it."""

from __future__ import annotations

from support.memory_proxy import MemoryProxy

from caching_proxy.rules.entry import CacheEntry

KEY = b"cache:GET:anonymous:/x"


def entry(proxy: MemoryProxy, body: bytes = b"one", *, foo: bytes | None = None, keep: int = 900) -> CacheEntry:
    selecting = () if foo is None else ((b"foo", foo),)
    now = proxy.clock.seconds()
    return CacheEntry(KEY, 200, b"OK", b"", body, now, lifetime=keep, keep=keep, selecting=selecting)


def put(proxy: MemoryProxy, field: bytes, value: bytes) -> None:
    proxy.store.inner.put(KEY, field, value, 900_000)
