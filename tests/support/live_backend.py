"""A backend for live tests: an HTTP/1.1 server in threads of the test process, scripted path by path.

``backend.on("/x", handler)`` says what a target gets; any other one gets 200 with a JSON body that counts the requests
for it. A handler is given an :class:`Exchange` and may answer, send raw bytes, wait for an event or hang up. Every
request is kept in ``backend.requests`` before its handler runs.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import attrs

Fields = Iterable[tuple[str, str]]
KEPT_BODY = 1 << 20


class HangUp(Exception):
    """Raised by a handler to close the connection at once."""


@attrs.define(eq=False)
class Exchange:
    """A request and the way to answer it. ``fields`` are in order, names as sent."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    connection: int
    nth: int  # of the requests for this target, from 1
    socket: socket.socket
    _file: BinaryIO
    body: bytes | None = None
    body_size: int = 0
    answered: bool = False

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        [value] = self.all(name)
        return value

    def read(self) -> bytes:
        """The request body by its framing, asked for with a 100 if so wished; past 1 MiB it is only counted."""
        if self.body is None:
            if self.all("Expect"):
                self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            kept = bytearray()
            for part in self._parts():
                self.body_size += len(part)
                if len(kept) < KEPT_BODY:
                    kept += part
            self.body = bytes(kept)
        return self.body

    def _parts(self) -> Iterator[bytes]:
        if self.all("Transfer-Encoding"):
            while size := int(self._file.readline().split(b";")[0], 16):
                yield from self._exactly(size)
                self._file.readline()
            while self._file.readline().strip():
                pass
        else:
            yield from self._exactly(int((self.all("Content-Length") or ["0"])[0]))

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            data = self._file.read1(min(size, 1 << 18))  # type: ignore[attr-defined]
            if not data:
                raise HangUp
            size -= len(data)
            yield data

    def send(self, data: bytes) -> None:
        """Raw bytes."""
        self.answered = True
        self.socket.sendall(data)

    def reply(self, body: bytes = b"", status: int = 200, fields: Fields = (), reason: str = "OK") -> None:
        """A response with ``Content-Length``."""
        self.head(status, [*fields, ("Content-Length", str(len(body)))], reason)
        if self.method != "HEAD":
            self.send(body)

    def head(self, status: int, fields: Fields, reason: str = "OK") -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send(f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1"))

    def hang_up(self) -> None:
        raise HangUp


Handler = Callable[[Exchange], object]


def answer(body: bytes = b"", status: int = 200, *fields: tuple[str, str]) -> Handler:
    """A handler that always answers the same."""
    return lambda exchange: exchange.reply(body, status, fields)


class LiveBackend:
    """Listens on 127.0.0.1; ``port`` stays the same over :meth:`stop` and :meth:`start`."""

    def __init__(self) -> None:
        self.requests: list[Exchange] = []
        self.port = 0
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, target: str, handler: Handler) -> None:
        """What ``target`` (with its query, as it arrives here) gets from now on."""
        self._handlers[target] = handler

    def seen(self, target: str, method: str | None = None) -> list[Exchange]:
        """Requests for ``target`` so far."""
        with self._lock:
            return [r for r in self.requests if r.target == target and method in (None, r.method)]

    def start(self) -> LiveBackend:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(256)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)
        return self

    def stop(self) -> None:
        """Stop listening, cut every connection, wait for the threads."""
        if self._listener is not None:
            _shut(self._listener)
            self._listener = None
        self.cut()
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "a backend thread hangs"

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            sockets = list(self._sockets)
        for connection in sockets:
            _shut(connection)

    def _spawn(self, run: Callable[[socket.socket], None], with_: socket.socket) -> None:
        thread = threading.Thread(target=run, args=(with_,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets.add(connection)
                self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections += 1
            number = self._connections
        try:
            with connection, connection.makefile("rb") as file, contextlib.suppress(OSError, HangUp, ValueError):
                while self._one(connection, file, number):
                    pass
        finally:
            with self._lock:
                self._sockets.discard(connection)

    def _one(self, connection: socket.socket, file: BinaryIO, number: int) -> bool:
        line = file.readline().decode("latin-1").strip()
        if not line:
            return False
        method, target, _ = line.split(" ")
        fields = []
        while text := file.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = text.partition(":")
            fields.append((name, value.strip()))
        with self._lock:
            nth = 1 + sum(1 for r in self.requests if r.target == target)
            exchange = Exchange(method, target, fields, number, nth, connection, file)
            self.requests.append(exchange)
        self._handlers.get(target, _count)(exchange)
        if exchange.body is None and exchange.all("Expect"):
            return False  # answered without the body, which may never come
        exchange.read()
        return True


def _count(exchange: Exchange) -> None:
    exchange.read()
    body = json.dumps({"target": exchange.target, "method": exchange.method, "n": exchange.nth}).encode()
    exchange.reply(body, fields=[("Content-Type", "application/json")])


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
