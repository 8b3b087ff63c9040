"""The paths that are compared, who runs them, and what must come out (SPEC 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import jwt

from bench import configs
from bench.load import Load
from bench.servers import MIXED_PATH, SECRET

NGINX, VARNISH, PROXY = "nginx", "varnish", "proxy"
NGINX_LOG, PROXY_LOG, PROXY_MEMORY = "nginx, access log", "proxy, access log", "proxy, embedded store"
PROXY_ONE, PROXY_TWO = "proxy, one worker", "proxy, two workers"

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
    contender: str = PROXY
    cores: int = 1
    """On so many cores; above 1 it is capacity that is compared: cores through processor time for one answer. That is
    what requests a second come to where load generator and backend have cores of their own, and all else is even."""


def token(user: int) -> str:
    """A token of ``user`` that is good for a day; all users have the same role."""
    claims = {"sub": f"user-{user}", "roles": ["reader"], "exp": datetime.now(UTC) + timedelta(days=1)}
    return jwt.encode(claims, SECRET, algorithm="HS256")


HOT, LOGGED, ALIKE = "hot hit", "hot hit, access log on", "hot hit, heads that repeat"
JWT, COOKIES, UNCHANGED = "hot hit, 500 users' JWTs", "hot hit, ignored cookies", "conditional hit (304)"
REDIS, MISS, POST, MIXED = "Redis hit", "miss", "POST pass-through", "mixed"
BODY = "100 MiB body, uncached"
TWO = "hot hit, two workers"
USERS = tuple(range(500))


def paths() -> tuple[Path, ...]:
    """Every path of SPEC 12."""
    trio, hit = (NGINX, VARNISH, PROXY), frozenset({"HOT_HIT", "HIT"})  # what leaves the hot tier comes back as HIT
    missed = frozenset({"MISS"})
    tokens = tuple(map(token, USERS))
    mixed = Load(
        mode="zipf", path=MIXED_PATH, count=50_000, tokens=tokens, share=30, conditional=10, tag=configs.TAG, posts=2
    )
    return (
        Path(name=HOT, load=Load(), contenders=trio, statuses=hit),
        Path(name=LOGGED, load=Load(), contenders=(NGINX_LOG, PROXY_LOG), statuses=hit),
        Path(name=ALIKE, load=Load(fresh=False), contenders=(NGINX, PROXY), statuses=hit),
        Path(name=TWO, load=Load(), contenders=(PROXY_ONE, PROXY_TWO), statuses=hit),
        Path(name=JWT, load=Load(tokens=tokens), contenders=(PROXY,), statuses=hit),
        Path(name=COOKIES, load=Load(cookies=True), contenders=(NGINX, PROXY), statuses=hit),
        Path(name=UNCHANGED, load=Load(conditional=100, tag=configs.TAG), contenders=(NGINX, PROXY), statuses=hit),
        Path(name=REDIS, load=Load(count=MANY_URLS), contenders=(PROXY,), statuses=frozenset({"HIT"})),
        Path(name=MISS, load=Load(mode="unique"), contenders=(*trio, PROXY_MEMORY), statuses=missed, primed=False),
        Path(
            name=POST,
            load=Load(method="POST", body='{"name":"item","text":"' + "x" * 200 + '"}'),
            contenders=trio,
            statuses=frozenset({"N/A"}),
            primed=False,
        ),
        Path(name=MIXED, load=mixed, contenders=(NGINX_LOG, PROXY_LOG), statuses=hit | missed | {"N/A"}),
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
    Claim(HOT, 1.0, ((HOT, NGINX),)),
    Claim(HOT, 1.5, ((HOT, VARNISH),)),
    Claim(HOT, 1.2, ((HOT, NGINX),), p99=True),
    Claim(LOGGED, 1.0, ((LOGGED, NGINX_LOG),), contender=PROXY_LOG),
    Claim(ALIKE, 1.3, ((ALIKE, NGINX),)),
    Claim(TWO, 1.8, ((TWO, PROXY_ONE),), contender=PROXY_TWO, cores=2),
    Claim(JWT, 0.8, ((HOT, NGINX),)),
    Claim(COOKIES, 0.7, ((COOKIES, NGINX),)),
    Claim(UNCHANGED, 1.0, ((UNCHANGED, NGINX),)),
    Claim(REDIS, 0.3, ((HOT, NGINX),)),
    Claim(MISS, 0.8, ((MISS, NGINX), (MISS, VARNISH))),
    Claim(POST, 1.5, ((POST, VARNISH),)),
    Claim(POST, 0.4, ((POST, NGINX),)),
    Claim(MIXED, 0.8, ((MIXED, NGINX_LOG),), contender=PROXY_LOG),
    Claim(BODY, 1.0, ((BODY, NGINX),)),
)

WORST_P99 = 4.0
"""How many times the median latency the 99th percentile may be, on every path in requests a second."""
