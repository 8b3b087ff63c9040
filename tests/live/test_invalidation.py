"""Invalidation through a real proxy: rules, the admin endpoint, fetches under way, SIGHUP; on both stores."""

from __future__ import annotations

import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from support.live_backend import Exchange, LiveBackend, answer
from support.proxy_process import ProxyProcess, Response, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = pytest.mark.live

RULES = [
    {"post_path_regex": r"^/shops/(\d+)/items$", "invalidate_patterns": ["cache:GET:/shops/$1/*", "cache:GET:*:/all"]},
    {"post_path_regex": r"^/named\?name=(.*)$", "invalidate_patterns": ["cache:GET:/name/$1"]},
    {"post_path_regex": "^/anonymous-only$", "invalidate_patterns": ["cache:GET:anonymous:/shared"]},
    {"post_path_regex": "^/patched$", "methods": ["PATCH"], "invalidate_patterns": ["cache:GET:/by-patch"]},
    {"post_path_regex": "^/fails$", "invalidate_patterns": ["cache:GET:/kept"]},
]


@pytest.fixture(scope="module", params=["memory", "redis"])
def proxy(
    request: pytest.FixtureRequest,
    start_shared: StartProxy,
    backend: LiveBackend,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> ProxyProcess:
    shared_redis.cli("FLUSHALL")
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    path.write_text(json.dumps(RULES))
    return start_shared(
        BACKEND_URL=f"{backend.url}/{request.param}",  # both go through the same tests with targets of their own
        CACHE_URL=shared_redis.url if request.param == "redis" else "memory:",
        INVALIDATION_CONFIG=str(path),
        ADMIN_AUTH="none",
    )


def prefix(proxy: ProxyProcess) -> str:
    """The part of a target that only the backend sees."""
    return "/redis" if "redis" in proxy.environment["CACHE_URL"] else "/memory"


def cached(proxy: ProxyProcess, *targets: str, **fields: str) -> None:
    """Fill every tier."""
    for target in targets:
        assert proxy.get(target, **fields).cache == "MISS"
        assert proxy.get(target, **fields).cache == "HOT_HIT"


def editor() -> str:
    return "Bearer " + jwt.encode({"roles": ["editor"], "exp": 4_000_000_000}, "k" * 32, "HS256")


def invalidate(proxy: ProxyProcess, pattern: str) -> Response:
    body = json.dumps({"pattern": pattern}).encode()
    return proxy.request("POST", "/invalidate", {"Content-Type": "application/json"}, body)


def deleted(proxy: ProxyProcess, pattern: str) -> object:
    answered = invalidate(proxy, pattern)
    assert answered.status == 200
    told = answered.json()
    assert isinstance(told, dict)
    return told["deletedCount"]


def status(proxy: ProxyProcess, target: str, **fields: str) -> str | None:
    return proxy.get(target, **fields).cache


def test_rules_with_captures_hit_every_role(proxy: ProxyProcess) -> None:
    cached(proxy, "/shops/1/a", "/shops/2/a", "/all")
    cached(proxy, "/shops/1/a", Authorization=editor())
    assert proxy.request("POST", "/shops/1/items", {}, b"{}").cache == "N/A"
    assert status(proxy, "/shops/1/a") == "MISS"
    assert status(proxy, "/shops/1/a", Authorization=editor()) == "MISS"
    assert status(proxy, "/all") == "MISS"
    assert status(proxy, "/shops/2/a") == "HOT_HIT"


def test_captured_text_is_no_pattern(proxy: ProxyProcess) -> None:
    cached(proxy, "/name/one", "/name/*")
    proxy.request("POST", "/named?name=*")
    assert status(proxy, "/name/one") == "HOT_HIT"
    assert status(proxy, "/name/*") == "MISS"


def test_a_pattern_with_a_role_is_left_alone(proxy: ProxyProcess) -> None:
    cached(proxy, "/shared")
    cached(proxy, "/shared", Authorization=editor())
    proxy.request("POST", "/anonymous-only")
    assert status(proxy, "/shared") == "MISS"
    assert status(proxy, "/shared", Authorization=editor()) == "HOT_HIT"


def test_methods_of_a_rule(proxy: ProxyProcess) -> None:
    cached(proxy, "/by-patch")
    proxy.request("POST", "/patched")
    assert status(proxy, "/by-patch") == "HOT_HIT"
    proxy.request("PATCH", "/patched", {}, b"x")
    assert status(proxy, "/by-patch") == "MISS"


@pytest.mark.parametrize("code", [302, 404, 500])
def test_only_success_counts(proxy: ProxyProcess, backend: LiveBackend, code: int) -> None:
    backend.on(f"{prefix(proxy)}/fails", answer(b"", code))
    proxy.get("/kept")
    assert proxy.request("POST", "/fails").status == code
    assert status(proxy, "/kept") == "HOT_HIT"
    backend.on(f"{prefix(proxy)}/fails", answer(b"", 201))
    proxy.request("POST", "/fails")
    assert status(proxy, "/kept") == "MISS"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "X-FROB"])
def test_unsafe_methods_invalidate_their_target(proxy: ProxyProcess, method: str) -> None:
    target = f"/target-{method}"
    cached(proxy, target, target + "?q")
    cached(proxy, target, Authorization=editor())
    proxy.request(method, target, {}, b"x")
    assert status(proxy, target) == "MISS"
    assert status(proxy, target, Authorization=editor()) == "MISS"
    assert status(proxy, target + "?q") == "HOT_HIT"


def test_options_invalidates_nothing(proxy: ProxyProcess) -> None:
    cached(proxy, "/options")
    proxy.request("OPTIONS", "/options")
    assert status(proxy, "/options") == "HOT_HIT"


def test_admin_counts_keys_not_variants(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on(f"{prefix(proxy)}/admin/a", answer(b"x", 200, ("Vary", "Accept-Language")))
    for language in ("de", "fr"):
        assert status(proxy, "/admin/a", Accept_Language=language) == "MISS"
    cached(proxy, "/admin/b", "/adminx")
    cached(proxy, "/admin/b", Authorization=editor())
    assert deleted(proxy, "cache:GET:/admin/*") == 3
    for language in ("de", "fr"):
        assert status(proxy, "/admin/a", Accept_Language=language) == "MISS"
    assert status(proxy, "/admin/b") == "MISS"
    assert status(proxy, "/adminx") == "HOT_HIT"
    assert deleted(proxy, "cache:GET:*:/admin[xy]") == 1
    assert deleted(proxy, "cache:GET:*:/admin[xy]") == 0


@pytest.mark.parametrize("way", ["endpoint", "write"])
def test_a_fetch_under_way_puts_nothing_old_back(proxy: ProxyProcess, backend: LiveBackend, way: str) -> None:
    target = f"/race-{way}"
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        if exchange.nth == 1:
            asked.set()
            assert go_on.wait(10)
        exchange.read()
        exchange.reply(b"%d" % exchange.nth)

    backend.on(prefix(proxy) + target, slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(proxy.get, target)
        assert asked.wait(10)
        if way == "endpoint":
            invalidate(proxy, f"cache:GET:{target}")
        else:
            proxy.request("PUT", target, {}, b"new")
        newer = proxy.get(target)  # while the old fetch is still going on: it must not be joined
        go_on.set()
        assert first.result().body == b"1"
    assert newer.cache == "MISS"
    assert newer.body != b"1"
    again = proxy.get(target)
    assert again.body == newer.body
    # once a shared store has carried the invalidation out, memory gives up what it took from there meanwhile
    assert again.cache in ("HOT_HIT", "HIT")


def test_sighup_reloads_rules(start_shared: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    proxy = start_shared(BACKEND_URL=backend.url, INVALIDATION_CONFIG=str(path))
    assert "rules.json is missing" in proxy.log

    def reload(text: str, said: str) -> None:
        before = proxy.log.count(said)
        path.write_text(text)
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: proxy.log.count(said) > before, said)

    cached(proxy, "/hup")
    proxy.request("POST", "/hup-post")
    assert status(proxy, "/hup") == "HOT_HIT"
    rule = {"post_path_regex": "^/hup-post$", "invalidate_patterns": ["cache:GET:/hup"]}
    reload(json.dumps([rule]), "1 invalidation rules in force")
    proxy.request("POST", "/hup-post")
    cached(proxy, "/hup")
    reload(json.dumps([rule, {"post_path_regex": "("}]), "the old ones stay")
    proxy.request("POST", "/hup-post")
    assert status(proxy, "/hup") == "MISS"
    proxy.stop()
    [line] = [line for line in proxy.log_lines() if line["level"] == "error"]
    assert "rule 2" in str(line["msg"])
