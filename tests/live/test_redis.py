"""A real proxy with a real Redis: what is stored, what survives a restart, which URLs reach it, what trouble costs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.live_backend import Exchange, LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

LEDGER = b"cacheindex:invalidations"

pytestmark = pytest.mark.live

NO_MEMORY = {"HOT_CACHE_MAX_ENTRIES": "0", "BURST_CACHE_MAX_ENTRIES": "0"}
HASTY = {
    **NO_MEMORY,
    "REDIS_CONNECT_TIMEOUT": "0.5",
    "REDIS_COMMAND_TIMEOUT": "0.3",
    "BREAKER_RECOVERY_SECONDS": "0.5",
    "ADMIN_AUTH": "none",
}
JSON = {"Content-Type": "application/json"}
BOUND = 2.0  # seconds that any request may take while Redis is in trouble


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server that tests ill-treat and leave in good health."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend, server: RedisServer) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url, **HASTY)


def get(proxy: ProxyProcess, target: str) -> str | None:
    """The cache status of an answer that must be good and quick."""
    began = time.monotonic()
    answered = proxy.get(target)
    assert answered.status == 200
    assert time.monotonic() - began < BOUND
    return answered.cache


def wait_for_status(proxy: ProxyProcess, target: str, *wanted: str) -> None:
    seen: list[str | None] = []

    def found() -> bool:
        seen.append(get(proxy, target))
        return seen[-1] in wanted

    wait_for(found, f"{wanted} for {target}; saw {seen}")


def readiness(proxy: ProxyProcess) -> tuple[int, str, str]:
    """``/ready``, which looks once a second at most: status code, overall, store."""
    answered = proxy.get("/ready")
    told = answered.json()
    assert isinstance(told, dict)
    return answered.status, told["status"], told["store"]


def keys(server: RedisServer) -> list[str]:
    """All but the ledger of invalidations."""
    found = server.cli("KEYS", "*")
    assert isinstance(found, list)
    return sorted(key.decode() for key in found if key != LEDGER)


# -- what is stored ------------------------------------------------------------------------------------


def test_one_hash_a_key_one_field_a_variant_and_a_ttl(
    proxy: ProxyProcess, backend: LiveBackend, server: RedisServer
) -> None:
    fields = [("Vary", "Accept-Language"), ("Cache-Control", "max-age=100"), ("Content-Type", "text/plain")]
    backend.on("/hash?q=1", answer(b"text", 200, *fields))
    for language in ("de", "fr"):
        proxy.get("/hash?q=1", Accept_Language=language)
    key = "cache:GET:anonymous:/hash?q=1"
    wait_for(lambda: server.cli("HLEN", key) == 3, "two variants and their index")
    assert server.cli("TYPE", key) == b"hash"
    left = server.cli("TTL", key)
    assert isinstance(left, int)
    assert 690 <= left <= 700  # fresh for 100 s, kept for 600 s more
    assert proxy.get("/hash?q=1", Accept_Language="fr").cache == "HIT"


def test_a_lookup_reads_one_variant_of_many(
    start_shared: StartProxy, backend: LiveBackend, server: RedisServer
) -> None:
    """Another process, which knows nothing of the key yet, reads the outlines and the variants it is asked for."""

    def translated(exchange: Exchange) -> None:
        body = exchange.all("Accept-Language")[0].encode() * 200_000
        exchange.reply(body, 200, [("Vary", "Accept-Language"), ("Cache-Control", "max-age=100")])

    backend.on("/many", translated)
    languages = [one + other for one in "abcdefgh" for other in "abc"]
    first = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url)
    for language in languages:
        first.get("/many", Accept_Language=language)
    assert first.stop() == 0
    second = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url)
    before, lookups = sent_by(server), calls_of(server, "hmget")
    for language in languages[:10]:
        answer = second.get("/many", Accept_Language=language)
        assert (answer.cache, answer.body) == ("HIT", language.encode() * 200_000)
    assert calls_of(server, "hmget") - lookups <= 11, "one each, but for the first, when nothing of the key is known"
    assert sent_by(server) - before < 10 * 450_000
    assert len(backend.seen("/many")) == len(languages)
    second.stop()


def sent_by(server: RedisServer) -> int:
    """Bytes that the server has sent so far."""
    return _stat(server, "stats", "total_net_output_bytes:")


def calls_of(server: RedisServer, command: str) -> int:
    return _stat(server, "commandstats", f"cmdstat_{command}:calls=")


def _stat(server: RedisServer, section: str, beginning: str) -> int:
    lines = bytes(server.cli("INFO", section)).decode().splitlines()  # type: ignore[arg-type]
    return next((int(line[len(beginning) :].partition(",")[0]) for line in lines if line.startswith(beginning)), 0)


def test_an_entry_outlives_the_process(start_shared: StartProxy, backend: LiveBackend, server: RedisServer) -> None:
    first = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url)
    body = first.get("/restart").body
    assert first.stop() == 0  # which waits for the write
    second = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url)
    again = second.get("/restart")
    assert (again.cache, again.body) == ("HIT", body)
    assert second.get("/restart").cache == "HOT_HIT"
    assert len(backend.seen("/restart")) == 1
    second.stop()


def test_a_corrupted_value_is_an_error_once(proxy: ProxyProcess, backend: LiveBackend, server: RedisServer) -> None:
    get(proxy, "/corrupt")
    key = "cache:GET:anonymous:/corrupt"
    wait_for(lambda: server.cli("EXISTS", key) == 1, "the write")
    [field, value] = server.cli("HGETALL", key)  # type: ignore[misc]
    server.cli("HSET", key, field, value[:-1] + bytes([value[-1] ^ 1]))  # type: ignore[has-type]
    assert get(proxy, "/corrupt") == "ERROR"
    wait_for_status(proxy, "/corrupt", "HIT")
    assert len(backend.seen("/corrupt")) == 2


def test_an_entry_of_another_key_is_an_error(proxy: ProxyProcess, server: RedisServer) -> None:
    get(proxy, "/mine")
    wait_for(lambda: server.cli("EXISTS", "cache:GET:anonymous:/mine") == 1, "the write")
    server.cli("RENAME", "cache:GET:anonymous:/mine", "cache:GET:anonymous:/yours")
    assert get(proxy, "/yours") == "ERROR"


def test_a_foreign_key_is_dropped(proxy: ProxyProcess, server: RedisServer) -> None:
    server.cli("SET", "cache:GET:anonymous:/foreign", "a string")
    assert get(proxy, "/foreign") == "ERROR"
    wait_for_status(proxy, "/foreign", "HIT")
    assert server.cli("TYPE", "cache:GET:anonymous:/foreign") == b"hash"


# -- URLs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["password", "user", "database", "unix", "tls"])
def test_ways_to_reach_it(start_shared: StartProxy, backend: LiveBackend, kind: str) -> None:
    options = {
        "password": {"requirepass": "p%40ss"},
        "user": {"user": ("proxy", "secret")},
        "tls": {"tls": True, "requirepass": "x"},
    }
    with RedisServer(**options.get(kind, {})) as server:  # type: ignore[arg-type]
        url = {"database": server.url + "/3", "unix": server.unix_url + "?db=3"}.get(kind, server.url)
        if kind == "password":
            url = url.replace("%", "%25")
        trust = {"SSL_CERT_FILE": str(server.ca_path)} if kind == "tls" else {}
        proxy = start_shared(BACKEND_URL=backend.url, CACHE_URL=url, **HASTY, **trust)
        wait_for_status(proxy, f"/url-{kind}", "HIT")
        if kind in ("database", "unix"):
            server.cli("SELECT", 3)
        assert keys(server) == [f"cache:GET:anonymous:/url-{kind}"]
        assert readiness(proxy) == (200, "ok", "ok")
        proxy.stop()
        assert "secret" not in proxy.log


def test_a_wrong_password_costs_only_misses(
    start_shared: StartProxy, backend: LiveBackend, server: RedisServer
) -> None:
    url = server.url.replace("redis://", "redis://nobody:wrong@")
    proxy = start_shared(BACKEND_URL=backend.url, CACHE_URL=url, **HASTY)
    wait_for_status(proxy, "/wrong", "CIRCUIT_OPEN")
    proxy.stop()
    assert "wrong@" not in proxy.log


# -- trouble -------------------------------------------------------------------------------------------


def test_a_legacy_key_is_absent_and_can_be_invalidated(proxy: ProxyProcess, server: RedisServer) -> None:
    server.cli("SET", "cache:GET:/legacy", "a value of the old kind")
    wait_for_status(proxy, "/legacy", "HIT")
    listed = proxy.get("/keys?match=cache:GET:*/legacy").json()
    assert isinstance(listed, dict)
    assert listed["keysByRole"]["legacy"] == ["cache:GET:/legacy"]
    assert listed["keyCount"] == 2
    assert proxy.request("POST", "/key", JSON, b'{"key": "cache:GET:/legacy"}').status == 404
    invalidated = proxy.request("POST", "/invalidate", JSON, b'{"pattern": "cache:GET:/legacy"}').json()
    assert isinstance(invalidated, dict)
    assert invalidated["deletedCount"] == 2
    assert server.cli("EXISTS", "cache:GET:/legacy") == 0


def in_trouble(proxy: ProxyProcess, target: str) -> None:
    """Only good answers until the breaker is open, and while it is."""
    wait_for_status(proxy, target, "CIRCUIT_OPEN")
    wait_for(lambda: readiness(proxy)[:2] == (200, "degraded"), "/ready to say so")
    assert {get(proxy, target) for _ in range(20)} <= {"CIRCUIT_OPEN", "ERROR"}


def test_down_at_start(start_shared: StartProxy, backend: LiveBackend) -> None:
    server = RedisServer()
    try:
        proxy = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url, **HASTY)
        in_trouble(proxy, "/down")
        server.start()
        wait_for_status(proxy, "/down", "HIT")
        proxy.stop()
    finally:
        server.remove()


def test_killed_and_started_again(proxy: ProxyProcess, server: RedisServer) -> None:
    wait_for_status(proxy, "/killed", "HIT")
    server.kill()
    in_trouble(proxy, "/killed")
    server.start()
    wait_for_status(proxy, "/killed", "HIT")
    wait_for(lambda: readiness(proxy) == (200, "ok", "ok"), "/ready to look again")


def test_frozen_and_thawed(proxy: ProxyProcess, server: RedisServer) -> None:
    wait_for_status(proxy, "/frozen", "HIT")
    server.freeze()
    try:
        in_trouble(proxy, "/frozen")
    finally:
        server.thaw()
    wait_for_status(proxy, "/frozen", "HIT")


def test_restarted_between_two_requests(proxy: ProxyProcess, server: RedisServer) -> None:
    wait_for_status(proxy, "/restarted", "HIT")
    server.restart()
    assert get(proxy, "/restarted") in ("MISS", "ERROR")
    wait_for_status(proxy, "/restarted", "HIT")


def test_read_only(proxy: ProxyProcess, server: RedisServer) -> None:
    wait_for_status(proxy, "/read-only", "HIT")
    before = failed_writes(proxy)
    server.cli("REPLICAOF", "127.0.0.1", "1")
    try:
        assert [get(proxy, "/read-only") for _ in range(5)] == ["HIT"] * 5
        assert [get(proxy, "/read-only-new") for _ in range(10)] == ["MISS"] * 10
        wait_for(lambda: failed_writes(proxy) > before, "the writes that failed to be counted")
    finally:
        server.cli("REPLICAOF", "NO", "ONE")
    wait_for_status(proxy, "/read-only-new", "HIT")


def test_out_of_memory(proxy: ProxyProcess, backend: LiveBackend, server: RedisServer) -> None:
    backend.on("/oom-old", answer(b"x"))
    wait_for_status(proxy, "/oom-old", "HIT")
    server.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")  # one at a time: Redis 6.2 takes no more
    server.cli("CONFIG", "SET", "maxmemory", "1")
    try:
        assert get(proxy, "/oom-old") == "HIT"
        assert [get(proxy, "/oom-new") for _ in range(10)] == ["MISS"] * 10
    finally:
        server.cli("CONFIG", "SET", "maxmemory", "0")
    wait_for_status(proxy, "/oom-new", "HIT")


def test_an_invalidation_waits_for_redis(proxy: ProxyProcess, server: RedisServer, backend: LiveBackend) -> None:
    wait_for_status(proxy, "/pending", "HIT")
    server.freeze()
    try:
        answered = proxy.request("POST", "/invalidate", JSON, b'{"pattern": "cache:GET:/pending"}')
        assert answered.status == 503
        assert b"memory was cleared, and what is left to do in the store waits" in answered.body
    finally:
        server.thaw()
    wait_for(lambda: server.cli("EXISTS", "cache:GET:anonymous:/pending") == 0, "the invalidation to be carried out")
    assert get(proxy, "/pending") in ("MISS", "ERROR", "CIRCUIT_OPEN")
    wait_for_status(proxy, "/pending", "HIT")


def test_breaker_and_pool_are_counted(proxy: ProxyProcess, server: RedisServer) -> None:
    server.kill()
    wait_for_status(proxy, "/counted", "CIRCUIT_OPEN")
    text = proxy.get("/metrics").body.decode()
    assert metric(text, "circuit_breaker_state") in (1, 2)
    assert metric(text, "circuit_breaker_trips_total") >= 1
    server.start()
    wait_for_status(proxy, "/counted", "HIT")
    text = proxy.get("/metrics").body.decode()
    assert metric(text, "circuit_breaker_state") == 0
    assert metric(text, "redis_pool_size") >= 1
    assert metric(text, "redis_pool_acquisition_seconds_count") > 0


def failed_writes(proxy: ProxyProcess) -> float:
    return metric(proxy.get("/metrics").body.decode(), "cache_store_write_failures_total")


def metric(text: str, name: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    return float(line.split()[-1])
