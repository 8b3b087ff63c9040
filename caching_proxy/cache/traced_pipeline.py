"""The pipeline that tells of its steps, for ``LOG_LEVEL=trace``; the usual one pays nothing for it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from caching_proxy.cache.flights import Flight, Result
from caching_proxy.cache.pipeline import FLIGHTS, Parts, PendingRequest, Pipeline, Wanted
from caching_proxy.cache.plan import Way
from caching_proxy.cache.requests import CacheRequest, CacheResponse, ClientRequest
from caching_proxy.cache.steps import Step, Tell
from caching_proxy.cache.tiers.store_reader import Found
from caching_proxy.interfaces import Identity
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.request_traits import RequestTraits
from caching_proxy.rules.reuse import Lookup

Reply = CacheResponse | Deferred[CacheResponse]


class TracedPipeline(Pipeline):
    """Each method is a :class:`Step` of that of the same name in :class:`Pipeline`."""

    def __init__(self, parts: Parts, tell: Tell) -> None:
        super().__init__(parts)
        self._tell = tell

    def handle(self, client_request: ClientRequest) -> Reply:
        self._tell(Step.RECEIVE, client_request)
        if client_request.plan is not None:
            self._tell(Step.PLAN, client_request)
        reply = super().handle(client_request)
        if isinstance(reply, Deferred):
            return reply.addCallback(self._answered, client_request)
        return self._answered(reply, client_request)

    def _answered(self, reply: CacheResponse, client_request: ClientRequest) -> CacheResponse:
        self._tell(Step.ANSWER, client_request)
        return reply

    def _identified(self, identity: Identity, client_request: ClientRequest, traits: RequestTraits) -> Reply:
        self._tell(Step.PLAN, client_request)
        return super()._identified(identity, client_request, traits)

    def _pass(self, client_request: ClientRequest, identity: Identity, way: Way) -> Reply:
        self._tell(Step.PASS, client_request)
        return super()._pass(client_request, identity, way)

    def _through_cache(self, cache_request: CacheRequest) -> Reply:
        self._tell(Step.LOOK_UP, cache_request.client_request)
        return super()._through_cache(cache_request)

    def read_again(self, visit: PendingRequest, cache_request: CacheRequest, wanted: Wanted) -> None:
        self._tell(Step.READ_AGAIN, cache_request.client_request)
        super().read_again(visit, cache_request, wanted)

    def decide(self, found: Found, cache_request: CacheRequest) -> Reply | Wanted:
        self._tell(Step.DECIDE, cache_request.client_request)
        return super().decide(found, cache_request)

    def _filling(self, cache_request: CacheRequest, lookup: Lookup) -> Reply:
        self._tell(Step.FILL, cache_request.client_request)
        return super()._filling(cache_request, lookup)

    def _from_backend(self, cache_request: CacheRequest, lookup: Lookup, flights: int = FLIGHTS) -> Reply:
        self._tell(Step.JOIN, cache_request.client_request)
        return super()._from_backend(cache_request, lookup, flights)

    def _landed(self, result: Result, cache_request: CacheRequest, lookup: Lookup, flights: int) -> Reply:
        self._tell(Step.LAND, cache_request.client_request)
        return super()._landed(result, cache_request, lookup, flights)

    def _lead(self, cache_request: CacheRequest, lookup: Lookup, flight: Flight | None) -> Deferred[CacheResponse]:
        self._tell(Step.FETCH, cache_request.client_request)
        return super()._lead(cache_request, lookup, flight)

    def stale_instead(self, cache_request: CacheRequest) -> CacheResponse | None:
        reply = super().stale_instead(cache_request)
        if reply is not None:
            self._tell(Step.STAND_IN, cache_request.client_request)
        return reply

    def _revalidate_behind(self, cache_request: CacheRequest, lookup: Lookup, entry: CacheEntry) -> None:
        self._tell(Step.REVALIDATE, cache_request.client_request)
        super()._revalidate_behind(cache_request, lookup, entry)
