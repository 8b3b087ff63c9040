"""A GiB through a real proxy, each way and framing, while its resident memory stays flat."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from support.live_backend import Exchange, LiveBackend
from support.proxy_process import ProxyProcess, StartProxy

pytestmark = [pytest.mark.live, pytest.mark.slow]

MIB = 1 << 20
SIZE = 1 << 30
BLOCK = bytes(range(256)) * (MIB // 256)
CHUNK = b"%x\r\n%b\r\n" % (MIB, BLOCK)
ALLOWED = 32 * MIB
TIMEOUT = 60


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    proxy = start_shared(BACKEND_URL=backend.url)
    for _ in range(20):
        proxy.get("/warm", Cache_Control="no-store")
    return proxy


def memory(proxy: ProxyProcess, what: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the most there ever was) in bytes."""
    lines = Path(f"/proc/{proxy.pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


def send_blocks(connection: socket.socket, block: bytes, size: int = SIZE) -> None:
    for _ in range(size // MIB):
        connection.sendall(block)


def receive(connection: socket.socket) -> int:
    """How many bytes come before the end."""
    buffer, total = bytearray(MIB), 0
    while size := connection.recv_into(buffer):
        total += size
    return total


def connect(proxy: ProxyProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_download(proxy: ProxyProcess, backend: LiveBackend, framing: str) -> None:
    def serve(exchange: Exchange) -> None:
        fields = {"length": ("Content-Length", str(SIZE)), "chunked": ("Transfer-Encoding", "chunked")}
        exchange.head(200, [fields.get(framing, ("Connection", "close"))])
        for _ in range(SIZE // MIB):
            exchange.send(CHUNK if framing == "chunked" else BLOCK)
        if framing == "chunked":
            exchange.send(b"0\r\n\r\n")
        if framing == "close":
            exchange.hang_up()

    backend.on(f"/big-{framing}", serve)
    before = memory(proxy, "VmRSS")
    with connect(proxy) as connection:
        connection.sendall(f"GET /big-{framing} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = receive(connection)
    assert SIZE < received < SIZE * 1.01
    assert memory(proxy, "VmHWM") - before < ALLOWED


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upload(proxy: ProxyProcess, backend: LiveBackend, framing: str) -> None:
    backend.on(f"/up-{framing}", lambda exchange: exchange.reply(str(exchange.read() and exchange.body_size).encode()))
    fields = {"length": f"Content-Length: {SIZE}", "chunked": "Transfer-Encoding: chunked"}
    before = memory(proxy, "VmRSS")
    with connect(proxy) as connection:
        head = f"PUT /up-{framing} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields[framing]}\r\n\r\n"
        connection.sendall(head.encode())
        send_blocks(connection, CHUNK if framing == "chunked" else BLOCK)
        if framing == "chunked":
            connection.sendall(b"0\r\n\r\n")
        answered = connection.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert answered.endswith(b"\r\n\r\n%d" % SIZE)
    assert memory(proxy, "VmHWM") - before < ALLOWED


class Pump:
    """Counts the MiB that went into a socket until it would take no more."""

    def __init__(self) -> None:
        self.sent = 0
        self.over = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        connection.settimeout(0.2)
        view = memoryview(BLOCK)
        while not self.over.is_set():
            try:
                self.sent += connection.send(view)
            except TimeoutError:
                continue
            except OSError:
                return

    def wait_until_held_back(self) -> None:
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 0.5:
            if self.sent != last:
                last, since = self.sent, time.monotonic()
            assert self.sent < SIZE // 4, "nobody holds the sender back"
            time.sleep(0.02)


def test_a_client_that_does_not_read_holds_the_backend_back(proxy: ProxyProcess, backend: LiveBackend) -> None:
    pump = Pump()

    def serve(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", str(SIZE))])
        pump(exchange.socket)
        exchange.hang_up()

    backend.on("/unread", serve)
    before = memory(proxy, "VmRSS")
    with connect(proxy) as connection:
        connection.sendall(b"GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        pump.wait_until_held_back()
        assert memory(proxy, "VmRSS") - before < ALLOWED
        pump.over.set()


def test_a_backend_that_does_not_read_holds_the_client_back(proxy: ProxyProcess, backend: LiveBackend) -> None:
    pump, done = Pump(), threading.Event()

    def serve(exchange: Exchange) -> None:
        done.wait(TIMEOUT)
        exchange.hang_up()

    backend.on("/stuck", serve)
    before = memory(proxy, "VmRSS")
    with connect(proxy) as connection:
        connection.sendall(f"PUT /stuck HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        sender = threading.Thread(target=pump, args=(connection,))
        sender.start()
        pump.wait_until_held_back()
        assert memory(proxy, "VmRSS") - before < ALLOWED
        pump.over.set()
        sender.join()
    done.set()
