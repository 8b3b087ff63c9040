"""Below /_cache/ of a real proxy: two ports, a stream that ends with the proxy, and a watcher that reads nothing."""

from __future__ import annotations

import json
import signal
import socket
import time

import psutil
import pytest
from support.live_backend import LiveBackend, answer
from support.proxy_process import StartProxy, free_port, wait_for

pytestmark = pytest.mark.live

TOKEN = "correct-horse-battery-staple"
ASK = b"GET /_cache/events HTTP/1.%d\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"


def watch(port: int, minor: int = 1) -> socket.socket:
    """A stream whose first event has come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(ASK % minor)
    seen = b""
    while b"event: stats" not in seen:
        seen += connection.recv(65536)
    assert seen.startswith(b"HTTP/1.1 200")
    return connection


def rest(connection: socket.socket) -> bytes:
    """All that still comes."""
    seen = b""
    while data := connection.recv(65536):
        seen += data
    return seen


@pytest.mark.parametrize("minor", [0, 1])
def test_a_stream_ends_with_the_proxy(start_proxy: StartProxy, backend: LiveBackend, minor: int) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, SHUTDOWN_GRACE_SECONDS="60")
    watcher = watch(proxy.port, minor)
    began = time.monotonic()
    proxy.signal(signal.SIGTERM)
    ended = rest(watcher)
    assert proxy.wait() == 0
    assert time.monotonic() - began < 30  # half the grace time: nobody waited for the watcher
    assert ended.endswith(b"0\r\n\r\n") is (minor == 1)
    watcher.close()


def test_with_a_port_of_its_own_it_is_only_there(start_proxy: StartProxy, backend: LiveBackend) -> None:
    port = free_port()
    proxy = start_proxy(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, ADMIN_PORT=str(port))
    for target in ("/_cache", "/_cache/", "/_cache/stats", "/%5fcache/stats", "//_cache/"):
        refused = proxy.get(target, Authorization=f"Bearer {TOKEN}")
        assert (refused.status, refused.json()) == (404, {"error": "there is no such endpoint"}), target
        assert not backend.seen(target)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /_cache/ HTTP/1.0\r\nHost: x\r\n\r\n")
        assert b"Content-Security-Policy: default-src 'none'" in rest(connection)


@pytest.mark.slow
def test_watchers_that_read_nothing_cost_little(start_proxy: StartProxy, backend: LiveBackend) -> None:
    backend.on("/private", answer(b"p", 200, ("Cache-Control", "private")))
    proxy = start_proxy(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, LOG_LEVEL="error")
    watchers = [watch(proxy.port) for _ in range(16)]
    before = psutil.Process(proxy.pid).memory_info().rss
    long = "x" * 4000
    for _ in range(2000):
        proxy.get("/private", **{"X-Long": long})
    grown = psutil.Process(proxy.pid).memory_info().rss - before
    assert grown < 24 << 20
    refused = proxy.request("GET", "/_cache/events", {"Authorization": f"Bearer {TOKEN}"})
    assert refused.status == 503
    for watcher in watchers:
        watcher.close()
    asked = json.dumps({"url": "/private"}).encode()
    fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    told = proxy.request("POST", "/_cache/why", fields, asked).json()
    assert isinstance(told, dict)
    assert told["verdict"] == proxy.get("/private").cache == "MISS"


def test_all_workers_are_seen_from_any(start_proxy: StartProxy, backend: LiveBackend) -> None:
    backend.on("/mine", answer(b"p", 200, ("Cache-Control", "private")))
    proxy = start_proxy(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, WORKERS="2", LOG_LEVEL="error")
    watcher = watch(proxy.port)
    for _ in range(12):
        proxy.get("/mine")  # each on a connection of its own
    seen = b""
    while seen.count(b"event: uncached") < 12:
        seen += watcher.recv(65536)
    watcher.close()

    def told() -> tuple[int, int]:
        said = proxy.request("GET", "/_cache/stats", {"Authorization": f"Bearer {TOKEN}"}).json()
        assert isinstance(said, dict)
        return said["workers"], said["requests"]["total"]

    for _ in range(4):
        wait_for(lambda: told() == (2, 12), "the figures of both workers")  # a worker that is late is left out
