"""One fetch for the whole fleet: of proxies that miss a key at once, one fetches, the others wait for the store.

Before a fetch that others could share, its leader claims the key. Whoever is second looks into the store again and
again until the answer is there, the claim is free, or it has waited long enough. A claim ends by itself when its
holder dies, and without a store nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.cache.backend.fetch import Fetcher
from caching_proxy.cache.flights import Flight, FlightResult, Result
from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.requests import CacheRequest, CacheResponse
from caching_proxy.cache.tiers.variants import field_name
from caching_proxy.interfaces import Claim, IClaims
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.reuse import Lookup, Use, choose

POLL_SECONDS = 0.05
"""Between two looks into the store."""

RENEW_SECONDS = 1.0
"""How often a claim is renewed while the fetch goes on; it lasts three times as long."""

STORED_SECONDS = 0.2
"""For how long a claim is kept after the answer is complete, which may still be on its way into the store."""


class FleetFetcher(Fetcher):
    """A :class:`Fetcher` that claims first what it fetches for others too. ``patience``: seconds to wait at most."""

    def in_fleet(self, claims: IClaims, key_state: KeyState, clock: IReactorTime, patience: float) -> FleetFetcher:
        """Say with whom it shares."""
        self._claims = claims
        self._key_state = key_state
        self._clock = clock
        self._patience = patience
        self._held: dict[bytes, Held] = {}
        return self

    def fetch(self, cache_request: CacheRequest, lookup: Lookup, flight: Flight | None) -> Deferred[CacheResponse]:
        alone = flight is None or lookup.entry is not None or not cache_request.plain or cache_request.unattended
        if alone or cache_request.head.method != b"GET" or flight is None:
            return super().fetch(cache_request, lookup, flight)
        return Deferred.fromCoroutine(self._claimed(cache_request, lookup, flight))

    async def _claimed(self, cache_request: CacheRequest, lookup: Lookup, flight: Flight) -> CacheResponse:
        name, until = self._name(cache_request), self._clock.seconds() + self._patience
        look = cache_request.collapsed is False  # another's fetch was waited for: it may be there meanwhile
        try:
            while True:
                if look and (entry := await self._from_store(cache_request)) is not None:
                    return self._taken(cache_request, entry, flight)
                name, look = self._name(cache_request), True
                claim = await self._claim(name)
                if claim is not Claim.THEIRS or self._clock.seconds() >= until:
                    break
                await _pause(self._clock)
        except BaseException:  # cancelled, or a bug: nobody may be left waiting, here or elsewhere
            if name not in self._held:
                self._claims.give_up(name)
            flight.land(FlightResult.ABANDONED)
            cache_request.close_lease()
            raise
        if claim is Claim.OURS:
            held = self._held.get(name) or Held(self._claims, name, self._clock, self._held)
            flight.on_landed = held.begin().over
        if cache_request.outdated:  # while it waited; what is fetched from now on may be stored
            cache_request.take_lease(self._key_state)
            cache_request.known, now = (), self._clock.seconds()
            lookup = choose(cache_request.head, cache_request.control, (), now, cache_request.view)
        return await super().fetch(cache_request, lookup, flight)

    def _name(self, cache_request: CacheRequest) -> bytes:
        """What is claimed: the key, and the variant as far as is known by what it varies."""
        selected = self._varying.selected(cache_request.key, cache_request.head.fields, cache_request.view.scope)
        return b" ".join((cache_request.crowd, *selected))

    def _claim(self, name: bytes) -> Deferred[Claim]:
        """Ask for ``name``, unless it is ours still for another fetch, or for one that is just over."""
        return succeed(Claim.OURS) if name in self._held else self._claims.claim(name)

    async def _from_store(self, cache_request: CacheRequest) -> CacheEntry | None:
        """What another proxy has put into the store for this request meanwhile."""
        head, key = cache_request.head, cache_request.key
        wanted = self._varying.guess(key, head.fields, cache_request.view.scope)
        for _ in range(2):  # once more where another variant than was guessed is the right one
            found = await self._reader.load(key, wanted)
            lookup = choose(head, cache_request.control, found.entries, self._clock.seconds(), cache_request.view)
            if not lookup.lacking:
                usable = lookup.use is Use.HIT and lookup.entry is not None and lookup.entry.missing is None
                return lookup.entry if usable else None
            wanted = tuple(map(field_name, lookup.lacking))
        return None

    def _taken(self, cache_request: CacheRequest, entry: CacheEntry, flight: Flight) -> CacheResponse:
        cache_request.close_lease()
        flight.land(entry)
        return self._responses.stored(cache_request, entry, CacheStatus.HIT, self._clock.seconds())


class Held:
    """A claim of ours, in ``held`` by its name: while a fetch goes on, and a little longer where its answer is stored.

    A second fetch may begin meanwhile, as after an invalidation: the claim ends with the last.
    """

    def __init__(self, claims: IClaims, name: bytes, clock: IReactorTime, held: dict[bytes, Held]) -> None:
        self._claims = claims
        self._name = name
        self._clock = clock
        self._held = held
        self._fetches = 0
        self._timer: IDelayedCall = clock.callLater(RENEW_SECONDS, self._renew)
        held[name] = self

    def begin(self) -> Held:
        """A fetch begins, which ends with :meth:`over`."""
        self._fetches += 1
        if self._fetches == 1:
            self._timer.cancel()
            self._timer = self._clock.callLater(RENEW_SECONDS, self._renew)
        return self

    def _renew(self) -> None:
        self._timer = self._clock.callLater(RENEW_SECONDS, self._renew)
        self._claims.claim(self._name)

    def over(self, result: Result) -> None:
        """A fetch came to ``result``."""
        self._fetches -= 1
        if self._fetches:
            return
        self._timer.cancel()
        if isinstance(result, CacheEntry):
            self._timer = self._clock.callLater(STORED_SECONDS, self._end, False)
        else:
            self._end(result is FlightResult.UNSHAREABLE)

    def _end(self, alone: bool) -> None:
        del self._held[self._name]
        self._claims.give_up(self._name, alone)


def _pause(clock: IReactorTime) -> Deferred[None]:
    timers: list[IDelayedCall] = []
    pause: Deferred[None] = Deferred(lambda _: timers[0].cancel())
    fire: Callable[[None], None] = pause.callback
    timers.append(clock.callLater(POLL_SECONDS, fire, None))
    return pause
