"""A real proxy process for live tests: ``twistd -n cachingproxy`` on a free port, in a directory of its own.

``start_proxy(BACKEND_URL=…, CACHE_URL=…)`` starts one and waits until it serves; everything started ends with the
test, and a process that cannot be stopped fails it. Requests go through ``http.client``: plain, blocking, one at a
time; for anything odd use :meth:`ProxyProcess.raw`. With ``PROXY_REACTOR`` in the environment (``make test-epoll``)
proxies run on that reactor instead of the one that they choose.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"


@attrs.frozen
class Response:
    """An answer: ``fields`` in order, names as sent."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self.fields if key.lower() == name.lower())

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    @property
    def cache(self) -> str | None:
        """``X-Cache-Status``."""
        return self.get("X-Cache-Status")

    def json(self) -> object:
        return json.loads(self.body)


class ProxyProcess:
    """One running proxy; ``log`` is its output so far. ``files``: how many it may have open. ``stdout``, ``stderr``:
    descriptors that take it instead of the log. ``through``: a program that runs it."""

    def __init__(
        self,
        directory: Path,
        environment: dict[str, str],
        arguments: tuple[str, ...] = ("-n",),
        files: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        through: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.environment = environment
        self.port = int(environment["PORT"]) if environment["PORT"].isdigit() else 0
        self._log = directory / "out.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        reactor = os.environ.get("PROXY_REACTOR")
        if reactor and not any(argument.startswith("--reactor") for argument in arguments):
            arguments = (*arguments, f"--reactor={reactor}")
        limited = () if files is None else ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [*through, *limited, sys.executable, "-c", RUN_TWISTD, *arguments, "--pidfile=", "cachingproxy"],
                cwd=directory,
                env={**inherited, "PYTHONPATH": str(ROOT), **environment},
                stdout=out if stdout is None else stdout,
                stderr=out if stderr is None else stderr,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def log_lines(self) -> list[dict[str, object]]:
        """The log as JSON objects; fails on a line that is none."""
        return [json.loads(line) for line in self.log.splitlines()]

    def log_lines_so_far(self) -> list[dict[str, object]]:
        """The same while the proxy runs: a line that is being written is left out."""
        whole, _, _ = self.log.rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def wait_until_serving(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the proxy ended with status {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        pytest.fail(f"the proxy does not listen:\n{self.log}")

    def request(
        self, method: str, target: str, fields: dict[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, fields or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, target: str, **fields: str) -> Response:
        """``get("/x", Cache_Control="no-cache")``."""
        return self.request("GET", target, {name.replace("_", "-"): value for name, value in fields.items()})

    def raw(self, data: bytes, timeout: float = 10.0) -> bytes:
        """Send bytes and read until the proxy closes, so ask it to. (Half-closing means leaving, as with nginx.)"""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(data)
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
            return b"".join(chunks)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """The exit status."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the proxy did not stop:\n{self.log}")


StartProxy = Callable[..., ProxyProcess]


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """A function from settings to a serving :class:`ProxyProcess`; ``more`` are further arguments of that."""
    running: list[ProxyProcess] = []

    def start(*, wait: bool = True, more: Mapping[str, Any] = {}, **environment: str) -> ProxyProcess:
        directory = tmp_path / f"proxy{len(running)}"
        directory.mkdir()
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", **environment}
        proxy = ProxyProcess(directory, settings, **more)
        running.append(proxy)
        if wait:
            proxy.wait_until_serving()
        return proxy

    yield start
    for proxy in running:
        proxy.stop()


def listens(path: Path) -> bool:
    """Whether somebody accepts connections at the socket ``path``: its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Poll until ``condition`` holds; fails with ``what`` otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for: {what}")
        time.sleep(0.02)
