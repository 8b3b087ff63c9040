"""What the cases share: a real daemon under a memory limit, a backend and a probe in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from support.proxy_process import ProxyProcess, StartProxy

MIB = 1 << 20
TESTS = Path(__file__).resolve().parents[1]
ADDRESS_SPACE = 4096 * MIB
"""What the daemon may map at most (RLIMIT_AS): a case that runs away ends with an error, not with the machine."""

CONFIGURED = (64 + 64 + 256) * MIB
"""Hot tier, burst tier and embedded store by default."""

PROMISED = CONFIGURED * 12 // 10 + 100 * MIB
STALL = 0.05 * float(os.environ.get("BOUNDS_SLACK", "5"))
"""Seconds that another client's hot hit may take. The promise is 0.05; a busy machine gets some slack."""


@attrs.frozen
class Measured:
    """What a case cost: resident bytes at most and afterwards, the longest hot hit of another client in seconds."""

    base: int
    peak: int
    after: int
    longest: float
    failed: int
    asked: int
    connections: int

    def line(self, name: str) -> str:
        return (
            f"| {name} | {(self.peak - self.base) / MIB:.0f} | {(self.after - self.base) / MIB:.0f} "
            f"| {self.longest * 1000:.0f} | {self.connections} |"
        )


class World:
    """The daemon and everybody around it."""

    def __init__(self, proxy: ProxyProcess, backend: Around, probe: Around) -> None:
        self.proxy = proxy
        self.port = proxy.port
        self._backend = backend
        self._probe = probe

    def backend(self) -> dict[str, int]:
        """Connections at the backend: ``open`` now, ``ever``, ``most`` since the last call; ``requests`` so far."""
        port = self._backend.words[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_connections", timeout=10) as answer:
            return dict(json.load(answer))

    def resident(self, what: str = "VmRSS") -> int:
        text = Path(f"/proc/{self.proxy.pid}/status").read_text()
        return int(text.split(f"{what}:")[1].split()[0]) * 1024

    def measure(self, attack: Callable[[World], Awaitable[None]]) -> Measured:
        """Run ``attack`` against the daemon while the probe goes on."""
        self.backend()
        base = self.resident()
        Path(f"/proc/{self.proxy.pid}/clear_refs").write_text("5")  # VmHWM starts anew
        self._probe.ask("start")
        with ThreadPoolExecutor(1) as thread:  # the reactor's loop stands in this one
            thread.submit(lambda: asyncio.run(_bounded(attack, self))).result()
        seen = json.loads(self._probe.ask("end"))
        assert self.proxy.process.poll() is None, f"the daemon died:\n{self.proxy.log[-2000:]}"
        return Measured(
            base=base,
            peak=self.resident("VmHWM"),
            after=self.resident(),
            longest=seen["longest"],
            failed=seen["failed"],
            asked=seen["asked"],
            connections=self.backend()["most"],
        )


async def _bounded(attack: Callable[[World], Awaitable[None]], world: World) -> None:
    async with asyncio.timeout(100):
        await attack(world)


class Around:
    """A helper process that prints one line when it is ready and then answers line by line."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"support.{module}", *arguments],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.words = self._line().split()

    def ask(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a helper process ended"
        return line

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


StartWorld = Callable[..., World]


@pytest.fixture
def start_world(start_proxy: StartProxy) -> Iterator[StartWorld]:
    """A function from settings to a :class:`World` whose probe is already hitting."""
    around: list[Around] = []

    def start(**settings: str) -> World:
        backend = Around("bounds_backend")
        around.append(backend)
        proxy = start_proxy(BACKEND_URL=f"http://127.0.0.1:{backend.words[0]}", **settings)
        with contextlib.suppress(ValueError):
            resource.prlimit(proxy.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        tls = ("tls",) if "TLS_CERT_FILE" in settings else ()
        probe = Around("bounds_probe", str(proxy.port), "/probe?cc=max-age=3600&size=1000", *tls)
        around.append(probe)
        return World(proxy, backend, probe)

    yield start
    for each in reversed(around):
        each.stop()


REPORT: list[str] = []


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Holds a measurement against the promise, and against the case's own bounds where they are tighter."""

    def hold(measured: Measured, growth: int | None = None, connections: int | None = None, stall: bool = True) -> None:
        name = request.node.name.removeprefix("test_")
        REPORT.append(measured.line(name))
        assert measured.asked > 0, "the probe was not answered at all"
        assert measured.failed == 0
        assert measured.peak <= PROMISED + measured.base - min(measured.base, 70 * MIB), measured
        if growth is not None:
            assert measured.peak - measured.base <= growth * MIB, measured
        if connections is not None:
            assert measured.connections <= connections, measured
        if stall:
            assert measured.longest <= STALL, measured

    return hold


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of docs/security.md; ``BOUNDS_REPORT=1`` prints it."""
    if REPORT and os.environ.get("BOUNDS_REPORT"):
        lines = ("| case | MiB at most | MiB after | longest hit of another, ms | backend connections |",)
        terminalreporter.write_line("\n".join((*lines, "| --- | --- | --- | --- | --- |", *REPORT)))


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, world: World, small: bool = False) -> Client:
        """``small``: a receive buffer of a few KiB, as of a client that hardly reads."""
        plain = socket.socket()
        plain.setblocking(False)
        if small:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", world.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1 << 16)
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, target: str, *lines: str, method: str = "GET") -> tuple[int, bytes, int]:
        """Ask and read the whole answer: status, head, and how many bytes of body."""
        await self.send(head(target, *lines, method=method))
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> tuple[int, bytes, int]:
        top = await self.reader.readuntil(b"\r\n\r\n")
        status, low = int(top[9:12]), top.lower()
        if method == "HEAD" or status in (204, 304):
            return status, top, 0
        if b"transfer-encoding: chunked" in low:
            return status, top, await self._chunks()
        size = int(low.split(b"content-length:")[1].split(b"\r\n")[0])
        return status, top, await self._skip(size)

    async def _skip(self, size: int) -> int:
        left = size
        while left:
            data = await self.reader.read(min(left, 1 << 20))
            if not data:
                raise ConnectionError("cut short")
            left -= len(data)
        return size

    async def _chunks(self) -> int:
        total = 0
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            total += await self._skip(size)
            await self.reader.readexactly(2)
        await self.reader.readline()
        return total

    def close(self) -> None:
        """Leave at once, with a reset."""
        transport = self.writer.transport
        transport.abort()


def head(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: bounds", *lines, "", "")).encode("latin-1")


@contextlib.asynccontextmanager
async def clients(world: World, number: int, small: bool = False):  # type: ignore[no-untyped-def]
    """That many connections, all gone at the end."""
    made = [await Client.connect(world, small) for _ in range(number)]
    try:
        yield made
    finally:
        for each in made:
            each.close()
