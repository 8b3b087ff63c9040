"""Invalidations made while Redis is away outlive the proxy: they stand in STATE_DIR before it says 503."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = pytest.mark.live

JSON = {"Content-Type": "application/json"}
KEYS = {
    "/by-pattern": "cache:GET:*:/by-pat*",
    "/by-target": "cache:GET:*:/by-target",
    "/by-key": "cache:GET:anonymous:/by-key",
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def started(start_proxy: StartProxy, backend: LiveBackend, server: RedisServer, **more: str) -> ProxyProcess:
    return start_proxy(
        BACKEND_URL=backend.url,
        CACHE_URL=server.url,
        ADMIN_AUTH="none",
        REDIS_CONNECT_TIMEOUT="0.5",
        REDIS_COMMAND_TIMEOUT="0.5",
        BREAKER_RECOVERY_SECONDS="0.2",
        **more,
    )


def filled(proxy: ProxyProcess, server: RedisServer) -> None:
    for target in (*KEYS, "/not-concerned"):
        assert proxy.get(target).status == 200
        wait_for(lambda target=target: server.cli("EXISTS", f"cache:GET:anonymous:{target}") == 1, "it stored")  # type: ignore[misc]


def invalidate(proxy: ProxyProcess, pattern: str) -> tuple[int, object]:
    answer = proxy.request("POST", "/invalidate", JSON, json.dumps({"pattern": pattern}).encode())
    return answer.status, answer.json()


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_process_carries_them_out_before_it_reads(
    start_proxy: StartProxy, backend: LiveBackend, server: RedisServer, tmp_path: Path, end: signal.Signals
) -> None:
    state = tmp_path / "state"
    first = started(start_proxy, backend, server, STATE_DIR=str(state))
    filled(first, server)
    server.cli("SAVE")
    server.kill()
    for pattern in KEYS.values():
        status, said = invalidate(first, pattern)
        assert isinstance(said, dict)
        assert (status, said["cleared"], said["notCleared"]) == (503, ["hot", "burst"], ["store"])
        assert said["pending"] == "journal"
    ready = first.get("/ready").json()
    assert isinstance(ready, dict)
    assert (ready["bus"], ready["pendingInvalidations"]) == ("down", 3)
    first.signal(end)
    first.wait()
    if end is signal.SIGTERM:
        assert "3 invalidations are left in STATE_DIR" in first.log
    second = started(start_proxy, backend, server, STATE_DIR=str(state))
    wait_for(lambda: "3 invalidations of an earlier process" in second.log, "a line that says so")
    server.start()
    assert server.cli("EXISTS", "cache:GET:anonymous:/by-key") == 1, "the old answers are there again"
    wait_for(lambda: second.get("/not-concerned").cache in ("HIT", "HOT_HIT"), "reads from Redis")
    for target in KEYS:
        before = json.loads(second.get(target).body)
        assert before["n"] > 1, f"{target} is from before"
    wait_for(lambda: not (state / "invalidations-0.journal").stat().st_size, "an empty journal")
    assert "\ninvalidations_pending 0\n" in second.get("/metrics").body.decode()


@pytest.mark.slow
def test_each_worker_keeps_its_own_and_the_next_workers_carry_out_all(
    start_proxy: StartProxy, backend: LiveBackend, server: RedisServer, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    first = started(start_proxy, backend, server, STATE_DIR=str(state), WORKERS="2")
    filled(first, server)
    server.cli("SAVE")
    server.kill()
    for pattern in KEYS.values():
        assert invalidate(first, pattern)[0] == 503
    first.stop()
    assert sum(file.stat().st_size for file in state.iterdir()) > 0
    second = started(start_proxy, backend, server, STATE_DIR=str(state), WORKERS="2")
    wait_for(lambda: "of an earlier process" in second.log, "a line that says so")
    server.start()
    wait_for(lambda: not sum(file.stat().st_size for file in state.iterdir()), "empty journals")
    assert {server.cli("EXISTS", f"cache:GET:anonymous:{target}") for target in KEYS} == {0}
    assert server.cli("EXISTS", "cache:GET:anonymous:/not-concerned") == 1


def test_without_a_directory_they_are_lost_with_the_process_and_it_says_so(
    start_proxy: StartProxy, backend: LiveBackend, server: RedisServer
) -> None:
    proxy = started(start_proxy, backend, server, SHUTDOWN_GRACE_SECONDS="1")
    server.kill()
    status, said = invalidate(proxy, "cache:*")
    assert isinstance(said, dict)
    assert (status, said["pending"]) == (503, "memory")
    proxy.stop()
    assert "1 invalidations never reached the store, and are lost" in proxy.log


def test_a_directory_that_cannot_be_written_stops_the_start(
    start_proxy: StartProxy, backend: LiveBackend, server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    proxy = start_proxy(
        wait=False, BACKEND_URL=backend.url, CACHE_URL=server.url, STATE_DIR=str(tmp_path / "file" / "state")
    )
    assert proxy.wait() == 1
    assert len(proxy.log.splitlines()) == 1
    assert proxy.log.startswith(f"STATE_DIR: '{tmp_path}/file/state' is not allowed; expected a directory")
