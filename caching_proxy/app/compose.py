"""The composition root: every part is made here and handed its collaborators; nothing else knows them all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool

from caching_proxy.app.clocks import StepWatch
from caching_proxy.app.descriptors import ADMIN_CONNECTIONS
from caching_proxy.app.insight import make_insight
from caching_proxy.app.instruments import (
    BackendMeter,
    count_invalidation,
    tells_given_up,
    tells_invalidation,
    tells_of_others,
    tells_steps,
    watch_bus,
    watch_store,
    watch_tiers,
    watch_writer,
)
from caching_proxy.app.loop_lag import LoopLag
from caching_proxy.app.rules_file import CACHE_RULES_FILE, RulesFile, cache_rules_file, invalidation_rules_file
from caching_proxy.app.statistics import Statistics, Watched
from caching_proxy.app.store_parts import make_bus, make_claims, make_journal, make_store
from caching_proxy.app.team import Team
from caching_proxy.app.token_parts import make_verifier
from caching_proxy.auth.verifier import TokenVerifier
from caching_proxy.cache.backend.forward import Route
from caching_proxy.cache.build import Cache, CacheConfig, Surroundings, build_cache
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IInvalidationBus, IStore, IUpstream
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.cache_rules import CacheRule
from caching_proxy.rules.invalidation_rules import Rule, RulesError, spellings
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.references import origin_of
from caching_proxy.rules.steering import Steering
from caching_proxy.rules.store_topology import MEMORY_URL
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.server.http2.connection import HTTP2Channel
from caching_proxy.server.limits import Limits
from caching_proxy.server.site import ProxySite
from caching_proxy.server.tls_front import TLSFront
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.tls_files import pair_refused
from caching_proxy.store.breaker import Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.journal import Journal
from caching_proxy.telemetry.access_log import AccessLog, make_access_log
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.log_writer import Sink
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.path_labels import PathLabels
from caching_proxy.transport.certificates import HTTP1, HTTP2, Certificates, PairError
from caching_proxy.upstream.backend import Backend
from caching_proxy.upstream.pool import Upstream
from caching_proxy.upstream.probe import reach
from caching_proxy.web.admin.endpoints import OWN_PATHS, admin_children
from caching_proxy.web.admin.readiness import Readiness
from caching_proxy.web.admin.services import AdminServices, Insight
from caching_proxy.web.admin.streams import Streams
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.proxy import ProxyResource
from caching_proxy.web.recorder import Recorder
from caching_proxy.web.root import Root

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Proxy:
    """What the service starts and stops, in start order."""

    settings: Settings
    store: IStore
    bus: IInvalidationBus | None
    journal: Journal | None
    upstream: Upstream
    rules: RulesFile[Rule]
    cache_rules: RulesFile[CacheRule]
    invalidator: Invalidator
    writer: Writer
    verifier: TokenVerifier
    readiness: Readiness
    access: AccessLog
    metrics: Metrics
    site: ProxySite
    front: Factory
    certificates: Certificates | None
    admin_site: ProxySite | None
    steps: StepWatch
    lag: LoopLag
    statistics: Statistics
    streams: Streams
    heard: Callable[[Invalidation], object]


def compose(
    reactor: Any,
    settings: Settings,
    log: Sink,
    random: Callable[[int], bytes] = os.urandom,
    wall: IReactorTime | None = None,
    read: Callable[[Path], bytes] = Path.read_bytes,
    team: Team | None = None,
) -> Proxy:
    """Build the whole proxy on ``reactor``; nothing is opened yet. Raises SettingsError or ValueError for bad ones.

    ``log`` takes the access lines. ``wall`` dates what is stored, sent and logged; without it the reactor's own
    clock does. ``read`` gives the contents of files of rules; ``team`` are the other workers, if there are any.
    """
    wall = wall if wall is not None else reactor
    metrics = Metrics(settings.metrix_prefix, settings.metrix_prefix)
    store = make_store(reactor, settings, metrics, random(8).hex().encode())
    rules = _rules(settings, read)
    upstream = _upstream(reactor, settings, metrics)
    bus = make_bus(reactor, settings, store)
    watch_bus(metrics, bus)
    verifier = make_verifier(reactor, settings, wall)
    access = make_access_log(settings, log, wall)
    new_request_id = request_ids(random)
    happenings = Happenings(wall.seconds)
    journal = make_journal(reactor, settings)
    around = Surroundings(
        store=store,
        verifier=verifier,
        route=_route(settings, upstream),
        rules=rules,
        clock=wall,
        bus=bus,
        journal=journal,
        siblings=None if team is None else team.siblings,
        own_store=settings.cache_url == MEMORY_URL,
        claims=make_claims(settings, store, random(8).hex().encode()),
        on_removed=count_invalidation(metrics),
        on_invalidation=tells_invalidation(happenings),
        tell=tells_steps(settings.log_level),
        run=lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call),
    )
    cache = build_cache(_cache_config(settings), around)
    pipeline = cache.pipeline
    pipeline.parts.fetcher.on_given_up = tells_given_up(happenings)
    watch_tiers(metrics, cache.hot, cache.burst, cache.flights)
    watch_store(metrics, store)
    watch_writer(metrics, cache.writer)
    recorder = Recorder(metrics, access, PathLabels(), reactor, new_request_id, happenings)
    hosts = HostPolicy(frozenset(settings.allowed_hosts), settings.preserve_host)
    steering = Steering(settings.steering_fields, settings.underscores_in_headers)
    peers = TrustedPeers(settings.trusted_proxies)
    resource = ProxyResource(pipeline, peers, hosts, recorder, new_request_id, steering, settings.rewrite_location)
    name, now = _shown_name(settings), wall.seconds
    hot_path = HotPath(
        cache.hot, verifier, cache.policy, cache.keys, hosts, name, recorder, now, peers, steering, cache.terms
    )
    backend, pending = upstream.backend, lambda: cache.invalidator.pending
    metrics.watch("invalidations_pending", pending)
    reaching, phase = lambda: reach(reactor, backend.host, backend.port), lambda: _phase(store)
    readiness = Readiness(reaching, store, phase, reactor, bus, pending)
    watched = Watched(settings, store, cache.hot, cache.burst, cache.reader, cache.writer, cache.flights, metrics)
    statistics = Statistics(watched, reactor, wall)
    insight = make_insight(
        reactor, wall, settings, statistics, happenings, resource.front, pipeline.parts, cache.burst, team, access
    )
    services = _services(wall, settings, cache, readiness, metrics, insight)
    admin = admin_children(services if team is None else team.share(services))
    apart = settings.admin_port is not None
    site = _site(reactor, wall, settings, Root({} if apart else admin, resource), hot_path, recorder.refused_early)
    cache_rules = _cache_rules(settings, cache.terms, site, read)
    certificates = _certificates(reactor, settings)
    return Proxy(
        settings=settings,
        store=store,
        bus=bus,
        journal=journal,
        upstream=upstream,
        rules=rules,
        cache_rules=cache_rules,
        invalidator=cache.invalidator,
        writer=cache.writer,
        verifier=verifier,
        readiness=readiness,
        access=access,
        metrics=metrics,
        site=site,
        front=site if certificates is None else TLSFront(site, lambda: certificates.context, {HTTP2: HTTP2Channel}),
        certificates=certificates,
        admin_site=_site(reactor, wall, attrs.evolve(settings, max_connections=ADMIN_CONNECTIONS), Root(admin, None))
        if apart
        else None,
        steps=StepWatch(reactor, wall, lambda _: cache.forget()),
        lag=LoopLag(reactor, metrics.histogram("event_loop_lag_seconds").observe),
        statistics=statistics,
        streams=insight.streams,
        heard=tells_of_others(happenings, cache.invalidator.carried_out_elsewhere),
    )


def _certificates(reactor: IReactorTime, settings: Settings) -> Certificates | None:
    protocols = (HTTP2, HTTP1) if settings.http2 else (HTTP1,)
    try:
        return Certificates(settings.tls_files, protocols, reactor) if settings.tls_files else None
    except PairError as problem:
        raise pair_refused(problem) from None


def _upstream(reactor: Any, settings: Settings, metrics: Metrics) -> Upstream:
    upstream = Upstream(
        reactor,
        Backend.parse(settings.backend_url),
        max_connections=settings.backend_max_connections,
        max_per_peer=settings.backend_max_per_peer,
        connect_timeout=settings.backend_connect_timeout,
        timeout=settings.backend_timeout,
        tls=settings.backend_tls,
        observer=BackendMeter(metrics, reactor),
    )
    metrics.watch("backend_connections", lambda: upstream.connections)
    return upstream


def _cache_config(settings: Settings) -> CacheConfig:
    return CacheConfig(
        policy=settings.policy(),
        keys=_key_policy(settings),
        name=_shown_name(settings),
        verbose=settings.development,
        hot_entries=settings.hot_cache_max_entries,
        hot_bytes=settings.hot_cache_max_bytes,
        compress=settings.compress,
        compress_least=settings.compress_min_bytes,
        hot_seconds=settings.hot_cache_ttl_seconds,
        burst_entries=settings.burst_cache_max_entries,
        burst_bytes=settings.burst_cache_max_bytes,
        burst_seconds=settings.burst_cache_ttl_seconds,
        max_variants=settings.max_variants,
        max_variant_bytes=settings.max_variant_bytes,
        flight_seconds=settings.backend_timeout + settings.backend_connect_timeout,
        fill_seconds=settings.backend_timeout,
        stale_wait=settings.stale_wait_seconds,
    )


def _route(settings: Settings, upstream: IUpstream) -> Route:
    backend = Backend.parse(settings.backend_url)
    return Route(
        upstream,
        b"" if settings.preserve_host else backend.authority,
        origin_of(backend.scheme, backend.authority),
        backend.base_path,
        settings.proxy_name,
        settings.rewrite_location,
    )


def _services(
    wall: Any, settings: Settings, cache: Cache, readiness: Readiness, metrics: Metrics, insight: Insight
) -> AdminServices:
    invalidator = cache.invalidator
    return AdminServices(
        token=settings.admin_token,
        open_=settings.admin_auth == "none",
        ready=readiness.report,
        metrics=metrics,
        invalidate=lambda pattern, soft: invalidator.invalidate(*spellings(pattern), soft=soft).addCallback(len),
        invalidate_tags=lambda tags, soft: invalidator.invalidate_tags(tags, soft).addCallback(len),
        tagged=cache.inspector.tagged,
        keys=cache.inspector.keys,
        entries=cache.inspector.entries,
        clock=wall,
        insight=insight,
    )


def _shown_name(settings: Settings) -> bytes | None:
    """The name in ``Cache-Status``; None leaves the field off."""
    return settings.proxy_name if settings.cache_status else None


def request_ids(random: Callable[[int], bytes]) -> Callable[[], bytes]:
    """Identifiers that do not recur: random for the process, then a count."""
    prefix, counter = random(8).hex().encode(), itertools.count(1)
    return lambda: b"%b-%x" % (prefix, next(counter))


def _phase(store: IStore) -> str:
    """The breaker's phase as text; the embedded store needs no breaker."""
    return (store.phase if isinstance(store, CircuitBreakerStore) else Phase.CLOSED).name.lower().replace("_", "-")


def _rules(settings: Settings, read: Callable[[Path], bytes]) -> RulesFile[Rule]:
    path = Path(settings.invalidation_config)
    return _loaded(invalidation_rules_file(path, read), "INVALIDATION_CONFIG", settings.invalidation_config)


def _cache_rules(
    settings: Settings, terms: TermsByTarget, site: ProxySite, read: Callable[[Path], bytes]
) -> RulesFile[CacheRule]:
    named = settings.cache_rules

    def use(rules: tuple[CacheRule, ...]) -> None:
        terms.use(rules)
        site.heads.forget()  # the hot path keeps with a request line what holds for it

    path = Path(named or CACHE_RULES_FILE)
    return _loaded(cache_rules_file(path, read, named is None, use), "CACHE_RULES", named or CACHE_RULES_FILE)


def _loaded(rules: RulesFile[T], variable: str, value: str) -> RulesFile[T]:
    try:
        rules.load()
    except RulesError as problem:
        raise SettingsError(variable, value, f"a JSON file of {rules.what} ({problem})") from problem
    return rules


def _key_policy(settings: Settings) -> KeyPolicy:
    return KeyPolicy(
        ignore_params=settings.cache_key_ignore_params,
        sort_query=settings.cache_key_sort_query,
        host_in_key=settings.preserve_host and len(settings.allowed_hosts) > 1,
        reserved=frozenset() if settings.admin_port is not None else OWN_PATHS,
    )


def _site(
    reactor: IReactorTime,
    wall: IReactorTime,
    settings: Settings,
    root: Root,
    hot: HotPath | None = None,
    on_refused: Callable[[int, bytes], None] | None = None,
) -> ProxySite:
    limits = Limits(
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
    return ProxySite(
        root,
        reactor,
        wall=wall,
        limits=limits,
        hot=hot,
        on_refused=on_refused,
        max_connections=settings.max_connections or None,
        max_per_peer=settings.max_connections_per_peer or None,
    )
