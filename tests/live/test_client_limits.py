"""Clients that want too much of a real process: descriptors, memory by not reading, the end of it all."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, free_port, wait_for

pytestmark = pytest.mark.live
SIZE = 9_000_000
READERS = 40


@pytest.fixture
def start(tmp_path: Path, backend: LiveBackend) -> Iterator[Callable[..., ProxyProcess]]:
    running = []

    def started(files: int | None = None, **environment: str) -> ProxyProcess:
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url, **environment}
        running.append(ProxyProcess(tmp_path, settings, files=files))
        running[-1].wait_until_serving()
        return running[-1]

    yield started
    for proxy in running:
        proxy.stop()


def connected(proxy: ProxyProcess, stack: contextlib.ExitStack, data: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 10))
    client.sendall(data)
    return client


def messages(proxy: ProxyProcess) -> list[str]:
    return [str(line["msg"]) for line in proxy.log_lines()]


@pytest.mark.parametrize("files", [64, 256])
def test_idle_clients_leave_descriptors_for_the_backend(start, backend, files):
    for path in ("/first", "/a-miss"):
        backend.on(path, lambda exchange: exchange.reply(b"here", 200, [("Cache-Control", "max-age=600")]))
    proxy = start(files)
    with contextlib.ExitStack() as stack:
        first = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        stack.callback(first.close)
        first.request("GET", "/first")
        first.getresponse().read()
        for _ in range(files):
            with contextlib.suppress(OSError):
                connected(proxy, stack)
        wait_for(lambda: any("further ones are refused" in line for line in messages(proxy)), "the refusal to be said")
        first.request("GET", "/a-miss")
        answer = first.getresponse()
        assert (answer.status, answer.getheader("X-Cache-Status")) == (200, "MISS")
        answer.read()
    wait_for(lambda: _answers(proxy), "new connections to be taken again")
    said = messages(proxy)
    assert sum("further ones are refused" in line for line in said) == 1
    assert any(line.startswith("MAX_CONNECTIONS is 20000") for line in said)


def _answers(proxy: ProxyProcess) -> bool:
    with contextlib.suppress(OSError):
        return proxy.get("/health").status == 200
    return False


def resident(proxy: ProxyProcess) -> int:
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024


@pytest.mark.parametrize("fields", [b"", b"Range: bytes=1-\r\n", b"Range: bytes=0-4000000,5000000-8999999\r\n"])
def test_clients_that_do_not_read_share_the_stored_bytes_and_are_dropped(start, backend, fields):
    backend.on("/large", lambda exchange: exchange.reply(bytes(SIZE), 200, [("Cache-Control", "max-age=600")]))
    proxy = start(WRITE_TIMEOUT="1")
    for _ in range(2):
        assert len(proxy.get("/large").body) == SIZE
    before = resident(proxy)
    with contextlib.ExitStack() as stack:
        for _ in range(READERS):
            connected(proxy, stack, b"GET /large HTTP/1.1\r\nHost: a\r\n%b\r\n" % fields)
        assert proxy.get("/large").status == 200  # behind them: all were served
        assert resident(proxy) - before < READERS * SIZE / 10
        files = Path(f"/proc/{proxy.pid}/fd")
        wait_for(lambda: len(list(files.iterdir())) < READERS, "the clients to be dropped")


def test_before_the_end_balancers_are_told(start):
    proxy = start(DRAIN_DELAY_SECONDS="2")
    proxy.signal(signal.SIGTERM)
    wait_for(lambda: proxy.get("/ready").status == 503, "/ready to say so")
    assert json.loads(proxy.get("/ready").body)["status"] == "draining"
    assert proxy.get("/health").status == 200  # on a new connection
    assert proxy.wait(15) == 0


def test_half_a_head_does_not_hold_the_end_up(start):
    proxy = start(SHUTDOWN_GRACE_SECONDS="60")
    with contextlib.ExitStack() as stack:
        connected(proxy, stack, b"GET / HTTP/1.1\r\nHost:")
        assert proxy.get("/health").status == 200
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(20) == 0
