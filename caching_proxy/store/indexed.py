"""An :class:`IStore` made of an :class:`IValues`: what that need not do is done here, in memory, for one proxy alone.

The embedded store keeps keys, variants, outlines, ends, targets and tags, with a stub in the place of each value. The
values are elsewhere, each under a name of its own that is never given twice. So nothing that was written before an
invalidation, by an earlier process or by another one is ever read: whoever has no stub cannot ask for the value.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from itertools import count
from struct import Struct
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import Fate, IStore, IValues, Scanned, Stored, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.codec import outline_in
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.store.memory import DEFAULT_MAX_BYTES, MemoryStore

T = TypeVar("T")

_STUB = Struct(">QQ")  # the number of the write, and how long its value is; the outline follows
_log = Logger()


def _size(stub: bytes) -> int:
    size: int = _STUB.unpack_from(stub)[1]
    return size


def _outline(stub: bytes) -> bytes:
    return stub[_STUB.size :]


@implementer(IStore)
class IndexedStore:
    """``max_bytes`` bounds values, keys and overhead together; see :class:`MemoryStore`."""

    def __init__(
        self,
        values: IValues,
        clock: IReactorTime,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_variants: int = MAX_VARIANTS,
        max_variant_bytes: int = MAX_VARIANT_BYTES,
    ) -> None:
        self._values = values
        self._salt = os.urandom(16)
        self._numbers = count()
        self._writing: set[bytes] = set()
        self._gone: list[bytes] = []
        self._index = MemoryStore(
            clock, max_bytes, max_variants, max_variant_bytes, weigh=_size, outline=_outline, on_gone=self._let_go
        )

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        return Deferred.fromCoroutine(self._lookup(key, fields))

    async def _lookup(self, key: bytes, fields: Sequence[bytes] | None) -> Stored | None:
        found = await self._index.lookup(key, fields)
        self._clear_away()
        if found is None or not found.variants:
            return found
        names = {field: self._name(stub) for field, stub in found.variants.items()}
        values = await self._values.get(list(names.values()))
        for field, name in names.items():
            if name not in values and name not in self._writing:  # it went before its time
                await self._forget(key, field, found.variants[field])
        variants = {field: values[name] for field, name in names.items() if name in values}
        return Stored(variants, found.ttl_ms, found.outlines, found.stale) if variants or fields is not None else None

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._put(key, field, value, ttl_ms, tags))

    async def _put(self, key: bytes, field: bytes, value: bytes, ttl_ms: int, tags: Sequence[bytes]) -> None:
        stub = _STUB.pack(next(self._numbers), len(value)) + outline_in(value)
        name = self._name(stub)
        self._writing.add(name)
        try:
            await self._index.put(key, field, stub, ttl_ms, None, tags)  # first: from now on it can be invalidated
            if await self._is_there(key, field, stub):
                await self._values.set(name, value, ttl_ms)
        except StoreError:
            await self._forget(key, field, stub)
            raise
        finally:
            self._writing.discard(name)
            self._clear_away()

    async def _is_there(self, key: bytes, field: bytes, stub: bytes) -> bool:
        found = await self._index.lookup(key, (field,))
        return found is not None and found.variants.get(field) == stub

    async def _forget(self, key: bytes, field: bytes, stub: bytes) -> None:
        """Take a variant out of the index, unless it was written anew meanwhile."""
        if await self._is_there(key, field, stub):
            await self._index.discard(key, field)

    # -- what the index can do alone -----------------------------------------------------------------

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        return self._index.discard(key, field).addCallback(self._cleared)

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._index.delete(keys).addCallback(self._cleared)

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return self._index.delete_target(target).addCallback(self._cleared)

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        return self._index.mark(invalidation)

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        return self._index.tagged(tag, cursor, fate, moment).addCallback(self._cleared)

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        return self._index.soften(keys, moment)

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return self._index.soften_target(target, moment)

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        return self._index.scan(cursor, prefix)

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._index.held(keys)

    def ping(self) -> Deferred[None]:
        return self._values.ping()

    def start(self) -> Deferred[None]:
        self._index.start()
        return self._values.start()

    def stop(self) -> Deferred[None]:
        self._index.stop()
        return self._values.stop()

    # -- values that nobody can ask for any more -----------------------------------------------------

    def _name(self, stub: bytes) -> bytes:
        return blake2b(stub[: _STUB.size], key=self._salt, digest_size=20).hexdigest().encode()

    def _let_go(self, stub: bytes) -> None:
        self._gone.append(self._name(stub))

    def _cleared(self, result: T) -> T:
        self._clear_away()
        return result

    def _clear_away(self) -> None:
        """Delete what the index let go of; what is being written is looked at again when it is there."""
        gone = [name for name in self._gone if name not in self._writing]
        if gone:
            self._gone = [name for name in self._gone if name in self._writing]
            self._values.delete(gone).addErrback(_not_deleted)


def _not_deleted(failure: Failure) -> None:
    """They end by themselves."""
    failure.trap(StoreError)
    _log.debug("values that are gone were not deleted: {reason}", reason=failure.getErrorMessage())
