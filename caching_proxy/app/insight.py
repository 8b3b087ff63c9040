"""Makes what the insight endpoints show: statistics, events, what happened lately, explanations."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from caching_proxy.app.figures import shown
from caching_proxy.app.statistics import Statistics
from caching_proxy.app.team import Team
from caching_proxy.cache.pipeline import Parts
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.why import Explainer
from caching_proxy.settings.model import Settings
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.web.admin.endpoints import OWN_PATHS
from caching_proxy.web.admin.services import Insight
from caching_proxy.web.admin.streams import Look, Seen, Streams
from caching_proxy.web.admin.why import Why
from caching_proxy.web.front import Front


def make_insight(
    clock: IReactorTime,
    wall: IReactorTime,
    settings: Settings,
    statistics: Statistics,
    happenings: Happenings,
    front: Front,
    parts: Parts,
    burst: BurstTier,
    team: Team | None,
    access: AccessLog,
) -> Insight:
    """``front``, ``parts`` and ``burst`` are those that requests of clients meet; ``team`` are the other workers."""
    own = frozenset[bytes]() if settings.admin_port is not None else OWN_PATHS
    why = Why(front, Explainer(parts, burst).explain, own, _roles_from(settings), wall.seconds)
    look: Look = partial(_alone, statistics) if team is None else team.look(statistics, happenings, access)
    return Insight(look, Streams(clock, look, happenings, access=access), happenings, why)


def _alone(statistics: Statistics, since: float, lines: bool) -> Deferred[Seen]:
    return succeed(Seen(shown(statistics())))


def _roles_from(settings: Settings) -> str:
    if any((settings.jwt_secret, settings.jwt_secret_base64, settings.jwt_public_key, settings.jwt_jwks_url)):
        return "which the configured key verifies"
    if settings.jwt_trust == "trust":
        return "believed unverified (JWT_TRUST=trust)"
    return "unverified, hence shared only with who sends the same token (JWT_TRUST=isolate)"
