"""The paths that are compared, who runs them, and what must come out (SPEC 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import jwt

from bench.load import Load
from bench.servers import SECRET

NGINX, VARNISH, PROXY = "nginx", "varnish", "proxy"
NGINX_LOG, PROXY_LOG, PROXY_MEMORY = "nginx, access log", "proxy, access log", "proxy, embedded store"

MANY_URLS = 20_000
"""Four times what fits into the hot and burst tiers: asked for in turn, none is there when its turn comes again."""

BIG = 100 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Path:
    """One way through a proxy. ``statuses``: what X-Cache-Status must say, or the figure is of something else.

    ``primed``: every URL is asked for once before, unmeasured. ``in_bytes``: what counts is MB/s, not requests.
    """

    name: str
    load: Load
    contenders: tuple[str, ...]
    statuses: frozenset[str]
    primed: bool = True
    in_bytes: bool = False


@attrs.frozen
class Claim:
    """``path`` on the proxy must reach ``at_least`` times the best of ``references`` (path, contender)."""

    path: str
    at_least: float
    references: tuple[tuple[str, str], ...]
    p99: bool = False
    """The 99th percentile is compared instead, and must not exceed that of the reference."""


def token(user: int) -> str:
    """A token of ``user`` that is good for a day; all users have the same role."""
    claims = {"sub": f"user-{user}", "roles": ["reader"], "exp": datetime.now(UTC) + timedelta(days=1)}
    return jwt.encode(claims, SECRET, algorithm="HS256")


HOT, LOGGED, TRACED, JWT = "hot hit", "hot hit, access log on", "hot hit, no two heads alike", "hot hit, verified JWT"
JWT_MANY, REDIS, MISS, POST = "hot hit, 64 users' JWTs", "Redis hit", "miss", "POST pass-through"
BODY = "100 MiB body, uncached"


def paths() -> tuple[Path, ...]:
    """Every path of SPEC 12, and three that show what its figures leave out."""
    trio, hit = (NGINX, VARNISH, PROXY), frozenset({"HOT_HIT"})
    hot_or_filled = hit | {"HIT"}  # an entry leaves the hot tier after its TTL and comes back from the store
    missed = frozenset({"MISS"})
    return (
        Path(name=HOT, load=Load(), contenders=trio, statuses=hot_or_filled),
        Path(name=LOGGED, load=Load(), contenders=(NGINX_LOG, PROXY_LOG), statuses=hot_or_filled),
        Path(name=TRACED, load=Load(mode="traced"), contenders=trio, statuses=hot_or_filled),
        Path(name=JWT, load=Load(tokens=(token(0),)), contenders=(PROXY,), statuses=hot_or_filled),
        Path(
            name=JWT_MANY, load=Load(tokens=tuple(map(token, range(64)))), contenders=(PROXY,), statuses=hot_or_filled
        ),
        Path(name=REDIS, load=Load(count=MANY_URLS), contenders=(PROXY,), statuses=frozenset({"HIT"})),
        Path(name=MISS, load=Load(mode="unique"), contenders=(*trio, PROXY_MEMORY), statuses=missed, primed=False),
        Path(
            name=POST,
            load=Load(method="POST", body='{"name":"item","text":"' + "x" * 200 + '"}'),
            contenders=trio,
            statuses=frozenset({"N/A"}),
            primed=False,
        ),
        Path(
            name=BODY,
            load=Load(path="/uncached/100MiB-", count=1, connections=4),
            contenders=trio,
            statuses=missed | {"BYPASS"},
            primed=False,
            in_bytes=True,
        ),
    )


CLAIMS = (
    Claim(HOT, 1.2, ((HOT, NGINX),)),
    Claim(HOT, 1.5, ((HOT, VARNISH),)),
    Claim(HOT, 1.0, ((HOT, NGINX),), p99=True),
    Claim(JWT, 0.8, ((HOT, PROXY),)),
    Claim(REDIS, 0.2, ((HOT, NGINX),)),
    Claim(MISS, 1.0, ((MISS, NGINX), (MISS, VARNISH))),
    Claim(POST, 1.0, ((POST, VARNISH),)),
    Claim(BODY, 0.5, ((BODY, NGINX),)),
)
