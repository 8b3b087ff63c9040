"""The embedded store: what Redis would do, in this process.

Least recently used keys go first when the bytes are more than allowed. A key lives as long as its longest-lived
variant, as on Redis; it is gone the moment its time is over, and its memory is freed within about a second.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from caching_proxy.interfaces import NO_OUTLINES, NOT_STALE, SCAN_ENDS, Fate, IStore, Scanned, Stored, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.codec import outline_in
from caching_proxy.rules.key import target_in
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.rules.tag_index import ByTag
from caching_proxy.rules.variance import PLAIN_VARIANT
from caching_proxy.store.buckets import Buckets
from caching_proxy.store.expiries import NEVER, Expiries

DEFAULT_MAX_BYTES = 256 * 1024 * 1024
KEY_OVERHEAD = 500
VARIANT_OVERHEAD = 150
SCAN_STEP = 1000
"""Keys that a step of a walk gives."""

TAG_OVERHEAD = 350
"""Bytes that a tag of a variant costs beside itself."""

TAGGED_STEP = 1000
"""Keys that a step of a walk over those of a tag looks at."""

MAX_WALKS = 256
"""Walks over the keys of a tag at one time; each holds what it has to look at, and the oldest is given up."""

SWEEP_STEP = 1000
"""Ended keys that are forgotten in one turn of the loop: about two milliseconds."""

_CURSOR = re.compile(rb"([0-9]{1,18}):([0-9]{1,18})")


@attrs.define(slots=True, eq=False)
class _Slot:
    """One key. ``due`` is the second in which to look whether its time is over; a later look is set when that one
    comes too early."""

    size: int
    variants: dict[bytes, bytes] = attrs.Factory(dict)
    tags: dict[bytes, tuple[bytes, ...]] = attrs.Factory(dict)
    stale: dict[bytes, float] = attrs.Factory(dict)
    expires_at: float = 0.0
    due: int = NEVER


@implementer(IStore)
class MemoryStore:
    """An :class:`IStore` bounded to ``max_bytes`` of keys, fields, values and their estimated overhead.

    ``max_variants`` and ``max_variant_bytes`` bound what one key holds; past them its oldest variants go.
    ``weigh`` and ``outline`` tell size and outline of a value, ``on_gone`` hears of each that is forgotten.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_variants: int = MAX_VARIANTS,
        max_variant_bytes: int = MAX_VARIANT_BYTES,
        weigh: Callable[[bytes], int] = len,
        outline: Callable[[bytes], bytes] = outline_in,
        on_gone: Callable[[bytes], object] | None = None,
    ) -> None:
        self._weigh = weigh
        self._outline = outline
        self._on_gone = on_gone
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_variants = max_variants
        self._max_variant_bytes = max_variant_bytes
        self._slots: OrderedDict[bytes, _Slot] = OrderedDict()
        self._targets: dict[bytes, set[bytes]] = {}
        self._tags = ByTag()
        self._walks: dict[int, Sequence[bytes]] = {}
        self._walk_numbers = count(1)
        self._buckets = Buckets()
        self._expiries = Expiries()
        self._timer: IDelayedCall | None = None
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
            outlines = {name: self._outline(value) for name, value in variants.items()}
        stale = slot.stale.copy() if slot.stale else NOT_STALE
        return succeed(Stored(some, max(1, int((slot.expires_at - now) * 1000)), outlines, stale))

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        now = self._clock.seconds()
        slot = self._live(key, now)
        size = len(field) + self._weigh(value) + VARIANT_OVERHEAD + _size_of(tags)
        if ttl_ms > 0 and size + len(key) + KEY_OVERHEAD <= self._max_bytes:
            self._write(key, slot or self._made(key), field, value, now + ttl_ms / 1000, tuple(tags))
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

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        return succeed(None)

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        if cursor == SCAN_ENDS:
            keys: Sequence[bytes] = self._tags.keys(tag)
            number, start = next(self._walk_numbers), 0
        else:
            walk = _CURSOR.fullmatch(cursor)
            number, start = (int(walk[1]), int(walk[2])) if walk is not None else (0, 0)
            keys = self._walks.pop(number, ())
            if not keys:
                return fail(StoreError("invalid cursor"))
        end = start + TAGGED_STEP
        if end < len(keys):
            self._walks[number] = keys
            if len(self._walks) > MAX_WALKS:
                del self._walks[next(iter(self._walks))]
        found = [key for key in keys[start:end] if self._fated(key, tag, fate, moment)]
        return succeed(Scanned(found, b"%d:%d" % (number, end) if end < len(keys) else SCAN_ENDS))

    def _fated(self, key: bytes, tag: bytes, fate: Fate, moment: float) -> bool:
        """Do to the variants of ``key`` that carry ``tag`` what is to be done; whether there were any."""
        slot = self._live(key, self._clock.seconds())
        fields = [] if slot is None else [field for field, tags in slot.tags.items() if tag in tags]
        if slot is None or not fields:
            return False
        for field in fields:
            if fate is Fate.DELETED:
                self._forget_variant(key, slot, field)
            elif fate is Fate.STALE:
                slot.stale[field] = moment
        return True

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        now, found = self._clock.seconds(), set[bytes]()
        for key in keys:
            slot = self._live(key, now)
            if slot is not None:
                slot.stale = dict.fromkeys(slot.variants, moment)
                found.add(key)
        return succeed(found)

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return self.soften(list(self._targets.get(target, ())), moment)

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        if not cursor.isdigit() or len(cursor) > 20:
            return fail(StoreError("invalid cursor"))
        keys, after = self._buckets.step(int(cursor), SCAN_STEP)
        now = self._clock.seconds()
        found = [key for key in keys if key.startswith(prefix) and self._live(key, now) is not None]
        return succeed(Scanned(found, b"%d" % after if after else SCAN_ENDS))

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        now = self._clock.seconds()
        return succeed({key for key in keys if self._live(key, now) is not None})

    def ping(self) -> Deferred[None]:
        return succeed(None)

    def start(self) -> Deferred[None]:
        self._stopped = False
        self._arm()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return succeed(None)

    def _live(self, key: bytes, now: float) -> _Slot | None:
        slot = self._slots.get(key)
        if slot is not None and slot.expires_at <= now:
            self._forget(key)
            return None
        return slot

    def _made(self, key: bytes) -> _Slot:
        slot = self._slots[key] = _Slot(len(key) + KEY_OVERHEAD)
        self.bytes += slot.size
        self._buckets.add(key)
        target = target_in(key)
        keys = self._targets.get(target)
        if keys is None:
            self._targets[target] = {key}
        else:
            keys.add(key)
        return slot

    def _write(
        self, key: bytes, slot: _Slot, field: bytes, value: bytes, expires_at: float, tags: tuple[bytes, ...]
    ) -> None:
        variants = slot.variants
        slot.stale.pop(field, None)
        if tags or slot.tags:
            self._retag(key, slot, field, tags)
        replaced = variants.pop(field, None)
        if not variants or expires_at > slot.expires_at:
            slot.expires_at = expires_at
        variants[field] = value
        growth = self._weigh(value)
        if replaced is None:
            growth += len(field) + VARIANT_OVERHEAD
        else:
            growth -= self._weigh(replaced)
            if self._on_gone is not None:
                self._on_gone(replaced)
        slot.size += growth
        self.bytes += growth
        self._slots.move_to_end(key)
        if slot.expires_at <= slot.due - 1:
            self._remember_expiry(key, slot)
        if self.bytes > self._max_bytes or len(variants) > 1:
            self._make_room(key, slot)

    def _retag(self, key: bytes, slot: _Slot, field: bytes, tags: tuple[bytes, ...]) -> None:
        """``field`` carries ``tags`` now, and no others."""
        old = slot.tags.pop(field, ())
        others = {tag for each in slot.tags.values() for tag in each}
        self._tags.discard(key, [tag for tag in old if tag not in others])
        if tags:
            slot.tags[field] = tags
            self._tags.add(key, tags)
        growth = _size_of(tags) - _size_of(old)
        slot.size += growth
        self.bytes += growth

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
        slot.stale.pop(field, None)
        if slot.tags:
            self._retag(key, slot, field, ())
        if self._on_gone is not None:
            self._on_gone(value)
        size = len(field) + self._weigh(value) + VARIANT_OVERHEAD
        slot.size -= size
        self.bytes -= size
        if not slot.variants:  # a hash without fields does not exist on Redis either
            self._forget(key)
        return True

    def _forget(self, key: bytes) -> bool:
        slot = self._slots.pop(key)
        if self._on_gone is not None:
            for value in slot.variants.values():
                self._on_gone(value)
        for tags in slot.tags.values():
            self._tags.discard(key, tags)
        self.bytes -= slot.size
        self._buckets.discard(key)
        self._expiries.forget(key, slot.due)
        target = target_in(key)
        keys = self._targets[target]
        keys.discard(key)
        if not keys:
            del self._targets[target]
        return True

    def _remember_expiry(self, key: bytes, slot: _Slot) -> None:
        self._expiries.forget(key, slot.due)
        slot.due = self._expiries.note(key, slot.expires_at, self._clock.seconds())
        if self._timer is None or slot.due < self._timer.getTime():
            self._arm()

    def _arm(self) -> None:
        """Look next when the first key is due."""
        first = self._expiries.first()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if first != NEVER and not self._stopped:
            self._timer = self._clock.callLater(max(0.0, first - self._clock.seconds()), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for key in self._expiries.take(now, SWEEP_STEP):
            slot = self._slots[key]
            slot.due = NEVER
            if slot.expires_at <= now:
                self._forget(key)
            else:  # its life was prolonged, or ends far away
                self._remember_expiry(key, slot)
        self._arm()


def _size_of(tags: Sequence[bytes]) -> int:
    return sum(map(len, tags)) + TAG_OVERHEAD * len(tags)
