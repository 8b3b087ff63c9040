"""Whether the proxy is ready for traffic: can it reach its backend, and how is its store?"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.interfaces import IInvalidationBus, IStore, StoreError, StoreForbidden, UpstreamError
from caching_proxy.web.admin.services import ReadyReport

FRESH_SECONDS = 1.0
"""For so long a report answers again: probes must not become load."""


class Readiness:
    """``reach`` opens and closes a connection to the backend; ``phase`` names the breaker's; ``pending`` counts the
    invalidations that wait for the store; ``bus`` is None if nobody shares that."""

    _log = Logger()

    def __init__(
        self,
        reach: Callable[[], Deferred[None]],
        store: IStore,
        phase: Callable[[], str],
        clock: IReactorTime,
        bus: IInvalidationBus | None = None,
        pending: Callable[[], int] = lambda: 0,
    ) -> None:
        self._reach = reach
        self._store = store
        self._phase = phase
        self._clock = clock
        self._bus = bus
        self._pending = pending
        self._last: tuple[float, ReadyReport] | None = None
        self.draining = False

    def report(self) -> Deferred[ReadyReport]:
        """What is found now, or was a moment ago; never fails."""
        return Deferred.fromCoroutine(self._report())

    async def _report(self) -> ReadyReport:
        now = self._clock.seconds()
        if self._last is not None and now - self._last[0] < FRESH_SECONDS and not self.draining:
            return self._last[1]
        reaching, pinging = self._reach(), self._store.ping()
        backend = await reaching.addCallbacks(lambda _: "ok", self._unreachable)
        store = await pinging.addCallbacks(lambda _: "ok", self._store_trouble)
        bus = None if self._bus is None else self._bus.state
        report = ReadyReport(backend, store, self._phase(), self.draining, bus=bus, pending=self._pending())
        self._last = (now, report)
        return report

    def _store_trouble(self, failure: Failure) -> str:
        if failure.check(StoreForbidden):
            return "not permitted: EVAL"
        return self._unreachable(failure)

    def _unreachable(self, failure: Failure) -> str:
        failure.trap(UpstreamError, StoreError)
        return "unreachable"
