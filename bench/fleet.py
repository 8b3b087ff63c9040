"""``COLLAPSE=fleet``: backend fetches for each storm of misses on two proxies that share a Redis, off and on."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor

import attrs

from bench.servers import Lab, Server

STORMS = 50
CROWD = 10
"""Requests for the same URL at each proxy, all at once."""


@attrs.frozen(slots=True)
class Storms:
    """What ``STORMS`` storms cost; ``fetches`` is a mean for each."""

    mode: str
    fetches: float


def measure(lab: Lab, backend: Server) -> list[Storms]:
    """Both modes; each has a Redis and proxies of its own."""
    return [_storms(lab, backend, mode) for mode in ("process", "fleet")]


def text(found: list[Storms]) -> str:
    lines = [f"- `COLLAPSE={each.mode}`: {each.fetches:.2f} backend fetches" for each in found]
    return f"{2 * CROWD} requests at once for a URL that nobody has, at two proxies on one Redis:\n" + "\n".join(lines)


def _storms(lab: Lab, backend: Server, mode: str) -> Storms:
    redis = lab.redis()
    where = {"CACHE_URL": f"redis://127.0.0.1:{redis.port}", "COLLAPSE": mode}
    proxies = [lab.proxy(backend, f"{mode}-{nth}", **where) for nth in range(2)]
    with ThreadPoolExecutor(2 * CROWD) as crowd:
        before = sum(map(_fetches, proxies))
        for nth in range(STORMS):
            urls = [proxy.url(f"/items/storm-{mode}-{nth}") for proxy in proxies for _ in range(CROWD)]
            list(crowd.map(_get, urls))
        fetches = sum(map(_fetches, proxies)) - before
    for server in (*proxies, redis):
        lab.stop(server)
    return Storms(mode, fetches / STORMS)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:
        answer.read()


def _fetches(proxy: Server) -> float:
    lines = proxy.text("/metrics").splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("backend_requests_total{"))
