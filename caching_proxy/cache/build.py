"""The one wiring of the cache, for the daemon and for proxies in tests: nothing else makes its parts."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.backend.fetch import Fetcher
from caching_proxy.cache.backend.fleet import FleetFetcher
from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.backend.tee import Fills
from caching_proxy.cache.inspector import Inspector
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.pass_through import Observer, PassThrough
from caching_proxy.cache.pipeline import Parts, Pipeline
from caching_proxy.cache.post_responses import PostKeeper
from caching_proxy.cache.responses import Responses
from caching_proxy.cache.shared_invalidator import SharedInvalidator
from caching_proxy.cache.steps import Tell
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.forms import Forms, Run
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.store_reader import StoreReader
from caching_proxy.cache.tiers.variants import VaryNames
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.cache.traced_pipeline import TracedPipeline
from caching_proxy.http.codings import compress
from caching_proxy.interfaces import IClaims, IInvalidationBus, IJournal, ISiblings, IStore, ITokenVerifier
from caching_proxy.rules.invalidation_rules import Rule
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS, CachePolicy
from caching_proxy.rules.terms_by_target import TermsByTarget


@attrs.frozen(kw_only=True)
class CacheConfig:
    """How the cache is to be. Sizes are in bytes, durations in seconds.

    ``name`` is the proxy's in ``Cache-Status``, None for answers without that field; ``verbose`` ones say more.
    ``flight_seconds``: how long others wait for one fetch; ``fill_seconds``: how long a fetch may take that only the
    cache wants; ``stale_wait``: how long the backend is waited for where a stale answer may stand in for its error.
    """

    policy: CachePolicy
    keys: KeyPolicy
    name: bytes | None
    verbose: bool = False
    hot_entries: int
    hot_bytes: int
    hot_seconds: float
    burst_entries: int
    burst_bytes: int
    burst_seconds: float
    max_variants: int = MAX_VARIANTS
    max_variant_bytes: int = MAX_VARIANT_BYTES
    flight_seconds: float
    fill_seconds: float = 60.0
    stale_wait: float = 1.0
    compress: tuple[bytes, ...] = ()
    compress_least: int = 1024
    """Codings in which stored text of at least so many bytes is sent, in order of preference."""
    salt: bytes = attrs.field(factory=lambda: os.urandom(16), repr=False)
    """The secret that the boundaries of several ranges are made with."""


@attrs.frozen(kw_only=True)
class Surroundings:
    """What the cache talks to.

    ``rules``: the invalidation rules as they are now. ``bus`` tells of the other proxies on the store, ``journal``
    keeps what the store has yet to carry out, ``siblings`` are the other workers of this one, ``own_store``: each of
    them has a store of its own. ``claims`` let one proxy fetch for all on the store. ``on_removed`` hears how many keys
    an invalidation removed, ``on_invalidation`` of each that a request brought about, ``tell`` of each step that a
    request takes.
    """

    store: IStore
    verifier: ITokenVerifier
    route: BackendRoute
    rules: Callable[[], tuple[Rule, ...]]
    clock: IReactorTime
    bus: IInvalidationBus | None = None
    journal: IJournal | None = None
    siblings: ISiblings | None = None
    own_store: bool = False
    claims: IClaims | None = None
    on_removed: Callable[[int], None] = lambda removed: None
    on_invalidation: Observer | None = None
    tell: Tell | None = None
    run: Run = maybeDeferred
    """Calls a function that takes long, so that others go on meanwhile."""


@attrs.frozen(kw_only=True, eq=False)
class Cache:
    """Its parts: the pipeline, and what metrics, admin endpoints and the hot path look at beside it."""

    policy: CachePolicy
    keys: KeyPolicy
    terms: TermsByTarget
    hot: HotTier
    burst: BurstTier
    key_state: KeyState
    invalidator: Invalidator
    writer: Writer
    reader: StoreReader
    varying: VaryNames
    fills: Fills
    responses: Responses
    inspector: Inspector
    pipeline: Pipeline

    def forget(self) -> None:
        """Empty the memory tiers: only the store is left."""
        self.hot.clear()
        self.burst.clear()


def _tiers(config: CacheConfig, around: Surroundings) -> tuple[HotTier, BurstTier]:
    """Those in memory."""
    hot = HotTier(
        config.hot_entries, config.hot_bytes, config.hot_seconds, config.max_variants, config.max_variant_bytes
    )
    if config.compress:
        hot.compression = Forms(config.compress, config.compress_least, compress, around.run)
    return hot, BurstTier(config.burst_entries, config.burst_bytes, config.burst_seconds)


def build_cache(config: CacheConfig, around: Surroundings) -> Cache:
    """The cache, with nothing in memory and nothing under way."""
    policy, clock, store = config.policy, around.clock, around.store
    terms = TermsByTarget(policy, config.keys)
    hot, burst = _tiers(config, around)
    varying, key_state = VaryNames(), KeyState(clock, config.flight_seconds)
    dropping = (hot, burst, key_state, store, clock, around.on_removed, around.journal, around.bus is not None)
    siblings, own = around.siblings, around.own_store
    invalidator = Invalidator(*dropping) if siblings is None else SharedInvalidator(siblings, own, *dropping)
    writer = Writer(hot, burst, store, key_state, clock, invalidator.purge_key, varying, around.bus)
    hiding = invalidator.invalid_before, invalidator.tagged_before
    reader = StoreReader(store, burst, key_state, clock, *hiding, varying)
    responses = Responses(config.name, config.verbose, config.salt, bool(config.compress))
    fills = Fills(clock, policy.max_body, patience=config.fill_seconds)
    route, most = around.route, policy.max_body
    fetching = most, terms, route, writer, key_state.hit_for_miss, responses, fills, clock, reader, varying
    fetcher = Fetcher(*fetching)
    if around.claims is not None:
        fetcher = FleetFetcher(*fetching).in_fleet(around.claims, key_state, clock, config.flight_seconds)
    posts = PostKeeper(most, terms, route.origin, key_state, writer, fills, clock)
    passing = PassThrough(route, invalidator, around.rules, terms, responses, posts, clock, around.on_invalidation)
    parts = Parts(
        policy=policy,
        verifier=around.verifier,
        hot=hot,
        reader=reader,
        key_state=key_state,
        fetcher=fetcher,
        passing=passing,
        responses=responses,
        varying=varying,
        terms=terms,
        clock=clock,
        stale_wait=config.stale_wait,
    )
    return _with_pipeline(parts, around, config.keys, burst, invalidator, writer, fills)


def _with_pipeline(
    parts: Parts,
    around: Surroundings,
    keys: KeyPolicy,
    burst: BurstTier,
    invalidator: Invalidator,
    writer: Writer,
    fills: Fills,
) -> Cache:
    """The cache around the steps that a request takes, which are told of where somebody listens."""
    return Cache(
        policy=parts.policy,
        keys=keys,
        terms=parts.terms,
        hot=parts.hot,
        burst=burst,
        key_state=parts.key_state,
        invalidator=invalidator,
        writer=writer,
        reader=parts.reader,
        varying=parts.varying,
        fills=fills,
        responses=parts.responses,
        inspector=Inspector(parts.hot, around.store, invalidator, around.clock),
        pipeline=Pipeline(parts) if around.tell is None else TracedPipeline(parts, around.tell),
    )
