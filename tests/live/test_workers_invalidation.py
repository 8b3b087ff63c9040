"""What is invalidated at one worker is invalidated at all of them by the time that anybody hears of it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.live_backend import Exchange, LiveBackend
from support.proxy_process import ProxyProcess, StartProxy
from support.redis_server import RedisServer
from support.workers import Line, lines, wait_for_workers

pytestmark = pytest.mark.live

RULES = [{"post_path_regex": "^/changes/(.*)", "invalidate_patterns": ["cache:GET:/ruled/$1*"]}]
FRESH = [("Cache-Control", "max-age=600")]
JSON = {"Content_Type": "application/json"}
WORKERS = 3


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=["memory", "redis"])
def proxy(
    request: pytest.FixtureRequest,
    start_shared: StartProxy,
    backend: LiveBackend,
    redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> ProxyProcess:
    rules = tmp_path_factory.mktemp("rules") / "rules.json"
    rules.write_text(json.dumps(RULES))
    return start_shared(
        BACKEND_URL=backend.url,
        WORKERS=str(WORKERS),
        CACHE_URL="memory:" if request.param == "memory" else redis.url,
        INVALIDATION_CONFIG=str(Path(rules)),
        ADMIN_AUTH="none",
        HOT_CACHE_TTL_SECONDS="600",
        ACCESS_LOG="false",
    )


@pytest.fixture(scope="module")
def each(proxy: ProxyProcess) -> Iterator[list[Line]]:
    """A connection to each worker."""
    found = list(lines(proxy, wait_for_workers(proxy, WORKERS)).values())
    yield found
    for line in found:
        line.close()


def warm(each: list[Line], target: str) -> None:
    """Have it in every worker's memory."""
    for line in each:
        line.ask("GET", target)
    for line in each:
        assert line.ask("GET", target).cache == "HOT_HIT"


def by_method(line: Line, n: int) -> str:
    target = f"/methods/{n}"
    assert line.ask("PUT", target, b"x").status == 200
    return target


def by_rule(line: Line, n: int) -> str:
    assert line.ask("POST", f"/changes/{n}", b"x").status == 200
    return f"/ruled/{n}"


def by_pattern(line: Line, n: int) -> str:
    body = json.dumps({"pattern": f"cache:GET:*:/patterns/{n}"}).encode()
    answered = line.ask("POST", "/invalidate", body, **JSON)
    assert (answered.status, answered.json()["deletedCount"]) == (200, 1)  # type: ignore[index]
    return f"/patterns/{n}"


WAYS = {"/methods": by_method, "/ruled": by_rule, "/patterns": by_pattern}


@pytest.mark.parametrize("prefix", WAYS)
def test_no_worker_serves_it_after_the_acknowledgement(each: list[Line], prefix: str) -> None:
    for n in range(340):
        target = f"{prefix}/{n % 7}"
        warm(each, target)
        assert WAYS[prefix](each[n % WORKERS], n % 7) == target
        seen = [line.ask("GET", target).cache for line in each]
        assert seen[0] == "MISS", f"round {n}"
        assert "HOT_HIT" not in seen, f"round {n}"


def test_bodies_are_never_older_than_the_acknowledgement(each: list[Line], backend: LiveBackend) -> None:
    version = 0
    target = "/versions"

    def answer(exchange: Exchange) -> None:
        if exchange.method == "GET":
            exchange.reply(str(version).encode(), 200, FRESH)
        else:
            exchange.reply(b"done")

    backend.on(target, answer)
    for n in range(1000):
        for line in each:
            line.ask("GET", target)
        version = n + 1
        assert each[n % WORKERS].ask("PUT", target, b"x").status == 200
        assert [int(line.ask("GET", target).body) for line in each] == [version] * WORKERS, f"round {n}"


def test_a_fetch_under_way_in_another_worker_is_not_kept(each: list[Line], backend: LiveBackend) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(exchange: Exchange) -> None:
        if exchange.method == "GET" and not asked.is_set():
            exchange.head(200, [("Content-Length", "3"), *FRESH])
            asked.set()
            assert go_on.wait(10)
            exchange.send(b"old")
        elif exchange.method == "GET":
            exchange.reply(b"new", 200, FRESH)
        else:
            exchange.reply(b"done")

    target = f"/under-way-{os.urandom(4).hex()}"
    backend.on(target, answer)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(each[0].ask, "GET", target)
        assert asked.wait(10)
        assert each[1].ask("PUT", target, b"x").status == 200
        go_on.set()
        assert fetching.result().body == b"old"
    assert [line.ask("GET", target).body for line in each] == [b"new"] * WORKERS


def test_many_changes_at_once(proxy: ProxyProcess, each: list[Line]) -> None:
    """Messages that wait for the one under way go together, and none is lost."""

    def change(n: int) -> int:
        return proxy.request("PUT", f"/burst/{n}", {}, b"x").status

    for n in range(50):
        warm(each, f"/burst/{n}")
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(change, range(50))) == {200}
    for n in range(50):
        assert each[0].ask("GET", f"/burst/{n}").cache == "MISS"


def test_a_worker_that_stands_still_holds_nobody_up_for_ever(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    pids = wait_for_workers(proxy, 2)
    both = lines(proxy, pids)
    os.kill(pids[1], signal.SIGSTOP)
    assert both[pids[0]].ask("PUT", "/still", b"x").status == 200
    said = [str(line["msg"]) for line in proxy.log_lines_so_far()]
    assert any("does not answer" in line for line in said)
    assert any("is killed: it hangs" in line for line in said)
    wait_for_workers(proxy, 3)
    for line in both.values():
        line.close()


def test_a_supervisor_that_stands_still_holds_nobody_up_for_ever(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", ADMIN_AUTH="none")
    wait_for_workers(proxy, 2)
    proxy.signal(signal.SIGSTOP)
    try:
        assert proxy.get("/goes-on").status == 200
        assert proxy.request("PUT", "/goes-on", {}, b"x").status == 200
        assert b"hot_cache_entries" in proxy.get("/metrics").body
    finally:
        proxy.signal(signal.SIGCONT)
    assert "other workers could not be told of an invalidation" in proxy.log
    assert proxy.request("PUT", "/goes-on", {}, b"x").status == 200
