"""The memory store behind gates: a test says when an operation comes back, and whether it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer

from caching_proxy.interfaces import (
    Fate,
    IStore,
    Scanned,
    Stored,
)
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.store.memory import MemoryStore


@implementer(IStore)
class GatedStore:
    """A MemoryStore whose operations can be held back at either side of their effect, or made to fail.

    ``hold("put")``: carried out only when released. ``delay("lookup")``: carried out now, the answer comes later.
    """

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryStore(clock)
        self.failing: Exception | None = None
        self.calls: list[str] = []
        self.marks: list[Invalidation] = []
        self.lookups: list[tuple[bytes, ...]] = []
        self._held: set[str] = set()
        self._delayed: set[str] = set()
        self._waiting: list[tuple[str, Callable[[], None]]] = []

    def hold(self, *names: str) -> None:
        self._held |= set(names)

    def delay(self, *names: str) -> None:
        self._delayed |= set(names)

    def release(self, *names: str) -> None:
        """Let everything pass that waits for one of ``names``, in order; all of it without names."""
        gone = set(names) or self._held | self._delayed
        self._held -= gone
        self._delayed -= gone
        waiting, self._waiting = self._waiting, []
        for name, go in waiting:
            if name in gone:
                go()
            else:
                self._waiting.append((name, go))

    def release_one(self, name: str) -> None:
        """Let the oldest ``name`` pass; later ones still wait."""
        at = next(at for at, (held, _) in enumerate(self._waiting) if held == name)
        self._waiting.pop(at)[1]()

    def waiting(self, name: str) -> int:
        return sum(held == name for held, _ in self._waiting)

    def _do(self, name: str, *args: Any) -> Deferred[Any]:
        self.calls.append(name)
        if self.failing is not None:
            return fail(self.failing)
        operation: Callable[[], Deferred[Any]] = lambda: getattr(self.inner, name)(*args)  # noqa: E731
        if name not in self._held | self._delayed:
            return operation()
        done = operation() if name in self._delayed else None
        answer: Deferred[Any] = Deferred()
        self._waiting.append((name, lambda: (done or self._late(operation)).chainDeferred(answer)))
        return answer

    def _late(self, operation: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        return fail(self.failing) if self.failing is not None else operation()

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        self.lookups.append(tuple(fields or ()))
        return self._do("lookup", key, fields)

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        return self._do("put", key, field, value, ttl_ms, since, tags)

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        return self._do("tagged", tag, cursor, fate, moment)

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        return self._do("soften", keys, moment)

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return self._do("soften_target", target, moment)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        return self._do("discard", key, field)

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._do("delete", keys)

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return self._do("delete_target", target)

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        if self.failing is None:
            self.marks.append(invalidation)
        return self._do("mark", invalidation)

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        return self._do("scan", cursor, prefix)

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._do("held", keys)

    def ping(self) -> Deferred[None]:
        return self._do("ping")

    def start(self) -> Deferred[None]:
        return self.inner.start()

    def stop(self) -> Deferred[None]:
        return self.inner.stop()

    def fields_of(self, key: bytes) -> list[bytes]:
        """The variants really stored."""
        found: list[Stored | None] = []
        self.inner.lookup(key).addCallback(found.append)
        return sorted(found[0].variants) if found[0] is not None else []
