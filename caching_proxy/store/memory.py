"""The embedded store: what Redis would do, in this process.

Least recently used keys go first when the bytes are more than allowed. A key lives as long as its longest-lived
variant, as on Redis; it is gone the moment its time is over, and its memory is freed within about a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from caching_proxy.core.codec import outline_in
from caching_proxy.core.glob import compile_glob
from caching_proxy.core.key import target_in
from caching_proxy.core.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.core.variance import PLAIN_VARIANT
from caching_proxy.interfaces import NO_OUTLINES, IStore, Stored

T = TypeVar("T")

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
KEY_OVERHEAD = 500
VARIANT_OVERHEAD = 150
SWEEP_SECONDS = 1.0
SCAN_STEP = 2000
"""Keys looked at in one reactor turn: under about two milliseconds."""


@attrs.define(slots=True, eq=False)
class _Slot:
    """One key. ``due`` is when to look whether its time is over; a later look is set when that one comes too early."""

    size: int
    variants: dict[bytes, bytes] = attrs.Factory(dict)
    expires_at: float = 0.0
    due: float = inf


@implementer(IStore)
class MemoryStore:
    """An :class:`IStore` bounded to ``max_bytes`` of keys, fields, values and their estimated overhead.

    ``max_variants`` and ``max_variant_bytes`` bound what one key holds; past them its oldest variants go.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_variants: int = MAX_VARIANTS,
        max_variant_bytes: int = MAX_VARIANT_BYTES,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        self._max_variant_bytes = max_variant_bytes
        self._slots: OrderedDict[bytes, _Slot] = OrderedDict()
        self._targets: dict[bytes, set[bytes]] = {}
        self._expiries: list[tuple[float, bytes]] = []  # a heap: when a key is due; may hold outdated times
        self._timer: IDelayedCall | None = None
        self._scans: set[_Scan] = set()
        self._stopped = False
        self.bytes = 0
        self.evictions = 0

    @property
    def entries(self) -> int:
        """Keys held, expired ones that were not swept yet included."""
        return len(self._slots)

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        now = self._clock.seconds()
        slot = self._live(key, now)
        if slot is None:
            return succeed(None)
        self._slots.move_to_end(key)
        variants = slot.variants
        some = variants.copy() if fields is None else {name: variants[name] for name in fields if name in variants}
        outlines = NO_OUTLINES
        if len(variants) > 1 or PLAIN_VARIANT not in variants:
            outlines = {name: outline_in(value) for name, value in variants.items()}
        return succeed(Stored(some, max(1, int((slot.expires_at - now) * 1000)), outlines))

    def put(self, key: bytes, field: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        now = self._clock.seconds()
        slot = self._live(key, now)
        size = len(field) + len(value) + VARIANT_OVERHEAD
        if ttl_ms > 0 and size + len(key) + KEY_OVERHEAD <= self._max_bytes:
            self._write(key, slot or self._made(key), field, value, now + ttl_ms / 1000)
        elif slot is not None:
            self._forget_variant(key, slot, field)
        return succeed(None)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        slot = self._live(key, self._clock.seconds())
        return succeed(slot is not None and self._forget_variant(key, slot, field))

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        now = self._clock.seconds()
        return succeed({key for key in keys if self._live(key, now) is not None and self._forget(key)})

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return self.delete(list(self._targets.get(target, ())))

    def scan(self, pattern: bytes, limit: int | None = None) -> Deferred[list[bytes]]:
        scan = _Scan(self._clock, list(self._slots), self._matcher(pattern), limit)
        if scan.answer.called:
            return scan.answer
        self._scans.add(scan)

        return scan.answer.addBoth(self._scanned, scan)

    def ping(self) -> Deferred[None]:
        return succeed(None)

    def start(self) -> Deferred[None]:
        self._stopped = False
        self._arm()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self._stopped = True
        for scan in list(self._scans):
            scan.finish()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return succeed(None)

    def _scanned(self, result: T, scan: _Scan) -> T:
        self._scans.discard(scan)
        return result

    def _matcher(self, pattern: bytes) -> Callable[[bytes], bool]:
        matches = compile_glob(pattern)
        return lambda key: matches(key) and self._live(key, self._clock.seconds()) is not None

    def _live(self, key: bytes, now: float) -> _Slot | None:
        slot = self._slots.get(key)
        if slot is not None and slot.expires_at <= now:
            self._forget(key)
            return None
        return slot

    def _made(self, key: bytes) -> _Slot:
        slot = self._slots[key] = _Slot(len(key) + KEY_OVERHEAD)
        self.bytes += slot.size
        target = target_in(key)
        keys = self._targets.get(target)
        if keys is None:
            self._targets[target] = {key}
        else:
            keys.add(key)
        return slot

    def _write(self, key: bytes, slot: _Slot, field: bytes, value: bytes, expires_at: float) -> None:
        variants = slot.variants
        replaced = variants.pop(field, None)
        if not variants or expires_at > slot.expires_at:
            slot.expires_at = expires_at
        variants[field] = value
        growth = len(value) - len(replaced) if replaced is not None else len(field) + len(value) + VARIANT_OVERHEAD
        slot.size += growth
        self.bytes += growth
        self._slots.move_to_end(key)
        if slot.expires_at < slot.due:
            self._remember_expiry(key, slot)
            if self._timer is None:
                self._arm()
        if self.bytes > self._max_bytes or len(variants) > 1:
            self._make_room(key, slot)

    def _make_room(self, key: bytes, slot: _Slot) -> None:
        """Within one key first, then by dropping the least recently used others."""
        most = min(self._max_variant_bytes + len(key) + KEY_OVERHEAD, self._max_bytes)
        while len(slot.variants) > self._max_variants or (slot.size > most and len(slot.variants) > 1):
            self._forget_variant(key, slot, next(iter(slot.variants)))
        while self.bytes > self._max_bytes:
            self._forget(next(iter(self._slots)))
            self.evictions += 1

    def _forget_variant(self, key: bytes, slot: _Slot, field: bytes) -> bool:
        value = slot.variants.pop(field, None)
        if value is None:
            return False
        size = len(field) + len(value) + VARIANT_OVERHEAD
        slot.size -= size
        self.bytes -= size
        if not slot.variants:  # a hash without fields does not exist on Redis either
            self._forget(key)
        return True

    def _forget(self, key: bytes) -> bool:
        self.bytes -= self._slots.pop(key).size
        target = target_in(key)
        keys = self._targets[target]
        keys.discard(key)
        if not keys:
            del self._targets[target]
        return True

    def _remember_expiry(self, key: bytes, slot: _Slot) -> None:
        slot.due = slot.expires_at
        heappush(self._expiries, (slot.due, key))
        if len(self._expiries) > 2 * len(self._slots) + 1000:
            self._expiries = [(held.due, name) for name, held in self._slots.items()]
            heapify(self._expiries)

    def _arm(self) -> None:
        if self._timer is None and self._expiries and not self._stopped:
            wait = max(SWEEP_SECONDS, self._expiries[0][0] - self._clock.seconds())
            self._timer = self._clock.callLater(min(wait, 60.0), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._expiries and self._expiries[0][0] <= now:
            due, key = heappop(self._expiries)
            slot = self._slots.get(key)
            if slot is None or slot.due != due:  # gone already, perhaps replaced, or due earlier and looked at then
                continue
            if slot.expires_at <= now:
                self._forget(key)
            else:  # its life was prolonged
                self._remember_expiry(key, slot)
        self._arm()


class _Scan:
    """A walk over a snapshot of the keys, a step in each reactor turn, so that a large store blocks nobody."""

    def __init__(
        self, clock: IReactorTime, keys: list[bytes], matches: Callable[[bytes], bool], limit: int | None
    ) -> None:
        self.answer: Deferred[list[bytes]] = Deferred(lambda _: self._cancel())
        self._clock = clock
        self._keys = keys
        self._matches = matches
        self._limit = len(keys) if limit is None else limit
        self._found: list[bytes] = []
        self._at = 0
        self._timer: IDelayedCall | None = None
        self._step()

    def finish(self) -> None:
        """Walk the rest at once."""
        self._cancel()
        while not self.answer.called:
            self._walk()

    def _step(self) -> None:
        self._timer = None
        self._walk()
        if not self.answer.called:
            self._timer = self._clock.callLater(0, self._step)

    def _walk(self) -> None:
        step = self._keys[self._at : self._at + SCAN_STEP]
        self._at += len(step)
        self._found += filter(self._matches, step)
        if self._at >= len(self._keys) or len(self._found) >= self._limit:
            self.answer.callback(self._found[: self._limit])

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
