"""The wall clock of a real process is set back and forth: deadlines hold, and nothing outlives its lifetime."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from support.live_backend import LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer
from support.shifted_clock import ShiftedClock

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
def shifted(tmp_path: Path) -> ShiftedClock:
    return ShiftedClock(tmp_path)


@pytest.mark.parametrize("seconds", [-60, -3600, 3600])
def test_deadlines_hold(start_proxy: StartProxy, backend: LiveBackend, shifted: ShiftedClock, seconds: float) -> None:
    backend.on("/hang", lambda exchange: time.sleep(3))
    proxy = start_proxy(
        BACKEND_URL=backend.url, BACKEND_TIMEOUT="1", IDLE_TIMEOUT="1", HEAD_TIMEOUT="1", **shifted.environment
    )
    assert proxy.get("/x").status == 200
    with socket.create_connection(("127.0.0.1", proxy.port), 15) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        shifted.by(seconds)
        assert b"408" in half.recv(1000)
    assert proxy.get("/hang").status == 504
    shifted.by(0)
    assert proxy.stop() == 0


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_nothing_lives_longer_than_its_lifetime(
    start_proxy: StartProxy, backend: LiveBackend, shifted: ShiftedClock, redis_server: RedisServer, store: str
) -> None:
    backend.on("/short", answer(b"x", 200, ("Cache-Control", "max-age=3")))
    url = "memory:" if store == "memory" else redis_server.url
    proxy: ProxyProcess = start_proxy(BACKEND_URL=backend.url, CACHE_URL=url, **shifted.environment)
    assert proxy.get("/short").cache == "MISS"
    assert proxy.get("/short").cache == "HOT_HIT"
    if store == "redis":  # which counts from when it has the entry
        wait_for(lambda: redis_server.cli("EXISTS", "cache:GET:anonymous:/short") == 1, "it stored")
    begun = time.monotonic()
    shifted.by(-3600)
    wait_for(lambda: time.monotonic() - begun > 3.2, "the end of its lifetime")
    assert proxy.get("/short").cache not in ("HOT_HIT", "HIT")
    wait_for(lambda: "set back" in proxy.log, "a line about the clock")
