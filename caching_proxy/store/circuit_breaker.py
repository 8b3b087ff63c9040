"""A circuit breaker around any store.

While it is open nothing is asked and nothing queued: calls fail at once. It closes by a probe of its own, a PING
when the recovery time is over, so recovery needs no client traffic; a client's call that comes first is the probe.
Calls that the caller cancels prove nothing either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import Fate, IStore, Scanned, Seeker, Stored, StoreError, StoreUnavailable
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.store.breaker import Breaker, Phase
from caching_proxy.store.direct import WatchedStore
from caching_proxy.store.redis.errors import tells_of_health

T = TypeVar("T")
Args = TypeVarTuple("Args")

MIN_PROBE_SECONDS = 0.1


@implementer(IStore)
class CircuitBreakerStore:
    """``store`` behind ``breaker``; ``observer`` is told each phase that the breaker enters."""

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        breaker: Breaker,
        clock: IReactorTime,
        observer: Callable[[Phase], None] = lambda phase: None,
    ) -> None:
        self.store = store
        self._watched = store if isinstance(store, WatchedStore) else None
        self.breaker = breaker
        self._clock = clock
        self._observer = observer
        self._seen = Phase.CLOSED
        self._probe_timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def phase(self) -> Phase:
        """The breaker's phase now."""
        return self.breaker.phase(self._clock.seconds())

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        return self._guard(self.store.lookup, key, fields)

    def seek(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker) -> None:
        """:meth:`lookup` for who wants no Deferred (``DirectStore``)."""
        if self._watched is not None and self.breaker.calm:
            self._watched.seek_watched(key, fields, seeker, self)
        else:
            self._guard(self.store.lookup, key, fields).addCallbacks(seeker.found, seeker.failed)

    def went_well(self) -> None:
        """A look-up of :meth:`seek`, or any other call, did."""
        self._entered(self.breaker.success(self._clock.seconds()))

    def went_wrong(self, failure: Failure) -> None:
        """A look-up of :meth:`seek`, or any other call, failed."""
        now = self._clock.seconds()
        if failure.check(CancelledError, StoreUnavailable):
            self.breaker.abandoned(now)
            self._arm_probe()
        elif tells_of_health(failure):
            self._entered(self.breaker.failure(now))
        else:  # refused, unreadable, or a bug of ours: the server did answer
            self._entered(self.breaker.success(now))

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        if not self.breaker.calm:
            return self._guard(self.store.put, key, field, value, ttl_ms, since, tags)
        written = self.store.put(key, field, value, ttl_ms, since, tags)  # as each miss asks for it
        return written.addCallbacks(self._succeeded, self._failed)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        return self._guard(self.store.discard, key, field)

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._guard(self.store.delete, keys)

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        if not self.breaker.calm:
            return self._guard(self.store.delete_target, target)
        return self.store.delete_target(target).addCallbacks(
            self._succeeded, self._failed
        )  # as each change asks for it

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        return self._guard(self.store.mark, invalidation)

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        return self._guard(self.store.tagged, tag, cursor, fate, moment)

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        return self._guard(self.store.soften, keys, moment)

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return self._guard(self.store.soften_target, target, moment)

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        return self._guard(self.store.scan, cursor, prefix)

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._guard(self.store.held, keys)

    def ping(self) -> Deferred[None]:
        return self._guard(self.store.ping)

    def start(self) -> Deferred[None]:
        self._stopped = False
        return self.store.start()

    def stop(self) -> Deferred[None]:
        self._stopped = True
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        return self.store.stop()

    def through(self, what: Callable[[IStore], Deferred[T]]) -> Deferred[T]:
        """What is done with the store itself, guarded as its own methods are."""
        return self._guard(what, self.store)

    def look_again(self) -> None:
        """The store may be well again: probe it now, not only when the recovery time is over."""
        if self._seen is Phase.CLOSED or self._stopped:
            return
        if self._probe_timer is not None:
            self._probe_timer.cancel()
        self.breaker.hurry()
        self._probe()

    def _guard(self, call: Callable[[*Args], Deferred[T]], *args: *Args) -> Deferred[T]:
        if not self.breaker.calm and not self._allowed():
            return fail(StoreUnavailable("the circuit breaker is open"))
        return call(*args).addCallbacks(self._succeeded, self._failed)

    def _allowed(self) -> bool:
        allowed = self.breaker.allow(self._clock.seconds())
        if allowed and self._seen is not Phase.CLOSED:
            self._entered(Phase.HALF_OPEN)
        return allowed

    def _succeeded(self, result: T) -> T:
        if not self.breaker.calm:
            self.went_well()
        return result

    def _failed(self, failure: Failure) -> Failure:
        self.went_wrong(failure)
        return failure

    def _entered(self, phase: Phase | None) -> None:
        if phase is None or phase is self._seen:
            return
        self._seen = phase
        if phase is Phase.OPEN:
            self._arm_probe()
        self._observer(phase)

    def _arm_probe(self) -> None:
        if self._probe_timer is None and self._seen is not Phase.CLOSED and not self._stopped:
            wait = max(self.breaker.recovery, MIN_PROBE_SECONDS)
            self._probe_timer = self._clock.callLater(wait, self._probe)

    def _probe(self) -> None:
        self._probe_timer = None
        if self._seen is Phase.CLOSED:
            return
        self.ping().addErrback(self._probe_failed).addBoth(lambda _: self._arm_probe())

    def _probe_failed(self, failure: Failure) -> None:
        if not failure.check(StoreError, CancelledError):
            self._log.failure("probing the store failed", failure)
