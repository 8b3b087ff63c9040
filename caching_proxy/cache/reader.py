"""Reading the store: burst tier first, one read for all who ask at once, then decoding.

Nothing here fails: trouble is part of the answer, because a store in trouble costs a client nothing but a miss.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.burst import BurstTier
from caching_proxy.cache.exchange import Trouble
from caching_proxy.cache.tickets import Ticket, Tickets
from caching_proxy.core.codec import CodecError, UnknownVersion, decode
from caching_proxy.core.entry import CacheEntry
from caching_proxy.interfaces import IStore, Stored, StoreError, StoreUnavailable, Unreadable


@attrs.frozen(slots=True)
class Found:
    """Usable and stale entries of one key, perhaps with what went wrong."""

    entries: tuple[CacheEntry, ...] = ()
    trouble: Trouble | None = None


_NOTHING = Found()


class StoreReader:
    """Reads through the burst tier; each answer fills it unless an invalidation came in between."""

    _log = Logger()

    def __init__(self, store: IStore, burst: BurstTier, tickets: Tickets, clock: IReactorTime) -> None:
        self._store = store
        self._burst = burst
        self._tickets = tickets
        self._clock = clock
        self._reads: dict[bytes, list[Deferred[Found]]] = {}

    def read(self, key: bytes) -> Deferred[Found]:
        """Everything stored for ``key``; concurrent reads of a key share one round trip."""
        remembered = self._burst.get(key, self._clock.seconds())
        if remembered is not None and remembered.entries is not None:
            return succeed(Found(remembered.entries))
        waiting = self._reads.get(key)
        answer: Deferred[Found] = Deferred(lambda d: self._leave(key, d))
        if waiting is not None:
            self._burst.shared_reads += 1
            waiting.append(answer)
            return answer
        self._reads[key] = [answer]
        ticket = self._tickets.open(key)
        self._store.lookup(key).addCallbacks(self._decode, self._explain, (key, ticket), errbackArgs=(key,)).addBoth(
            self._deliver, key, ticket
        )
        return answer

    def _leave(self, key: bytes, answer: Deferred[Found]) -> None:
        waiting = self._reads.get(key)
        if waiting is not None and answer in waiting:  # the read itself goes on for the others and the burst tier
            waiting.remove(answer)

    def _decode(self, stored: Stored | None, key: bytes, ticket: Ticket) -> Found:
        if stored is None:
            return _NOTHING
        now = self._clock.seconds()
        entries: list[CacheEntry] = []
        trouble: Trouble | None = None
        for field, value in stored.variants.items():
            try:
                entry = decode(value, key)
            except UnknownVersion:  # another release shares this store: what it wrote is its own
                trouble = Trouble.UNREADABLE
            except CodecError as error:
                self._log.warn("unreadable entry {key} dropped: {reason}", key=key.decode("latin-1"), reason=str(error))
                trouble = Trouble.UNREADABLE
                self._drop(self._store.discard(key, field))
            else:
                if now < entry.gone_at:
                    entries.append(entry)
        if ticket.valid and entries and trouble is None:
            self._burst.put(key, stored, tuple(entries), now)
        return Found(tuple(entries), trouble)

    def _explain(self, failure: Failure, key: bytes) -> Found:
        if failure.check(StoreUnavailable):
            return Found(trouble=Trouble.OPEN)
        if failure.check(Unreadable):
            self._log.warn("foreign value under {key} dropped", key=key.decode("latin-1"))
            self._drop(self._store.delete([key]))
            return Found(trouble=Trouble.UNREADABLE)
        if not failure.check(StoreError):
            self._log.failure("lookup of {key} failed", failure, key=key.decode("latin-1"))
        return Found(trouble=Trouble.FAILED)

    def _deliver(self, found: Found | Failure, key: bytes, ticket: Ticket) -> None:
        if isinstance(found, Failure):  # a bug in decoding must not strand those who wait
            self._log.failure("decoding {key} failed", found, key=key.decode("latin-1"))
            found = Found(trouble=Trouble.FAILED)
        if not ticket.valid and found.entries:
            found = Found((), found.trouble)  # read before an invalidation, so no longer true
        ticket.close()
        for answer in self._reads.pop(key):
            answer.callback(found)

    def _drop(self, removal: Deferred[bool] | Deferred[set[bytes]]) -> None:
        removal.addErrback(lambda failure: failure.trap(StoreError))
