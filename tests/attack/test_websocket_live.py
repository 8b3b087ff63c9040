"""WebSocket (RFC 6455) through a real proxy process, with frames made by hand."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import wait_for

pytestmark = pytest.mark.live

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(opcode, payload, mask=None):
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, bit | 127, size)
    if not mask:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + masked


def read_frame(file):
    first, second = file.read(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(file.read(2 if size == 126 else 8), "big")
    mask = file.read(4) if second & 0x80 else b""
    payload = file.read(size)
    if mask:
        key = (mask * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return first & 0x0F, payload


def echo(exchange):
    """A WebSocket server: echoes texts and binaries, answers pings, ends on a close frame."""
    exchange.head(
        101,
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_of(exchange["Sec-WebSocket-Key"])),
        ],
        "Switching Protocols",
    )
    while True:
        opcode, payload = read_frame(exchange._file)
        if opcode == CLOSE:
            exchange.send(frame(CLOSE, payload))
            exchange.hang_up()
        exchange.send(frame(PONG if opcode == PING else opcode, payload))


def last_words(exchange):
    """Switches, reads to the end of the client's half, and only then speaks."""
    exchange.head(101, [("Upgrade", "websocket"), ("Connection", "Upgrade")], "Switching Protocols")
    heard = exchange._file.read()
    exchange.send(b"heard " + heard)
    exchange.hang_up()


class WebSocket:
    def __init__(self, port, target):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")
        self.key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {self.key}\r\n\r\n".encode()
        )
        self.status = self.file.readline()
        self.fields = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.fields[name.lower()] = value

    def ask(self, opcode, payload):
        self.socket.sendall(frame(opcode, payload, os.urandom(4)))
        return read_frame(self.file)

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def backend():
    server = LiveBackend().start()
    server.on("/ws", echo)
    server.on("/last", last_words)
    yield server
    server.stop()


@pytest.mark.slow
def test_websocket_end_to_end(backend, start_proxy):
    proxy = start_proxy(BACKEND_URL=backend.url, SHUTDOWN_GRACE_SECONDS="1")
    ws = WebSocket(proxy.port, "/ws")
    assert ws.status == b"HTTP/1.1 101 Switching Protocols\r\n"
    assert ws.fields["sec-websocket-accept"] == accept_of(ws.key)
    assert ws.ask(TEXT, b"hello") == (TEXT, b"hello")
    assert ws.ask(PING, b"?") == (PONG, b"?")
    big = os.urandom(1 << 20)
    assert ws.ask(BINARY, big) == (BINARY, big)
    assert ws.ask(CLOSE, b"\x03\xe8") == (CLOSE, b"\x03\xe8")
    assert ws.file.read() == b""  # the backend closed, so the proxy did
    ws.close()

    ws = WebSocket(proxy.port, "/last")
    ws.socket.sendall(b"goodbye")
    ws.socket.shutdown(socket.SHUT_WR)
    assert ws.file.read() == b"heard goodbye"
    ws.close()

    ws = WebSocket(proxy.port, "/ws")
    assert ws.ask(TEXT, b"still there") == (TEXT, b"still there")
    began = time.monotonic()
    assert proxy.stop() == 0  # an open tunnel does not outlive the grace time
    assert time.monotonic() - began < 8
    with pytest.raises(ConnectionResetError):  # cut off, not ended in good order
        ws.file.read()
    ws.close()
    paths = [line["path"] for line in proxy.log_lines() if line.get("status") == 101]
    assert paths == ["/ws", "/last", "/ws"]


def test_a_client_that_vanishes_frees_the_backend(backend, start_proxy):
    proxy = start_proxy(BACKEND_URL=backend.url)
    ws = WebSocket(proxy.port, "/ws")
    assert ws.ask(TEXT, b"x") == (TEXT, b"x")
    ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of an end
    ws.close()
    wait_for(lambda: not backend._sockets, "the end of the backend's connection")
