"""What the proxy stands on and talks to: store, bus, backend, keys of tokens, logs, files of rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime

from caching_proxy.app.follow import Followed, follow
from caching_proxy.app.instruments import BackendMeter, watch_bus, watch_store
from caching_proxy.app.rules_file import RulesFile, invalidation_rules_file
from caching_proxy.app.store_parts import make_bus, make_claims, make_journal, make_store
from caching_proxy.app.team import Team
from caching_proxy.app.token_parts import make_verifier
from caching_proxy.auth.verifier import TokenVerifier
from caching_proxy.interfaces import IClaims, IInvalidationBus, IStore
from caching_proxy.rules.invalidation_rules import Rule, RulesError
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.store.journal import Journal
from caching_proxy.telemetry.access_log import AccessLog, make_access_log
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.log_writer import LineSink
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.upstream.backend import Backend
from caching_proxy.upstream.pool import Upstream

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Outside:
    """All that the parts of the proxy are handed and none of them makes.

    ``reactor`` counts monotonically, ``wall`` dates what is stored, sent and logged. ``random`` gives so many random
    bytes, ``read`` the contents of a file of rules. ``team`` are the other workers, if there are any.
    """

    reactor: Any
    wall: IReactorTime
    settings: Settings
    random: Callable[[int], bytes]
    read: Callable[[Path], bytes]
    team: Team | None
    metrics: Metrics
    store: IStore
    bus: IInvalidationBus | None
    journal: Journal | None
    claims: IClaims | None
    upstream: Upstream
    verifier: TokenVerifier
    access: AccessLog
    happenings: Happenings
    rules: RulesFile[Rule]
    followed: Followed
    """What puts spans around the parts, where requests are traced."""


def make_outside(
    reactor: Any,
    settings: Settings,
    log: LineSink,
    random: Callable[[int], bytes],
    wall: IReactorTime,
    read: Callable[[Path], bytes],
    team: Team | None,
) -> Outside:
    """All of it as the settings say, measured, with nothing opened yet.

    Raises:
        SettingsError, ValueError: for settings and files that cannot work.
    """
    metrics = Metrics(settings.metrix_prefix, settings.metrix_prefix)
    store = make_store(reactor, settings, metrics, random(8).hex().encode())
    bus = make_bus(reactor, settings, store)
    watch_bus(metrics, bus)
    watch_store(metrics, store)
    return Outside(
        reactor=reactor,
        wall=wall,
        settings=settings,
        random=random,
        read=read,
        team=team,
        metrics=metrics,
        store=store,
        bus=bus,
        journal=make_journal(reactor, settings),
        claims=make_claims(settings, store, random(8).hex().encode()),
        upstream=_upstream(reactor, settings, metrics),
        verifier=make_verifier(reactor, settings, wall),
        access=make_access_log(settings, log, wall),
        happenings=Happenings(wall.seconds),
        rules=_rules(settings, read),
        followed=follow(reactor, settings),
    )


def loaded(rules: RulesFile[T], variable: str, value: str) -> RulesFile[T]:
    """``rules``, read for the first time; ``variable`` with its ``value`` names their file.

    Raises:
        SettingsError: the file holds none.
    """
    try:
        rules.load()
    except RulesError as problem:
        raise SettingsError(variable, value, f"a JSON file of {rules.what} ({problem})") from problem
    return rules


def _rules(settings: Settings, read: Callable[[Path], bytes]) -> RulesFile[Rule]:
    path = Path(settings.invalidation_config)
    return loaded(invalidation_rules_file(path, read), "INVALIDATION_CONFIG", settings.invalidation_config)


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
