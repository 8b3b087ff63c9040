"""The cache, as the settings say."""

from __future__ import annotations

from twisted.internet.threads import deferToThreadPool

from caching_proxy.app.instruments import (
    count_invalidation,
    tells_given_up,
    tells_invalidation,
    tells_steps,
    watch_tiers,
    watch_walks,
    watch_writer,
)
from caching_proxy.app.outside import Outside
from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.build import Cache, CacheConfig, Surroundings, build_cache
from caching_proxy.interfaces import IUpstream
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.references import origin_of
from caching_proxy.settings.model import Settings
from caching_proxy.upstream.backend import Backend
from caching_proxy.web.admin.endpoints import OWN_PATHS


def make_cache(outside: Outside) -> Cache:
    """The cache between ``outside``'s backend and store, measured."""
    cache = build_cache(_config(outside.settings), _surroundings(outside))
    cache.pipeline.parts.fetcher.on_given_up = tells_given_up(outside.happenings)
    watch_tiers(outside.metrics, cache.hot, cache.burst, cache.key_state)
    watch_writer(outside.metrics, cache.writer)
    outside.metrics.watch("invalidations_pending", lambda: cache.invalidator.pending)
    watch_walks(outside.metrics, cache.invalidator.progress)
    return cache


def shown_name(settings: Settings) -> bytes | None:
    """The name in ``Cache-Status``; None leaves the field off."""
    return settings.proxy_name if settings.cache_status else None


def _surroundings(outside: Outside) -> Surroundings:
    settings, reactor, team = outside.settings, outside.reactor, outside.team
    return Surroundings(
        store=outside.followed.store(outside.store, settings),
        verifier=outside.verifier,
        route=_route(settings, outside.followed.upstream(outside.upstream, outside.upstream.backend)),
        rules=outside.rules,
        clock=outside.wall,
        bus=outside.bus,
        journal=outside.journal,
        siblings=None if team is None else team.siblings,
        own_store=not settings.topology.shared,
        claims=outside.claims,
        on_removed=count_invalidation(outside.metrics),
        on_invalidation=tells_invalidation(outside.happenings),
        tell=outside.followed.tell(tells_steps(settings.log_level)),
        run=lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call),
    )


def _config(settings: Settings) -> CacheConfig:
    return CacheConfig(
        policy=settings.policy(),
        keys=_key_policy(settings),
        name=shown_name(settings),
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


def _route(settings: Settings, upstream: IUpstream) -> BackendRoute:
    backend = Backend.parse(settings.backend_url)
    return BackendRoute(
        upstream,
        b"" if settings.preserve_host else backend.authority,
        origin_of(backend.scheme, backend.authority),
        backend.base_path,
        settings.proxy_name,
        settings.rewrite_location,
    )


def _key_policy(settings: Settings) -> KeyPolicy:
    return KeyPolicy(
        ignore_params=settings.cache_key_ignore_params,
        sort_query=settings.cache_key_sort_query,
        host_in_key=settings.preserve_host and len(settings.allowed_hosts) > 1,
        reserved=frozenset() if settings.admin_port is not None else OWN_PATHS,
    )
