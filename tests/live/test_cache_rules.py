"""Rules per path through a real proxy, on both stores; SIGHUP and what it does with a bad file."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import attrs
import jwt
import pytest
from support.live_backend import LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = pytest.mark.live
OVER_H2 = True

SECRET = "s" * 32
RULES: list[dict[str, object]] = [
    {"match": r"\.png$", "mode": "override", "ttl": 3600},
    {"match": "^/missing", "status_ttl": {"404": 30}},
    {"match": "^/everyone", "share": "everyone"},
    {"match": "^/token", "share": "token"},
    {"match": "^/never", "share": "none"},
    {"match": "^/langs", "vary": ["Accept-Language"]},
    {"match": "^/search", "ignore_params": ["utm_*"]},
    {"match": r"^/slow/(\w+\s?)*!$", "ttl": 5},
]


@attrs.frozen
class Ruled:
    proxy: ProxyProcess
    file: Path

    def write(self, text: str, told: str) -> None:
        """Change the rules and wait until the proxy says what came of it."""
        before = self.proxy.log.count(told)
        self.file.write_text(text)
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: self.proxy.log.count(told) > before, told)


@pytest.fixture(scope="module", params=["memory", "redis"])
def ruled(
    request: pytest.FixtureRequest,
    start_shared: StartProxy,
    backend: LiveBackend,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ruled:
    shared_redis.cli("FLUSHALL")
    path = tmp_path_factory.mktemp("rules") / "paths.json"
    path.write_text(json.dumps(RULES))
    proxy = start_shared(
        BACKEND_URL=f"{backend.url}/{request.param}",
        CACHE_URL=shared_redis.url if request.param == "redis" else "memory:",
        CACHE_RULES=str(path),
        CACHE_TTL_SECONDS="0",
        JWT_SECRET=SECRET,
        ADMIN_AUTH="none",
    )
    return Ruled(proxy, path)


def says(backend: LiveBackend, ruled: Ruled, target: str, status: int = 200, *lines: tuple[str, str]) -> None:
    prefix = "/redis" if "redis" in ruled.proxy.environment["CACHE_URL"] else "/memory"
    backend.on(prefix + target, answer(b"body", status, *lines))


def statuses(ruled: Ruled, target: str, *each: dict[str, str]) -> list[str | None]:
    return [ruled.proxy.get(target, **fields).cache for fields in each]


FRESH = ("Cache-Control", "max-age=900")


def bearer(*roles: str, subject: str = "a") -> dict[str, str]:
    claims = {"roles": list(roles), "sub": subject, "exp": 4_000_000_000}
    return {"Authorization": "Bearer " + jwt.encode(claims, SECRET, "HS256")}


def test_override_and_statuses(ruled: Ruled, backend: LiveBackend) -> None:
    says(backend, ruled, "/a.png", 200, ("Cache-Control", "no-cache"), ("Set-Cookie", "s=1"))
    says(backend, ruled, "/missing", 404)
    assert statuses(ruled, "/a.png", {}, {}) == ["MISS", "HOT_HIT"]
    assert ruled.proxy.get("/a.png").get("Set-Cookie") is None
    assert statuses(ruled, "/missing", {}, {}) == ["MISS", "HOT_HIT"]
    assert statuses(ruled, "/other", {}, {}) == ["MISS", "MISS"]


def test_who_shares(ruled: Ruled, backend: LiveBackend) -> None:
    for target in ("/everyone", "/token", "/never"):
        says(backend, ruled, target, 200, FRESH)
    editor, again = bearer("editor"), bearer("editor", subject="b")
    assert statuses(ruled, "/everyone", editor, {}, bearer("user")) == ["MISS", "HOT_HIT", "HOT_HIT"]
    assert statuses(ruled, "/token", editor, again, editor, {}, again) == ["MISS", "MISS", "HOT_HIT", "MISS", "HOT_HIT"]
    assert statuses(ruled, "/never", {}, editor) == ["BYPASS", "BYPASS"]
    assert ruled.proxy.get("/never")["Cache-Status"].endswith("fwd=bypass; detail=rule")
    assert statuses(ruled, "/everyone/../never", {}) == ["BYPASS"]


def test_keys(ruled: Ruled, backend: LiveBackend) -> None:
    for target in ("/langs", "/search?q=1&utm_source=x", "/search?utm_x=&q=1"):
        says(backend, ruled, target, 200, FRESH)
    german, english = {"Accept_Language": "de"}, {"Accept_Language": "en"}
    assert statuses(ruled, "/langs", german, english, german, english) == ["MISS", "MISS", "HOT_HIT", "HOT_HIT"]
    assert statuses(ruled, "/search?q=1&utm_source=x", {}) == ["MISS"]
    assert statuses(ruled, "/search?utm_x=&q=1", {}) == ["HOT_HIT"]


def test_a_target_made_to_be_slow_to_match_is_not(ruled: Ruled) -> None:
    """With a backtracking engine this one request would hold the proxy for ever."""
    assert ruled.proxy.get("/slow/" + "a" * 7000).status == 200


def test_sighup(ruled: Ruled, backend: LiveBackend) -> None:
    says(backend, ruled, "/never", 200, FRESH)
    kept = json.dumps(RULES)
    try:
        ruled.write('[{"match": "("}]', "cache rules not reloaded, the old ones stay")
        assert "rule 1: match '(' is no regular expression" in ruled.proxy.log
        assert statuses(ruled, "/never", {}) == ["BYPASS"]
        ruled.write("[]", "0 cache rules in force")
        assert statuses(ruled, "/never", {}, {}, {}) == ["MISS", "HOT_HIT", "HOT_HIT"]
        ruled.write('[{"match": "^/never", "share": "none"}]', "1 cache rules in force")
        assert statuses(ruled, "/never", {}, {}) == ["BYPASS", "BYPASS"]
        ruled.file.unlink()
        ruled.proxy.signal(signal.SIGHUP)
        wait_for(lambda: "there is no such file" in ruled.proxy.log, "a word about the missing file")
        assert statuses(ruled, "/never", {}) == ["BYPASS"]
    finally:
        ruled.write(kept, f"{len(RULES)} cache rules in force")


def test_the_default_file_is_optional(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, CACHE_TTL_SECONDS="0")
    assert [proxy.get("/default").cache for _ in range(2)] == ["MISS", "MISS"]
    (proxy.directory / "cache_rules.json").write_text('[{"match": "^/default", "ttl": 60}]')
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: "1 cache rules in force" in proxy.log, "the rules")
    assert [proxy.get("/default").cache for _ in range(2)] == ["MISS", "HOT_HIT"]
