"""Hot hits answered straight from the channel, without a request, a resource or a Deferred.

A plain GET or HEAD whose entry is hot and fresh gets the very bytes that the pipeline would have sent; the decisions
come from the same functions in ``rules``. Everything unusual is declined and walks the full path.

Heads need not repeat: what a head asks for follows from its request line and from those of its lines that some rule
reads (``web/hot_reading.py``), each remembered by itself. What an entry answers is rendered once for each second of its
age, and kept with the hot tier's record, so that it goes when the record goes.
"""

from __future__ import annotations

from collections.abc import Callable

from caching_proxy.cache.plan import Way
from caching_proxy.cache.requests import Plan
from caching_proxy.cache.tiers.hot import HotRecord, HotTier
from caching_proxy.cache.tiers.renderings import Rendering, Shown
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.variants import VaryNames
from caching_proxy.http.messages import RequestHead
from caching_proxy.http.pieces import SHARED_BYTES
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.interfaces import Identity, ITokenVerifier
from caching_proxy.rules.conditional import not_modified
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.locations import MARKED
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.reuse import Use, choose
from caching_proxy.rules.scope import PLAIN_VIEW, View
from caching_proxy.rules.steering import DEFAULT as DEFAULT_STEERING
from caching_proxy.rules.steering import Steering
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.rules.variance import variant_of
from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.seams import LookUp
from caching_proxy.web.fast_miss import FastMiss
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.hot_reading import Bearing, Head, Reading, asking, conditions, request_id, several_parts
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.recorder import Recorder
from caching_proxy.web.rendered import rendered
from caching_proxy.web.store_hits import Declined, StoreHits, Visit

MAX_REMEMBERED = 128
"""Bytes of a request's values beyond which no choice or form is remembered under them."""

Past = Callable[[Head, HTTPChannel, Identity, Way], LookUp | None]

_GET = b"GET"
_HTTP = b"http"
_HIT = Use.HIT


class HotPath:
    """Called by the channel with each plain head; the answer's bytes, or None to decline."""

    def __init__(
        self,
        hot: HotTier,
        verifier: ITokenVerifier,
        policy: CachePolicy,
        keys: KeyPolicy,
        hosts: HostPolicy,
        proxy_name: bytes | None,
        recorder: Recorder,
        now: Callable[[], float],
        peers: TrustedPeers,
        steering: Steering = DEFAULT_STEERING,
        terms: TermsByTarget | None = None,
        reader: StoreReader | None = None,
        varying: VaryNames | None = None,
    ) -> None:
        self._hot = hot
        self.reading = self._reading = Reading(verifier, policy, hosts, steering, terms or TermsByTarget(policy, keys))
        self._proxy_name = proxy_name
        self._recorder = recorder
        self._now = now
        self._peers = peers
        self._trusting = peers.any
        self._hits: StoreHits | None = None
        self.past: Past | None = None
        """What passes requests on that pass the cache by; without it they walk the full path."""
        if reader is not None and varying is not None and hot.compression is None:
            self._hits = StoreHits(hot, reader, varying, recorder, proxy_name, now, self._reading)

    def fetches(self, misses: FastMiss) -> None:
        """Ordinary misses are for ``misses`` from now on."""
        if self._hits is not None:
            self._hits.misses = misses

    def __call__(self, parsed: Head, channel: HTTPChannel) -> HotAnswer | LookUp | None:
        bearing = parsed.meaning.room or self._reading.bearing(parsed)
        if bearing.declined:
            return self._resolved(parsed, channel, bearing)
        identity = self._reading.who(parsed, bearing) if bearing.personal else bearing.identity
        if identity is None or identity.role is None:
            return self._resolved(parsed, channel, bearing)
        route = parsed.line.room or self._reading.route(parsed)
        if route.declined:
            return self._resolved(parsed, channel, bearing)
        now = self._now()
        if route.target is not None:
            key = route.key_for(identity.role, route.target, parsed)
        else:
            key = self._reading.key(parsed, bearing, identity.role)
        record = self._hot.get(key, now)
        trusted = self._trusting and self._peers.trusts(channel.peer_host)
        view: View | None = route.view
        if trusted or channel.scheme != _HTTP:
            view = self._reading.view(parsed, bearing, route, channel.scheme, trusted)
        if record is None:
            return self._visit(parsed, channel, bearing, identity, key, view, trusted)
        shown = self._shown(parsed, bearing, key, record, view, now)
        if shown is None:
            return self._declined(parsed, channel, bearing, identity, key, view)
        ready = shown.conditional(parsed.own, bearing.condition) if bearing.particular else shown.whole
        rendering = ready if parsed.line.method == _GET else None
        if rendering is None:
            rendering = self._rendering(parsed, bearing, shown, now)
        self._hot.hits += 1
        meter = route.meter
        if meter is None or meter.status != rendering.status or meter.role != identity.label:
            meter = route.meter = self._recorder.hot_meter(parsed.line, rendering.status, identity.label)
        ended = self._now()
        meter.record(ended, ended - now, request_id(parsed) if trusted and bearing.request_id else None)
        head, body = rendering.head, rendering.body
        return head + body if isinstance(body, bytes) and len(body) < SHARED_BYTES else LargeAnswer(head, body)

    def _visit(
        self,
        parsed: Head,
        channel: HTTPChannel,
        bearing: Bearing,
        identity: Identity,
        key: bytes,
        view: View | None,
        trusted: bool,
    ) -> LookUp | None:
        """What looks in the tiers below; None where that is for the full path to do."""
        if self._hits is None or not channel.waits or view is None or (bearing.ranged and several_parts(parsed)):
            return self._declined(parsed, channel, bearing, identity, key, view)
        told = request_id(parsed) if trusted and bearing.request_id else None
        return Visit(self._hits, channel, parsed, bearing, identity, key, view, told)

    def _resolved(self, parsed: Head, channel: HTTPChannel, bearing: Bearing) -> LookUp | None:
        """What a request that is not looked up from here goes on with: past the cache, or to the full path."""
        if not channel.waits:
            return None
        trusted = self._trusting and self._peers.trusts(channel.peer_host)
        resolved = self._reading.resolved(parsed, bearing, channel.scheme, trusted)
        if resolved is None:
            return None
        identity, plan = resolved
        if isinstance(plan, Plan):
            return Declined(channel, parsed, plan)
        return self.past(parsed, channel, identity, plan) if self.past is not None else None

    def _declined(
        self, parsed: Head, channel: HTTPChannel, bearing: Bearing, identity: Identity, key: bytes, view: View | None
    ) -> LookUp | None:
        """What hands the request on to the full path, which need not work out again what was found out here."""
        if view is None or not channel.waits:
            return None
        return Declined(channel, parsed, self._reading.plan(parsed, bearing, identity, key, view))

    # -- once for each record, and each second of an entry's age ---------------------------------

    def _shown(
        self, parsed: Head, bearing: Bearing, key: bytes, record: HotRecord, view: View | None, now: float
    ) -> Shown | None:
        """The entry that answers, with room for its answers; None where the full path has to look."""
        if view is None:
            return None
        name: object = view.scope
        if record.named:
            if self._reading.steered(record.named):
                return None
            lines = [line for field in record.named for line in parsed.lines_of(field)]
            name = (view.scope, *lines) if sum(map(len, lines)) <= MAX_REMEMBERED else None
        if bearing.ranged and several_parts(parsed):
            return None
        if bearing.ranged:
            name = shown = None
        elif record.named or view is not PLAIN_VIEW:
            shown = record.renderings[name]
        else:
            shown = record.shown
        if shown is None:
            shown = self._chosen(parsed, bearing, key, record, view, now)
            if shown is None:
                return None
            if shown.settled:
                self._remember(record, name, shown, now)
        age = int(now - shown.entry.received_at)
        if shown.age != age:
            if not shown.entry.fresh(now):
                return None
            shown.renew(age)
        return shown

    def _chosen(
        self, parsed: Head, bearing: Bearing, key: bytes, record: HotRecord, view: View, now: float
    ) -> Shown | None:
        head = parsed.head if record.named else asking(parsed, bearing)
        lookup = choose(head, NO_DIRECTIVES, record.entries, now, view)
        if lookup.use is not _HIT or lookup.entry is None or lookup.entry.missing is not None:
            return None
        if MARKED in lookup.entry.head:  # it names the host that each client came by
            return None
        entry, settled = self._hot.form(head, lookup.entry, key, record)
        shown = record.renderings[(None, variant_of(entry))]
        return shown if shown is not None and shown.entry is entry else Shown(entry, settled)

    def _remember(self, record: HotRecord, name: object, shown: Shown, now: float) -> None:
        """Keep a choice from the second time in a second on: thousands of entries that are asked for now and then
        would need as much room for their heads as for themselves."""
        age = int(now - shown.entry.received_at)
        if record.rendered_at == age and name == PLAIN_VIEW.scope:
            record.shown = shown
        elif record.rendered_at == age and name is not None:
            if record.named:  # other choices may come to the same entry
                record.remember((None, variant_of(shown.entry)), shown)
            record.remember(name, shown)
        record.rendered_at = age

    def _rendering(self, parsed: Head, bearing: Bearing, shown: Shown, now: float) -> Rendering:
        """The answer, made anew unless one for the same conditions, or that comes to the same, was kept."""
        method = parsed.line.method
        if not bearing.particular:
            return self._kept(method, asking(parsed, bearing), shown, now)
        asked = conditions(parsed)
        form: object = asked[0] if method == _GET and len(asked) == 1 else (method, asked)
        rendering = shown.find(form)
        if rendering is not None:
            return rendering
        head = asking(parsed, bearing)
        if bearing.ranged:
            return self._made(head, shown.entry, now)
        rendering = self._kept(304 if not_modified(head, shown.entry, now) else method, head, shown, now)
        if sum(len(value) for _, value in asked) <= MAX_REMEMBERED:
            shown.keep(form, rendering)
        return rendering

    def _kept(self, form: object, head: RequestHead, shown: Shown, now: float) -> Rendering:
        rendering = shown.find(form)
        if rendering is None:
            rendering = self._made(head, shown.entry, now)
            shown.keep(form, rendering)
        return rendering

    def _made(self, asked: RequestHead, entry: CacheEntry, now: float) -> Rendering:
        return rendered(asked, entry, CacheStatus.HOT_HIT, now, self._proxy_name)
