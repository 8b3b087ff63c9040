"""The whole composed proxy in memory, between clients played by hand and a backend that writes down what it sees.

Everything is real but the sockets and the clock: channel, pipeline, tiers, embedded store, the backend's client. Both
ends read with parsers of their own, which share nothing with the proxy's, so that what they agree on says something.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import attrs
from support.walks import walk
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.app.compose import Proxy, compose
from caching_proxy.app.team import Team
from caching_proxy.interfaces import ISiblings
from caching_proxy.settings.load import load
from caching_proxy.testing import ByteRecorder, MemoryWire
from caching_proxy.testing.wire import MemoryTransport
from caching_proxy.upstream.connection import UpstreamConnection
from caching_proxy.workers.siblings import Siblings

START = 1_900_000_000.0
BACKEND = b"backend.test:8080"


@attrs.frozen
class Message:
    """A request or an answer as the far end read it; ``start`` is its first line, names are in lower case."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def all(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        return next(iter(self.all(name)), None)

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def cache(self) -> str | None:
        """``X-Cache-Status``."""
        value = self.get("x-cache-status")
        return None if value is None else value.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Unclear(Exception):
    """Bytes on which two readers could differ."""


class Reader:
    """Cuts bytes into messages, by Content-Length or chunks; what is not beyond doubt raises :class:`Unclear`."""

    def __init__(self) -> None:
        self.data = b""

    def next(self, bodiless: Callable[[Message], bool] = lambda _: False) -> Message | None:
        """The next whole message, None while there is none."""
        head, blank, rest = self.data.partition(b"\r\n\r\n")
        if not blank:
            return None
        lines = head.split(b"\r\n")
        if any(byte in head.replace(b"\r\n", b"") for byte in b"\r\n\0"):
            raise Unclear(head)
        fields: list[tuple[bytes, bytes]] = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.split() != [name] or line[:1] in b" \t":
                raise Unclear(line)
            fields.append((name.lower(), value.strip()))
        message = Message(lines[0], fields, b"")
        size = 0 if bodiless(message) else self._size(message, rest)
        if size is None or len(rest) < size:
            return None
        self.data = rest[size:]
        return Message(message.start, fields, self._content(message, rest[:size]))

    def _size(self, message: Message, rest: bytes) -> int | None:
        lengths, codings = message.all("content-length"), message.all("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise Unclear(message.start)
        if codings:
            if codings != [b"chunked"]:
                raise Unclear(codings[0])
            return self._chunks(rest)[0]
        if lengths and not (lengths[0].isdigit() and len(lengths[0]) < 10):
            raise Unclear(lengths[0])
        return int(lengths[0]) if lengths else 0

    def _content(self, message: Message, body: bytes) -> bytes:
        return self._chunks(body)[1] if body and message.all("transfer-encoding") else body

    def _chunks(self, data: bytes) -> tuple[int | None, bytes]:
        at, content = 0, b""
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                return None, b""
            size = int(data[at:end], 16)  # our own proxy writes nothing but digits
            at = end + 2 + size + 2
            if len(data) < at:
                return None, b""
            if data[at - 2 : at] != b"\r\n":
                raise Unclear(data[at - 2 : at])
            content += data[end + 2 : at - 2]
            if not size:
                return at, content


Script = Callable[[Message], "bytes | None"]


def ok(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A backend's answer."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)


def cacheable(message: Message) -> bytes:
    """An answer that everybody with the same key may share for a minute."""
    return ok(b"for " + message.target, b"Cache-Control: max-age=60")


class BackendEnd(Protocol):
    """One connection of the recording backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.reader = Reader()
        self.raw: bytearray | None = None  # set once HTTP is left
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.backend.bytes += data
        if self.raw is not None:
            self.raw += data
            return
        self.reader.data += data
        while (message := self.reader.next()) is not None:
            self.backend.requests.append(message)
            answer = self.backend.script(message)
            if answer is not None:
                if answer.startswith(b"HTTP/1.1 101"):
                    self.raw = bytearray(self.reader.data)
                self.transport.write(answer)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class Backend:
    """What the backend saw: ``requests`` in order and every byte; ``script`` answers (None = not yet)."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Message] = []
        self.bytes = b""
        self.ends: list[BackendEnd] = []

    @property
    def targets(self) -> list[bytes]:
        return [request.target for request in self.requests]


class _ClientTransport(MemoryTransport):
    host = "192.0.2.1"

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.host, 40000)


class ClientWire(MemoryWire):
    def __init__(self, client: Protocol, server: Protocol, host: str) -> None:
        self.client, self.server = MemoryTransport(client), _ClientTransport(server)
        self.server.host = host
        self.client.peer, self.server.peer = self.server, self.client
        server.makeConnection(self.server)  # type: ignore[no-untyped-call]
        client.makeConnection(self.client)  # type: ignore[no-untyped-call]


class Client:
    """A connection to the proxy, or the refusal of one (``refused``)."""

    def __init__(self, proxy: WholeProxy, host: str, admin: bool = False) -> None:
        self._proxy = proxy
        self.end = ByteRecorder()
        self.reader = Reader()
        site = proxy.proxy.admin_site if admin else proxy.proxy.site
        assert site is not None
        channel = site.buildProtocol(IPv4Address("TCP", host, 40000))
        self.refused = channel is None
        if channel is not None:
            self.wire = ClientWire(self.end, channel, host)
            proxy.wires.append(self.wire)

    def send(self, data: bytes) -> bytes:
        """Deliver ``data``, let everything happen, and return what came back."""
        self.end.send(data)
        return self.take()

    def take(self) -> bytes:
        """What came since the last look."""
        self._proxy.pump()
        data, self.end.data = bytes(self.end.data), bytearray()
        return data

    def ask(self, data: bytes, head: bool = False) -> list[Message]:
        """Send ``data``; the complete answers to it, interim ones left out. ``head``: to HEAD, so without content."""
        self.reader.data += self.send(data)
        answers: list[Message] = []
        while (answer := self.reader.next(lambda answer: head or _bodiless(answer))) is not None:
            if answer.status >= 200:
                answers.append(answer)
        return answers

    def close(self) -> None:
        self.end.close()
        self._proxy.pump()

    @property
    def closed(self) -> bool:
        """Whether the proxy has ended the connection, or its half of it."""
        server = self.wire.server
        return not server.connected or server.disconnecting or server._eof


def _bodiless(answer: Message) -> bool:
    return answer.status < 200 or answer.status in (204, 304)


class WholeProxy:
    """``WholeProxy(script, JWT_SECRET="…")``; settings are environment variables."""

    def __init__(self, script: Script = cacheable, siblings: ISiblings | None = None, **environment: str) -> None:
        defaults = {"BACKEND_URL": f"http://{BACKEND.decode()}", "INVALIDATION_CONFIG": "/nonexistent/rules.json"}
        self.settings, self.warnings = load({**defaults, **environment}, {}, {})
        self.clock = Clock()
        self.clock.advance(START)
        self.backend = Backend(script)
        self.wires: list[MemoryWire] = []
        self._log = io.StringIO()
        team = None
        if siblings is not None:  # one of two workers, of which the other is played by hand
            channel = Siblings(lambda words, blob: None)
            team = Team(channel, siblings, self.clock, number=1, slot=0, wanted=2, own_store=True)
        self.proxy: Proxy = compose(self.clock, self.settings, self._log, lambda size: bytes(size), team=team)
        self.proxy.upstream._connect = self._connect  # type: ignore[method-assign]
        self.proxy.store.start()

    def _connect(self, make: Callable[[type[UpstreamConnection]], UpstreamConnection]) -> Deferred[UpstreamConnection]:
        connection, end = make(UpstreamConnection), BackendEnd(self.backend)
        self.backend.ends.append(end)
        self.wires.append(MemoryWire(connection, end))
        return succeed(connection)

    # -- clients ---------------------------------------------------------------------------------

    over_h2 = False
    """Whether clients speak HTTP/2."""

    def client(self, host: str = "192.0.2.1", admin: bool = False) -> Client:
        if self.over_h2:
            from support.whole_over_h2 import HTTP2Client  # which imports this module

            return HTTP2Client(self, host, admin)  # type: ignore[return-value]
        return Client(self, host, admin)

    def ask(self, data: bytes, host: str = "192.0.2.1", head: bool = False) -> list[Message]:
        """Send ``data`` on a connection of its own, which ends afterwards; the answers."""
        client = self.client(host)
        answers = client.ask(data, head)
        client.close()
        return answers

    def get(self, target: bytes | str, *fields: bytes, method: bytes = b"GET", host: str = "192.0.2.1") -> Message:
        """One request with the fields given as lines; exactly one answer."""
        target = target.encode() if isinstance(target, str) else target
        lines = b"".join(field + b"\r\n" for field in fields)
        own = b"" if any(field.lower().startswith(b"host:") for field in fields) else b"Host: proxy.test\r\n"
        [answer] = self.ask(b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, own, lines), host, method == b"HEAD")
        return answer

    def pump(self) -> None:
        """Move every byte that can move, and give everything its turn that waits for the next one."""
        while sum(wire.step(None) for wire in list(self.wires)) or self._next_turn():
            pass

    def _next_turn(self) -> bool:
        """One turn of the loop, if something is due; whether anything was."""
        due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
        if due:
            self.clock.advance(0)
        return due

    def pass_time(self, seconds: float) -> None:
        """Second by second, since deadlines are looked at once a second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.pump()

    # -- afterwards ------------------------------------------------------------------------------

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The access lines."""
        self.proxy.access.flush()
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    @property
    def keys(self) -> list[bytes]:
        """What the store holds."""
        found: list[list[bytes]] = []
        walk(self.proxy.store).addCallback(found.append)
        for _ in range(100):
            if found:
                break
            self.clock.advance(0)
        return sorted(found[0])

    def stop(self) -> None:
        """End everything, and see that no timer is left."""
        for wire in self.wires:
            for side in (wire.client, wire.server):
                if side.connected:
                    side.abortConnection()
        self.proxy.invalidator.stop()
        self.proxy.writer.drain()
        self.proxy.upstream.stop()
        self.proxy.store.stop()
        self.proxy.access.stop()
        self.proxy.site.connections.drain(0)
        left = [str(call) for call in self.clock.getDelayedCalls()]
        assert not left, f"timers left: {left}"


__all__ = ["BACKEND", "START", "Backend", "Client", "Message", "Reader", "Unclear", "WholeProxy", "cacheable", "ok"]
