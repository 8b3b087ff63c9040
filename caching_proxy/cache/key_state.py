"""What goes on for each key: one record for a key, as long as anything does.

A record holds

- ``leases``: of whoever reads the store or the backend for the key and may fill a tier with what comes;
- ``reads``: those of them that read the store, by the variants they ask for; others who ask for the same wait for them;
- ``flights``: the fetches that others may join, by what their requests select of a key that is known to vary;
- ``writes``: what waits for its turn at the store, while a write or a discard is under way.

Beside the records stands ``hit_for_miss``, the memory of what turned out to serve nobody else. It is no part of them:
it outlives the work by minutes, has a bound of its own (a record has none but the work itself), and tells apart those
with credentials, who share the record.

Invariants:

1. A record is here exactly while it holds one of the four: memory is bounded by the work under way.
2. A lease is opened before anything is read, and closed after the last tier was filled. An invalidation voids those
   that it matches, and takes their flights off: what began before it is never put anywhere after it (RFC 9111 §4.4),
   and who comes after it joins nothing from before.
3. Tags of a response are known once its head is here. A lease that turns out to carry a tag that was invalidated since
   it was opened is void, too.
4. A write to the key, or a discard, outdates its leases: what was read before it is not put over what was written. Nor
   does anybody join a read from before it.
5. At most one flight of a variant can be joined. One more may be under way, begun before an invalidation, or after
   those who waited for the first were told to wait no more; each takes only itself off. How a key varies is learned
   from its answers: until then all its requests join one flight, and share another where it was not theirs.
6. Writes and discards of a key reach the store one after another, in the order in which they were asked for; other keys
   go side by side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeVar, TypeVarTuple

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.flights import Flight, Selected
from caching_proxy.cache.hit_for_miss import HitForMiss
from caching_proxy.cache.voided_tags import NEVER, VoidedTags
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import Trouble

KeyTest = Callable[[bytes], bool]
Read = TypeVar("Read", bound="StoreRead")
Ts = TypeVarTuple("Ts")

_UNTAGGED: frozenset[bytes] = frozenset()


class KeyRecord:
    """What goes on for ``key`` (see above). ``flights`` is None while there is none to join, ``writes`` while the store
    is at nothing for it."""

    __slots__ = ("flights", "key", "leases", "reads", "writes")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.leases: dict[Lease, None] = {}
        self.reads: dict[tuple[bytes, ...], StoreRead] = {}
        self.flights: dict[Selected, Flight] | None = None
        self.writes: deque[Callable[[], None]] | None = None


class Lease:
    """Permission to fill the tiers for one key; close it when the work is over.

    ``valid``: nothing invalidated the key since, nor a tag that the work is known to carry. ``current``: nothing wrote
    to the key either. ``voided_at`` is POSIX seconds.
    """

    __slots__ = ("_opened", "_state", "current", "key", "record", "tags", "valid", "voided_at")

    def __init__(self, state: KeyState, key: bytes) -> None:
        record = state.records.get(key)
        if record is None:
            record = state.records[key] = KeyRecord(key)
        record.leases[self] = None
        self.key = key
        self.record = record
        self.tags = _UNTAGGED
        self.valid = self.current = True
        self.voided_at = NEVER
        self._opened = state.tags.count
        self._state = state

    def void(self, moment: float) -> None:
        """What was made under this lease is no longer true; the store gives nothing from before ``moment``."""
        self.valid = self.current = False
        self.voided_at = max(self.voided_at, moment)

    def carry(self, tags: Collection[bytes]) -> bool:
        """It turns out that the work is about something with ``tags``; whether it is valid, as none of them was
        invalidated since the lease was opened."""
        if tags:
            self.tags = self.tags.union(tags)
            moment = self._state.tags.voided(tags, self._opened)
            if moment > NEVER:
                self.void(moment)
        return self.valid

    def outlived(self, tags: Collection[bytes]) -> bool:
        """Whether none of ``tags``, which something of the key carries, was invalidated since the lease was opened;
        the work itself need not be concerned."""
        return not tags or self._state.tags.voided(tags, self._opened) == NEVER

    def spoilt_before(self, tags: Collection[bytes]) -> float:
        """The moment (POSIX seconds) from before which nothing that the store gave and that carries one of ``tags`` is
        true: one was invalidated, or removed from the store, since the lease was opened."""
        return self._state.tags.removed(tags, self._opened)

    def close(self) -> None:
        """The work is over; closing twice is harmless."""
        record = self.record
        if self in record.leases:
            del record.leases[self]
            if not record.leases and record.writes is None:
                self._state.rest(record)


class StoreRead(Lease):
    """A lookup in the store for variants called ``fields``, then what it found.

    What the store gives from before ``invalid_before`` (POSIX seconds) had been invalidated when it began. ``entries``
    are usable or stale; ``trouble`` is what went wrong; ``kept`` is for whoever puts them into the hot tier to set: the
    burst tier need not have them as well.
    """

    __slots__ = ("entries", "fields", "invalid_before", "kept", "trouble", "waiting")

    fields: tuple[bytes, ...]
    entries: Sequence[CacheEntry]
    invalid_before: float
    kept: bool
    trouble: Trouble | None
    waiting: list[Callable[[StoreRead], None]]


class KeyState:
    """All records, by key. ``patience`` is how long those wait at most who join a flight, in seconds.

    ``collapsed`` counts the requests that another's fetch answered.
    """

    def __init__(self, clock: IReactorTime, patience: float) -> None:
        self.records: dict[bytes, KeyRecord] = {}
        self.tags = VoidedTags()
        self.hit_for_miss = HitForMiss()
        self.collapsed = 0
        self._clock = clock
        self._patience = patience
        self._ready: list[Callable[[], None]] = []
        self._stepping = False

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.records)

    def rest(self, record: KeyRecord) -> None:
        """Something for the key is over: let go of the record if nothing is left."""
        if record.leases or record.flights is not None or record.writes is not None:
            return
        del self.records[record.key]
        if not self.records and self.tags.any:
            self.tags.clear()

    # -- leases ----------------------------------------------------------------------------------

    def open(self, key: bytes) -> Lease:
        return Lease(self, key)

    def void(self, matches: KeyTest, now: float) -> None:
        """Void every open lease whose key matches."""
        matching = [record for key, record in self.records.items() if matches(key)] if self.records else ()
        for record in matching:
            record.flights = None
            for lease in record.leases:
                lease.void(now)
            self.rest(record)

    def void_tags(self, tags: Collection[bytes], now: float) -> None:
        """Void every open lease that is known to carry one of ``tags``, and those that will turn out to."""
        if not self.records:
            return
        self.tags.void(tags, now)
        for record in list(self.records.values()):
            for lease in record.leases:
                if lease.tags and not lease.tags.isdisjoint(tags):
                    lease.void(now)
                    record.flights = None

    def remove_tags(self, tags: Collection[bytes], invalidated_at: float) -> None:
        """The store has carried out an invalidation of ``tags``: what it said before that may come only now."""
        if self.records:
            self.tags.remove(tags, invalidated_at)

    def outdate(self, key: bytes) -> None:
        """Something was written to, or taken from, ``key``."""
        record = self.records.get(key)
        if record is not None:
            for lease in record.leases:
                lease.current = False

    def outdate_matching(self, matches: KeyTest) -> None:
        """:meth:`outdate` every key that matches."""
        for key in filter(matches, self.records):
            self.outdate(key)

    # -- reads of the store ----------------------------------------------------------------------

    def read(self, key: bytes, fields: tuple[bytes, ...], kind: type[Read]) -> Read:
        """The read under way that brings what one would that begins now; or a new one of some ``kind``, the same for
        all, for which nobody waits yet: the caller asks the store, and closes it."""
        record = self.records.get(key)
        read = None if record is None else record.reads.get(fields)
        if read is None or not read.current:
            read = kind(self, key)
            read.record.reads[fields] = read
            read.fields, read.entries, read.invalid_before = fields, (), NEVER
            read.trouble, read.kept, read.waiting = None, False, []
        return read  # type: ignore[return-value]

    def end_read(self, read: StoreRead) -> None:
        """It brings nothing more."""
        reads = read.record.reads
        if reads.get(read.fields) is read:
            del reads[read.fields]

    # -- flights ---------------------------------------------------------------------------------

    def flight(self, key: bytes, selected: Selected = ()) -> Flight | None:
        """The flight for what is ``selected`` of ``key``, if there is one to join."""
        record = self.records.get(key)
        return None if record is None or record.flights is None else record.flights.get(selected)

    def begin_flight(self, key: bytes, selected: Selected = ()) -> Flight:
        """A new flight that the caller leads and must land."""
        flight = Flight(key, selected, self._clock, self._patience, self._off)
        record = self.records.get(key) or self._begun(key)
        if record.flights is None:
            record.flights = {selected: flight}
        else:
            record.flights.setdefault(selected, flight)
        return flight

    def lead(self, key: bytes, selected: Selected, now: float) -> tuple[Lease, Flight | None] | None:
        """The lease and the flight of who is the first to ask for what is ``selected`` of ``key``; None where there is
        a flight to join. No flight comes with it where sharing is known not to help."""
        hit_for_miss = self.hit_for_miss
        if hit_for_miss.until and hit_for_miss.covers(key, now):
            return Lease(self, key), None
        record = self.records.get(key)
        if record is not None and record.flights is not None and selected in record.flights:
            return None
        lease = Lease(self, key)
        flight, record = Flight(key, selected, self._clock, self._patience, self._off), lease.record
        if record.flights is None:
            record.flights = {selected: flight}
        else:
            record.flights[selected] = flight
        return lease, flight

    def _off(self, flight: Flight) -> None:
        """Nobody may join ``flight`` any more."""
        record = self.records.get(flight.key)
        flights = None if record is None else record.flights
        if record is None or flights is None or flights.get(flight.selected) is not flight:
            return
        del flights[flight.selected]
        if not flights:
            record.flights = None
            if not record.leases:
                self.rest(record)

    # -- writes ----------------------------------------------------------------------------------

    def in_turn(self, key: bytes, begin: Callable[[*Ts], None], *args: *Ts) -> None:
        """Call ``begin``, which must not raise, when the store is at nothing for ``key``, now or later; whoever ends it
        calls :meth:`end_turn`."""
        record = self.records.get(key) or self._begun(key)
        if record.writes is not None:
            record.writes.append(partial(begin, *args))
            return
        record.writes = deque()
        begin(*args)

    def end_turn(self, key: bytes) -> None:
        """The operation on ``key`` has ended, and outdates what was read meanwhile; the next one begins."""
        record = self.records[key]
        for lease in record.leases:
            lease.current = False
        if not record.writes:
            record.writes = None
            if not record.leases:
                self.rest(record)
            return
        self._ready.append(record.writes.popleft())
        if self._stepping:  # what ends while it begins must not nest, as thousands may wait
            return
        self._stepping = True
        while self._ready:
            self._ready.pop()()
        self._stepping = False

    def drain(self) -> Deferred[None]:
        """Fires when every operation that is under way or waits now has ended."""
        busy = [record.key for record in self.records.values() if record.writes is not None]
        return DeferredList([self._end_of(key) for key in busy]).addCallback(lambda _: None)

    def _end_of(self, key: bytes) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def fire() -> None:
            ended.callback(None)
            self.end_turn(key)

        self.in_turn(key, fire)
        return ended

    def _begun(self, key: bytes) -> KeyRecord:
        record = self.records[key] = KeyRecord(key)
        return record
