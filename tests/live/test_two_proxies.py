"""Two proxies on one Redis: what is invalidated at one is not served by the other."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = pytest.mark.live

RULES = [{"post_path_regex": "^/changes$", "invalidate_patterns": ["cache:GET:/by-rule*"]}]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def pair(
    start_shared: StartProxy, backend: LiveBackend, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ProxyProcess, ProxyProcess]:
    rules = tmp_path_factory.mktemp("rules") / "rules.json"
    rules.write_text(json.dumps(RULES))
    first, second = (
        start_shared(
            BACKEND_URL=backend.url,
            CACHE_URL=server.url,
            INVALIDATION_CONFIG=str(Path(rules)),
            ADMIN_AUTH="none",
            HOT_CACHE_TTL_SECONDS="600",
            BURST_CACHE_TTL_SECONDS="600",
        )
        for _ in range(2)
    )
    for proxy in (first, second):
        wait_for(lambda proxy=proxy: metric(proxy, "bus_subscribed") == 1, "a subscription")  # type: ignore[misc]
    return first, second


def metric(proxy: ProxyProcess, name: str) -> float:
    lines = proxy.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].partition("{")[0] == name)


def hot_at(proxy: ProxyProcess, target: str) -> None:
    wait_for(lambda: proxy.get(target).cache == "HOT_HIT", f"{target} in memory")


def by_pattern(proxy: ProxyProcess) -> str:
    answered = proxy.request("POST", "/invalidate", JSON, b'{"pattern": "cache:GET:*:/by-pattern"}')
    assert answered.status == 200
    return "/by-pattern"


def by_method(proxy: ProxyProcess) -> str:
    assert proxy.request("PUT", "/by-method", JSON, b"{}").status == 200
    return "/by-method"


def by_rule(proxy: ProxyProcess) -> str:
    assert proxy.request("POST", "/changes", JSON, b"{}").status == 200
    return "/by-rule"


@pytest.mark.parametrize("way", [by_pattern, by_method, by_rule])
def test_reaches_the_hot_tier_of_the_other(
    pair: tuple[ProxyProcess, ProxyProcess], way: Callable[[ProxyProcess], str]
) -> None:
    first, second = pair
    target = "/" + way.__name__.replace("_", "-")
    hot_at(first, target)
    hot_at(second, target)
    hot_at(second, "/not-concerned")
    assert way(first) == target
    seen: list[str | None] = []
    wait_for(lambda: seen.append(second.get(target).cache) or seen[-1] == "MISS", "the old answer gone")  # type: ignore[func-returns-value]
    if way is by_pattern:
        assert "HIT" not in seen, "it was acknowledged, so Redis has it no more"
    assert second.get("/not-concerned").cache == "HOT_HIT"


def test_a_killed_subscription_is_made_anew_and_nothing_is_missed(
    pair: tuple[ProxyProcess, ProxyProcess], server: RedisServer
) -> None:
    first, second = pair
    hot_at(second, "/kept")
    hot_at(second, "/by-method")
    gaps = metric(second, "bus_gaps_total")
    server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    by_method(first)
    wait_for(lambda: metric(second, "bus_gaps_total") == gaps + 1, "a new subscription")
    wait_for(lambda: second.get("/by-method").cache != "HOT_HIT", "the ledger read")
    assert second.get("/kept").cache == "HOT_HIT"
    assert metric(second, "bus_flushes_total") == 0
    wait_for(lambda: metric(first, "bus_subscribed") == 1, "a new subscription")


def test_an_emptied_server_empties_memory(pair: tuple[ProxyProcess, ProxyProcess], server: RedisServer) -> None:
    _, second = pair
    hot_at(second, "/kept")
    server.cli("FLUSHALL")
    wait_for(lambda: metric(second, "bus_flushes_total") == 1, "an empty memory")
    assert second.get("/kept").cache == "MISS"
    wait_for(lambda: server.cli("EXISTS", "cache:GET:anonymous:/kept") == 1, "it stored again")


def test_a_stopped_proxy_hears_it_when_it_goes_on(pair: tuple[ProxyProcess, ProxyProcess]) -> None:
    first, second = pair
    hot_at(second, "/by-pattern")
    heard = metric(second, "bus_received_total")
    second.signal(signal.SIGSTOP)
    try:
        by_pattern(first)
    finally:
        second.signal(signal.SIGCONT)
    wait_for(lambda: metric(second, "bus_received_total") > heard, "the message")
    assert second.get("/by-pattern").cache == "MISS"


def test_without_the_rights_one_warning_and_all_else_works(
    start_proxy: StartProxy, backend: LiveBackend, server: RedisServer
) -> None:
    server.cli("ACL", "SETUSER", "quiet", "reset", "on", ">secret", "~*", "+@all", "-subscribe", "-publish")
    url = server.url.replace("redis://", "redis://quiet:secret@")
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_URL=url, ADMIN_AUTH="none")
    hot_at(proxy, "/by-pattern")
    by_pattern(proxy)
    assert proxy.get("/by-pattern").cache == "MISS"
    wait_for(lambda: "but only late: NOPERM" in proxy.log, "a warning")
    by_pattern(proxy)
    assert proxy.log.count("but only late") == 1
