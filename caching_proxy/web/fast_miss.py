"""Ordinary misses, fetched and answered from the channel as hits are.

Most misses are alike: a GET of the whole, of which nothing is stored and that nobody else has asked for yet, and an
ordinary answer that comes at once and may be stored. What was looked for in the store in vain (:mod:`.store_hits`)
becomes a kind of :class:`~.fast_pass.Passage`, which takes the steps of ``cache.pipeline`` in their order: lease and
flight before the backend is asked, then the verdict, the tiers, and whoever waits. Whatever is unusual about a request
is declined here; an answer that is unusual, or that still arrives, goes on in the general way with the lease and the
flight. ``tests/web/test_fast_miss_alike.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter, methodcaller

from twisted.python.failure import Failure

from caching_proxy.cache.backend.fetch import Fetcher
from caching_proxy.cache.backend.request import BackendRequest, Purpose
from caching_proxy.cache.flights import Flight, FlightResult, Selected
from caching_proxy.cache.key_state import Lease
from caching_proxy.cache.requests import CacheRequest, CacheResponse, ClientRequest, Plan
from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.pieces import SHARED_BYTES
from caching_proxy.interfaces import UpstreamError, UpstreamResponse
from caching_proxy.rules.entry import Asked, Selecting
from caching_proxy.rules.glance import fast_verdict
from caching_proxy.rules.locations import MARKED
from caching_proxy.rules.make_entry import plain_entry, plain_lines
from caching_proxy.rules.outcome import Detour
from caching_proxy.rules.reuse import choose
from caching_proxy.rules.variance import asked_of, asked_with, names_in_vary, values_of
from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.refusal import CLIENT_LEFT
from caching_proxy.server.request_head import AnyHead
from caching_proxy.web.fast_pass import FastPass, Manner, Passage

_GET = b"GET"
_NO_VALUES: Selecting = ()
_AT_COLON, _FIRST = methodcaller("partition", b":"), itemgetter(0)


class FastMiss:
    """Called with a request for which nothing was found, and its plan: whether it sees to it from here."""

    def __init__(self, fast: FastPass) -> None:
        parts = fast.parts
        self.fast = fast
        self.fetcher = parts.fetcher
        self._varying = parts.varying
        self.worth = parts.varying.worth
        self._key_state = parts.key_state
        self._hot = parts.hot
        self._never = type(parts.fetcher) is not Fetcher  # a fleet has to be asked first

        self.asked = {trusted: _asked_by_names(unseen) for trusted, unseen in fast.unseen.items()}

    def __call__(self, channel: HTTPChannel, parsed: AnyHead, plan: Plan, received_at: float) -> bool:
        terms, fast = plan.terms, self.fast
        if self._never or parsed.line.method != _GET or not plan.traits.plain or not terms.collapse:
            return False
        manner = parsed.meaning.manner or fast.manner(parsed)
        if manner.declined:
            return False
        scope, now = plan.view.scope, fast.now()
        selected: Selected = ()
        trusted = fast.trusting and fast.peers.trusts(channel.peer_host)
        if self._varying.worth or scope:
            head = fast.resource.front.seen(parsed.head, trusted)
            selected = self._varying.selected(plan.key, head.fields, scope)
        if plan.key in self._hot.records and self._hot.get(plan.key, now) is not None:
            return False
        led = self._key_state.lead(plan.key, selected, now)
        if led is None:
            return False
        self._hot.misses += 1
        miss = Miss(self, channel, parsed, manner, trusted, received_at, plan, *led)
        channel.goes_on(miss)
        miss.start()
        return True


def _asked_by_names(unseen: Callable[[bytes], bool]) -> Callable[[tuple[bytes, ...]], Asked | None]:
    """:func:`asked_of` by the names of a request's lines, less those that are ``unseen``; remembers some."""

    @lru_cache(256)
    def asked(names: tuple[bytes, ...]) -> Asked | None:
        return asked_with(tuple([name for name in names if not unseen(name.lower())]))

    return asked


class Miss(Passage):
    """One miss on its way to the backend and back. Its lease and its flight end here, or in the general way."""

    __slots__ = ("_abandoned", "_flight", "_lease", "_misses", "_plan")

    def __init__(
        self,
        misses: FastMiss,
        channel: HTTPChannel,
        parsed: AnyHead,
        manner: Manner,
        trusted: bool,
        received_at: float,
        plan: Plan,
        lease: Lease,
        flight: Flight | None,
    ) -> None:
        Passage.__init__(self, misses.fast, channel, parsed, b"", None, manner, plan.identity, Detour.METHOD, trusted)
        self.received_at = received_at
        self._misses = misses
        self._plan = plan
        self._lease: Lease | None = lease
        self._flight = flight
        self._abandoned = False  # the client left; others wait for the flight

    def start(self) -> None:
        """Send it on; the channel hears of what comes of it."""
        try:
            self._send()
        except Exception:  # noqa: BLE001 a bug; it is logged and answered
            self._broken()

    # -- what the backend says -------------------------------------------------------------------

    def responded(self, response: UpstreamResponse) -> None:
        self._call = None  # each refers to the other
        try:
            answer = self._kept(response)
            if answer is None:
                self._answer_generally(response)
                return
        except Exception:  # noqa: BLE001 a bug, which must not end the backend's connection; it is logged and answered
            self._broken()
            return
        self._hand_over(answer)

    def failed(self, error: UpstreamError) -> None:
        self._call = None
        try:
            reply = self._misses.fetcher.unanswered(Failure(error), self._general(self.client_request()))
        except Exception:  # noqa: BLE001 a bug; it is logged and answered
            self._broken()
        else:
            self._deliver(reply)

    def interim(self, head: ResponseHead) -> None:
        if not self._abandoned:
            Passage.interim(self, head)

    def _kept(self, response: UpstreamResponse) -> HotAnswer | None:
        """The bytes of an ordinary answer, which is kept; None, with nothing done, for the general way."""
        fast, plan, head = self._fast, self._plan, response.head
        lease, policy, received = self._lease, plan.terms.policy, head.fields.lines
        if not response.body.complete or self._request is not None or self._abandoned or lease is None:
            return None
        if head.status >= 300 or received is None or policy.tags or self._channel.site.connections.draining:
            return None
        now, telling = fast.now(), self._manner.telling
        verdict = fast_verdict(telling, head, policy, plan.identity.established, self._asked_at, now)
        lines = b"" if verdict is None else plain_lines(received)
        if verdict is None or MARKED in lines:
            return None
        body, scope, misses = response.body.take(), plan.view.scope, self._misses
        names, selecting, asked = head.fields.told(names_in_vary), _NO_VALUES, None
        if names:
            selecting = values_of(fast.resource.front.seen(self.head, self._trusted).fields, names)
        elif misses.worth:
            asked = asked_of(fast.resource.front.seen(self.head, self._trusted).fields, misses.worth)
        else:
            asked = misses.asked[self._trusted](tuple(map(_FIRST, map(_AT_COLON, self._parsed.lines))))
        entry = plain_entry(plan.key, head, lines, body, verdict, policy, now, scope, asked, selecting)
        start = b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, fast.parts.responses.missed(entry, now))
        self._lease = None  # whoever stores closes it
        fast.parts.fetcher.fill(entry, lease, self._flight)
        fast.recorder.missed(self._parsed.line, head.status, plan.identity.label, self.received_at, self.request_id)
        return start + body if len(body) < SHARED_BYTES else LargeAnswer(start, body)

    def _answer_generally(self, response: UpstreamResponse) -> None:
        fast, client_request = self._fast, self.client_request()
        backend_request = self._general(client_request)
        reply = fast.parts.fetcher.answered(fast.route.located(response), backend_request)
        self._deliver(reply)

    def _general(self, client_request: ClientRequest) -> BackendRequest:
        """What the general way has made of the request by now, with the lease and the flight."""
        cache_request = CacheRequest(client_request, self._plan)
        cache_request.lease, self._lease = self._lease, None
        cache_request.flight = flight = self._flight
        head, now = cache_request.head, self._fast.now()
        lookup = choose(head, cache_request.control, (), now, cache_request.view)
        return BackendRequest(cache_request, lookup, flight, Purpose.FETCH, head, self._asked_at)

    def _deliver(self, reply: CacheResponse) -> None:
        if self._abandoned:
            reply.discard()
        else:
            Passage._deliver(self, reply)

    def _broken(self) -> None:
        """Answer after a bug, which is being handled."""
        self._end()
        if self._abandoned:
            self._log.failure("a fetch that nobody waits for failed")
        else:
            self._fast.resource.broken(Failure(), self._made(), self.client_request())

    # -- a client that leaves --------------------------------------------------------------------

    def _left(self) -> None:
        if self._flight is not None and self._flight.followers:
            self._abandoned = True
        else:
            call, self._call = self._call, None
            if call is not None:
                call.cancel()
            self._end()
        self._fast.recorder.refused(CLIENT_LEFT, self)

    def _end(self) -> None:
        """Nothing comes of it."""
        lease, self._lease = self._lease, None
        if self._flight is not None:
            self._flight.land(FlightResult.ABANDONED)
        if lease is not None:
            lease.close()
