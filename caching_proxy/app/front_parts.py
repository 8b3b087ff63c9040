"""What faces clients: the resources, the hot path, the endpoints of our own, and the sites that serve them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.protocol import Factory

from caching_proxy.app.cache_parts import shown_name
from caching_proxy.app.descriptors import ADMIN_CONNECTIONS
from caching_proxy.app.insight import make_insight
from caching_proxy.app.outside import Outside, loaded
from caching_proxy.app.rules_file import CACHE_RULES_FILE, RulesFile, cache_rules_file
from caching_proxy.app.statistics import Statistics, Watched
from caching_proxy.cache.build import Cache
from caching_proxy.cache.traced_pipeline import TracedPipeline
from caching_proxy.interfaces import IStore
from caching_proxy.rules.cache_rules import CacheRule
from caching_proxy.rules.invalidation_rules import spellings
from caching_proxy.rules.steering import Steering
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.server.http2.connection import HTTP2Channel
from caching_proxy.server.limits import Limits
from caching_proxy.server.seams import Hot, Pass
from caching_proxy.server.site import ProxySite
from caching_proxy.server.tls_front import TLSFront
from caching_proxy.settings.model import Settings
from caching_proxy.settings.tls_files import pair_refused
from caching_proxy.store.breaker import Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.telemetry.metrics.path_labels import PathLabels
from caching_proxy.transport.certificates import HTTP1, HTTP2, Certificates, PairError
from caching_proxy.upstream.probe import reach
from caching_proxy.web.admin.endpoints import admin_children
from caching_proxy.web.admin.readiness import Readiness
from caching_proxy.web.admin.services import AdminServices, Insight
from caching_proxy.web.admin.streams import Streams
from caching_proxy.web.fast_miss import FastMiss
from caching_proxy.web.fast_pass import FastPass
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.proxy import ProxyResource
from caching_proxy.web.recorder import Recorder
from caching_proxy.web.root import Root


@attrs.frozen(kw_only=True, eq=False)
class FrontParts:
    """``site`` serves requests, ``front`` is what listens for it: with TLS, another factory. ``admin_site`` serves the
    endpoints of our own where they have a port to themselves."""

    site: ProxySite
    front: Factory
    certificates: Certificates | None
    admin_site: ProxySite | None
    cache_rules: RulesFile[CacheRule]
    readiness: Readiness
    statistics: Statistics
    streams: Streams


def make_front(outside: Outside, cache: Cache) -> FrontParts:
    """The way from a connection to ``cache``.

    Raises:
        SettingsError: for certificates and rules that cannot be used.
    """
    settings = outside.settings
    resource, hot_path, recorder = _ways_in(outside, cache)
    readiness = _readiness(outside, cache)
    statistics = _statistics(outside, cache)
    insight = _insight(outside, cache, resource, statistics)
    services = _services(outside, cache, readiness, insight)
    admin = admin_children(services if outside.team is None else outside.team.share(services))
    apart = settings.admin_port is not None
    root = Root({} if apart else admin, resource)
    passing = _passing(outside, cache, resource, hot_path, recorder, root)
    site = _site(outside, settings, root, outside.followed.hot(hot_path, recorder), recorder.refused_early, passing)
    few = attrs.evolve(settings, max_connections=ADMIN_CONNECTIONS)
    certificates = _certificates(outside)
    return FrontParts(
        site=site,
        front=site if certificates is None else TLSFront(site, lambda: certificates.context, {HTTP2: HTTP2Channel}),
        certificates=certificates,
        admin_site=_site(outside, few, Root(admin, None)) if apart else None,
        cache_rules=_cache_rules(outside, cache.terms, site),
        readiness=readiness,
        statistics=statistics,
        streams=insight.streams,
    )


def request_ids(random: Callable[[int], bytes]) -> Callable[[], bytes]:
    """Identifiers that do not recur: random for the process, then a count."""
    prefix, counter = random(8).hex().encode(), itertools.count(1)
    return lambda: b"%b-%x" % (prefix, next(counter))


def _ways_in(outside: Outside, cache: Cache) -> tuple[ProxyResource, HotPath, Recorder]:
    """The resource that sends requests through the pipeline, and the short way beside it."""
    settings = outside.settings
    new_request_id = request_ids(outside.random)
    recorder = outside.followed.recorder(
        outside.metrics, outside.access, PathLabels(), outside.reactor, new_request_id, outside.happenings
    )
    hosts = HostPolicy(frozenset(settings.allowed_hosts), settings.preserve_host)
    steering = Steering(settings.steering_fields, settings.underscores_in_headers)
    peers = TrustedPeers(settings.trusted_proxies)
    resource = ProxyResource(
        outside.followed.pipeline(cache.pipeline),
        peers,
        hosts,
        recorder,
        new_request_id,
        steering,
        settings.rewrite_location,
    )
    hot_path = HotPath(
        cache.hot,
        outside.verifier,
        cache.policy,
        cache.keys,
        hosts,
        shown_name(settings),
        recorder,
        outside.wall.seconds,
        peers,
        steering,
        cache.terms,
        None if isinstance(cache.pipeline, TracedPipeline) else cache.reader,  # there each step is to be seen
        cache.varying,
    )
    return resource, hot_path, recorder


def _passing(
    outside: Outside, cache: Cache, resource: ProxyResource, hot_path: HotPath, recorder: Recorder, root: Root
) -> Pass | None:
    """The short way of what passes through, and those of misses and of what passes the cache by beside it; none where
    each step is to be seen."""
    if isinstance(cache.pipeline, TracedPipeline):
        return None
    fast = FastPass(cache.pipeline.parts, outside.upstream, resource, recorder, root.own)
    hot_path.fetches(FastMiss(fast))
    passing = outside.followed.passing(fast)
    hot_path.past = None if passing is None else fast.past
    return passing


def _readiness(outside: Outside, cache: Cache) -> Readiness:
    reactor, store, backend = outside.reactor, outside.store, outside.upstream.backend
    return Readiness(
        lambda: reach(reactor, backend.host, backend.port),
        store,
        lambda: _phase(store),
        reactor,
        outside.bus,
        lambda: cache.invalidator.pending,
    )


def _statistics(outside: Outside, cache: Cache) -> Statistics:
    watched = Watched(
        outside.settings,
        outside.store,
        cache.hot,
        cache.burst,
        cache.reader,
        cache.writer,
        cache.key_state,
        outside.metrics,
    )
    return Statistics(watched, outside.reactor, outside.wall)


def _insight(outside: Outside, cache: Cache, resource: ProxyResource, statistics: Statistics) -> Insight:
    return make_insight(
        outside.reactor,
        outside.wall,
        outside.settings,
        statistics,
        outside.happenings,
        resource.front,
        cache.pipeline.parts,
        cache.burst,
        outside.team,
        outside.access,
    )


def _services(outside: Outside, cache: Cache, readiness: Readiness, insight: Insight) -> AdminServices:
    settings, invalidator = outside.settings, cache.invalidator
    return AdminServices(
        token=settings.admin_token,
        open_=settings.admin_auth == "none",
        ready=readiness.report,
        metrics=outside.metrics,
        invalidate=lambda pattern, soft: invalidator.invalidate(*spellings(pattern), soft=soft).addCallback(len),
        invalidate_tags=lambda tags, soft: invalidator.invalidate_tags(tags, soft).addCallback(len),
        tagged=cache.inspector.tagged,
        keys=cache.inspector.keys,
        entries=cache.inspector.entries,
        clock=outside.wall,
        insight=insight,
    )


def _phase(store: IStore) -> str:
    """The breaker's phase as text; the embedded store needs no breaker."""
    return (store.phase if isinstance(store, CircuitBreakerStore) else Phase.CLOSED).name.lower().replace("_", "-")


def _cache_rules(outside: Outside, terms: TermsByTarget, site: ProxySite) -> RulesFile[CacheRule]:
    named = outside.settings.cache_rules

    def use(rules: tuple[CacheRule, ...]) -> None:
        terms.use(rules)
        site.heads.forget()  # the hot path keeps with a request line what holds for it

    path = Path(named or CACHE_RULES_FILE)
    return loaded(cache_rules_file(path, outside.read, named is None, use), "CACHE_RULES", named or CACHE_RULES_FILE)


def _certificates(outside: Outside) -> Certificates | None:
    settings = outside.settings
    protocols = (HTTP2, HTTP1) if settings.http2 else (HTTP1,)
    try:
        return Certificates(settings.tls_files, protocols, outside.reactor) if settings.tls_files else None
    except PairError as problem:
        raise pair_refused(problem) from None


def _site(
    outside: Outside,
    settings: Settings,
    root: Root,
    hot: Hot | None = None,
    on_refused: Callable[[int, bytes], None] | None = None,
    passing: Pass | None = None,
) -> ProxySite:
    return ProxySite(
        root,
        outside.reactor,
        wall=outside.wall,
        limits=_limits(settings),
        hot=hot,
        passing=passing,
        on_refused=on_refused,
        max_connections=settings.max_connections or None,
        max_per_peer=settings.max_connections_per_peer or None,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        head_bytes=settings.max_head_bytes,
        field_count=settings.max_header_fields,
        target_bytes=settings.max_target_bytes,
        body_bytes=settings.max_request_body_bytes,
        buffer_bytes=settings.request_buffer_bytes,
        pipeline_depth=settings.pipeline_depth,
        head_seconds=settings.head_timeout,
        idle_seconds=settings.idle_timeout,
        body_seconds=settings.body_timeout,
        write_seconds=settings.write_timeout,
    )
