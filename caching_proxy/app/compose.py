"""The composition root: every part is made here and handed its collaborators; nothing else knows them all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory

from caching_proxy.app.cache_parts import make_cache
from caching_proxy.app.clocks import StepWatch
from caching_proxy.app.follow import Followed
from caching_proxy.app.front_parts import FrontParts, make_front
from caching_proxy.app.instruments import tells_of_others
from caching_proxy.app.loop_lag import LoopLag
from caching_proxy.app.outside import Outside, make_outside
from caching_proxy.app.rules_file import RulesFile
from caching_proxy.app.statistics import Statistics
from caching_proxy.app.team import Team
from caching_proxy.auth.verifier import TokenVerifier
from caching_proxy.cache.build import Cache
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IClaims, IInvalidationBus, IStore
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.cache_rules import CacheRule
from caching_proxy.rules.invalidation_rules import Rule
from caching_proxy.server.site import ProxySite
from caching_proxy.settings.model import Settings
from caching_proxy.store.journal import Journal
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.log_writer import LineSink
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.transport.certificates import Certificates
from caching_proxy.upstream.pool import Upstream
from caching_proxy.web.admin.readiness import Readiness
from caching_proxy.web.admin.streams import Streams


@attrs.frozen(kw_only=True, eq=False)
class Proxy:
    """What the service starts and stops, in start order."""

    settings: Settings
    store: IStore
    bus: IInvalidationBus | None
    claims: IClaims | None
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
    followed: Followed
    heard: Callable[[Invalidation], object]


def compose(
    reactor: Any,
    settings: Settings,
    log: LineSink,
    random: Callable[[int], bytes] = os.urandom,
    wall: IReactorTime | None = None,
    read: Callable[[Path], bytes] = Path.read_bytes,
    team: Team | None = None,
) -> Proxy:
    """Build the whole proxy on ``reactor``; nothing is opened yet. Raises SettingsError or ValueError for bad ones.

    ``log`` takes the access lines; ``wall`` is the clock for dates, else the reactor. The rest: see Outside.
    """
    outside = make_outside(reactor, settings, log, random, reactor if wall is None else wall, read, team)
    cache = make_cache(outside)
    return _composed(reactor, settings, outside, cache, make_front(outside, cache))


def _composed(reactor: Any, settings: Settings, outside: Outside, cache: Cache, front: FrontParts) -> Proxy:
    return Proxy(
        settings=settings,
        store=outside.store,
        bus=outside.bus,
        claims=outside.claims,
        journal=outside.journal,
        upstream=outside.upstream,
        rules=outside.rules,
        cache_rules=front.cache_rules,
        invalidator=cache.invalidator,
        writer=cache.writer,
        verifier=outside.verifier,
        readiness=front.readiness,
        access=outside.access,
        metrics=outside.metrics,
        site=front.site,
        front=front.front,
        certificates=front.certificates,
        admin_site=front.admin_site,
        steps=StepWatch(reactor, outside.wall, lambda _: cache.forget()),
        lag=LoopLag(reactor, outside.metrics.histogram("event_loop_lag_seconds").observe),
        statistics=front.statistics,
        streams=front.streams,
        followed=outside.followed,
        heard=tells_of_others(outside.happenings, cache.invalidator.carried_out_elsewhere),
    )
