"""The admin endpoints of a real proxy: who may use them, where they are, what they tell."""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import re

import pytest
from support.live_backend import LiveBackend, answer
from support.proxy_process import ProxyProcess, Response, StartProxy, free_port, wait_for
from support.redis_server import RedisServer

from caching_proxy.telemetry.metrics.series import SERIES

pytestmark = pytest.mark.live

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
GUARDED = [("POST", "/invalidate", b'{"pattern": "cache:GET:/x"}'), ("GET", "/keys", None), ("POST", "/key", b"{}")]


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend, shared_redis: RedisServer) -> ProxyProcess:
    shared_redis.cli("FLUSHALL")
    return start_shared(
        BACKEND_URL=backend.url, CACHE_URL=shared_redis.url, ADMIN_TOKEN=TOKEN, METRIX_PREFIX="shop", LOG_LEVEL="warn"
    )


def told(answered: Response) -> dict[str, object]:
    """A JSON object in an answer that says that it is one."""
    assert answered["Content-Type"].startswith("application/json")
    found = answered.json()
    assert isinstance(found, dict)
    return found


def key(proxy: ProxyProcess, name: str) -> Response:
    return proxy.request("POST", "/key", {**BEARER, **JSON}, json.dumps({"key": name}).encode())


@pytest.mark.parametrize(("method", "path", "body"), GUARDED, ids=["invalidate", "keys", "key"])
def test_guarded_by_a_token(proxy: ProxyProcess, method: str, path: str, body: bytes | None) -> None:
    for fields in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answered = proxy.request(method, path, {**fields, **JSON}, body)
        assert (answered.status, set(told(answered))) == (401, {"error"})
    assert proxy.request(method, path, {**BEARER, **JSON}, body).status in (200, 400)


def test_without_a_token_disabled_or_open(start_shared: StartProxy, backend: LiveBackend) -> None:
    closed, opened = start_shared(BACKEND_URL=backend.url), start_shared(BACKEND_URL=backend.url, ADMIN_AUTH="none")
    for method, path, body in GUARDED:
        refused = closed.request(method, path, {**BEARER, **JSON}, body)
        assert refused.status == 403
        assert "ADMIN_TOKEN" in str(told(refused)["error"])
        assert opened.request(method, path, JSON, body).status in (200, 400)
    assert "ADMIN_AUTH=none" in opened.log
    assert "ADMIN_AUTH=none" not in closed.log


def test_admin_port_moves_the_endpoints(start_shared: StartProxy, backend: LiveBackend) -> None:
    port = free_port()
    proxy = start_shared(BACKEND_URL=f"{backend.url}/apart", ADMIN_PORT=str(port))

    def admin(path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        answered = connection.getresponse()
        result = answered.status, answered.read()
        connection.close()
        return result

    assert admin("/health")[0] == 200
    assert admin("/keys")[0] == 403
    assert admin("/")[0] == 404
    for path in ("/health", "/ready", "/metrics", "/keys"):
        answered = proxy.get(path)
        assert (answered.cache, answered.json()["target"]) == ("MISS", f"/apart{path}")  # the backend's own


def test_health(proxy: ProxyProcess, backend: LiveBackend) -> None:
    answered = proxy.get("/health")
    found = told(answered)
    assert (answered.status, found["status"]) == (200, "ok")
    assert b": " not in answered.body
    moment = datetime.datetime.fromisoformat(str(found["timestamp"]))
    assert abs((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) < 60
    assert backend.seen("/health") == []
    assert proxy.get("/health/").json() != found  # no endpoint: the backend's
    refused = proxy.request("DELETE", "/health")
    assert (refused.status, refused["Allow"]) == (405, "GET, HEAD")


@pytest.mark.slow
def test_ready_follows_the_backend(start_shared: StartProxy) -> None:
    backend = LiveBackend().start()
    proxy = start_shared(BACKEND_URL=backend.url)
    answered = proxy.get("/ready")
    assert answered.status == 200
    assert told(answered) == {"status": "ok", "backend": "ok", "store": "ok", "breaker": "closed"}
    backend.stop()
    wait_for(lambda: proxy.get("/ready").status == 503, "/ready to see it")
    assert told(proxy.get("/ready"))["backend"] == "unreachable"
    assert proxy.get("/health").status == 200
    backend.start()
    wait_for(lambda: proxy.get("/ready").status == 200, "/ready to see it again")
    backend.stop()


def test_keys_and_key(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/listed/text", answer(b"caf\xc3\xa9", 200, ("Content-Type", "text/plain; charset=utf-8")))
    backend.on("/listed/bytes", answer(b"\xff\x00", 200, ("Content-Type", "image/png"), ("X-A", "1"), ("X-A", "2")))
    for target in ("/listed/text", "/listed/bytes"):
        assert proxy.get(target).cache == "MISS"
    names = ["cache:GET:anonymous:/listed/bytes", "cache:GET:anonymous:/listed/text"]

    def listed() -> dict[str, object]:
        return told(proxy.request("GET", "/keys?match=cache:GET:*:/listed/*", BEARER))

    wait_for(lambda: listed()["keyCount"] == 2, "the writes")
    assert listed() == {"keyCount": 2, "keysByRole": {"anonymous": names}, "keys": names}
    assert told(proxy.request("GET", "/keys?limit=1", BEARER))["keyCount"] == 1
    text, data = (told(key(proxy, name))["cacheEntry"] for name in reversed(names))
    assert isinstance(text, dict)
    assert isinstance(data, dict)
    assert (text["status"], text["body"]) == (200, "café")
    assert data["encoding"] == "base64"
    assert base64.b64decode(data["body"]) == b"\xff\x00"
    assert key(proxy, "cache:GET:anonymous:/nothing").status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"pattern": 1}', b'{"pattern": ""}'])
def test_bad_requests_are_400(proxy: ProxyProcess, body: bytes) -> None:
    answered = proxy.request("POST", "/invalidate", {**BEARER, **JSON}, body)
    assert (answered.status, set(told(answered))) == (400, {"error"})
    assert proxy.request("GET", "/invalidate", BEARER)["Allow"] == "POST"


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_have_every_series(proxy: ProxyProcess) -> None:
    for _ in range(2):
        proxy.get("/api/v1/articles/123?x")
    proxy.request("POST", "/api/v1/articles/9", {}, b"x")
    proxy.request("X-FROB", "/api/v1/articles/9")
    proxy.request("GET", "/keys", BEARER)
    answered = proxy.get("/metrics")
    assert answered["Content-Type"].startswith("text/plain; version=")
    text = answered.body.decode()
    for series in SERIES:
        assert f"# TYPE shop_{series.name.removesuffix('_total')}" in text
    found = samples(text)
    ours = [name for name in found if name.startswith("shop_")]
    assert len(ours) == len(found)
    assert all('app="shop"' in name for name in ours)
    assert any(name.startswith("shop_process_resident_memory_bytes") for name in found)
    assert any(name.startswith("shop_python_info") for name in found)
    plain = {re.sub(r',?app="shop"', "", name).replace("{,", "{"): value for name, value in found.items()}
    request = 'shop_http_requests_total{method="%s",path="/api/v1/articles/:id",status_code="200",cache_status="%s"}'
    assert plain[request % ("GET", "MISS")] == 1
    assert plain[request % ("GET", "HOT_HIT")] == 1
    assert plain[request % ("POST", "N/A")] == 1
    assert plain[request % ("other", "N/A")] == 1
    usage = 'shop_endpoint_usage_total{method="GET",path="/api/v1/articles/:id",cache_status="HOT_HIT",user_role="%s"}'
    assert plain[usage % "anonymous"] == 1
    duration = 'shop_http_request_duration_seconds_count{method="GET",path="/api/v1/articles/:id",status_code="200"}'
    assert plain[duration] == 2
    for name in ("hot_cache_hits_total", "redis_pool_size", "backend_connections", "cache_keys_total"):
        assert next(value for key, value in plain.items() if key.startswith(f"shop_{name}")) > 0


def test_openmetrics_on_request(proxy: ProxyProcess) -> None:
    answered = proxy.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answered["Content-Type"].startswith("application/openmetrics-text")
    assert answered.body.endswith(b"# EOF\n")
