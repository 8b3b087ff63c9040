"""Servers as processes, each pinned to a core: started when asked for, all of them ended together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import psutil

from bench import configs
from bench.interpreter import OWN, Interpreter
from bench.machine import Cores, described, program

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
RUN_TWISTD = "from twisted.scripts.twistd import run; run()"
MIXED_PATH = "/items/mixed-"
RULES = [{"post_path_regex": f"^({MIXED_PATH}\\d+)$", "invalidate_patterns": ["cache:GET:$1"]}]
SECRET = "a secret of the benchmark's own, long enough for HS256"


class BenchError(Exception):
    """The comparison cannot go on; the text is for whoever started it."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.frozen(eq=False)
class Server:
    """A running server; ``logging`` is a second port, with access lines, where it has one."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    logging: int | None = None

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def resident(self) -> int:
        """Bytes resident in memory, of children too."""
        return resident(self.family())

    def cpu(self) -> float:
        """Seconds of processor time used so far, of children too."""
        times = [member.cpu_times() for member in self.family()]
        return float(sum(time.user + time.system for time in times))

    def family(self) -> list[psutil.Process]:
        """The process and its children."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def text(self, path: str) -> str:
        """The body of a GET."""
        with urllib.request.urlopen(self.url(path), timeout=10) as answer:
            body: bytes = answer.read()
        return body.decode()


def resident(family: Iterable[psutil.Process]) -> int:
    """Bytes resident in memory, of all of ``family`` that are still there: nginx has children that soon end."""
    total = 0
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total


class Lab:
    """Starts servers in ``directory``; as a context manager it ends them."""

    def __init__(self, directory: Path, cores: Cores, interpreter: Interpreter = OWN) -> None:
        self.directory = directory
        self.cores = cores
        self.interpreter = interpreter
        self._servers: list[Server] = []
        self._started = 0

    @property
    def described(self) -> str:
        """The machine, and what runs the proxy."""
        return f"{described()}, {self.interpreter.described}"

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self._servers):
            self._end(server)

    def backend(self) -> Server:
        """nginx with the bodies that everybody fetches."""
        place, port = self._place("backend"), free_port()
        (place / "files").mkdir()
        (place / "nginx.conf").write_text(configs.backend(str(place), port))
        return self._nginx("backend", place, port, self.cores.backend)

    def nginx(self, backend: Server) -> Server:
        """nginx with ``proxy_cache``."""
        place, port, logging = self._place("nginx"), free_port(), free_port()
        (place / "nginx.conf").write_text(configs.nginx_cache(str(place), port, logging, backend.port))
        return self._nginx("nginx", place, port, self.cores.server, logging)

    def varnish(self, backend: Server) -> Server:
        """Varnish with its storage in memory."""
        place, port = self._place("varnish"), free_port()
        place.chmod(0o755)
        (place / "default.vcl").write_text(configs.vcl(backend.port))
        command = [_found("varnishd"), "-F", "-n", str(place / "work"), "-a", f"127.0.0.1:{port}"]
        command += ["-f", str(place / "default.vcl"), "-s", "malloc,2g", "-p", "timeout_idle=600"]
        return self._start("varnish", command, port, {self.cores.server}, place)

    def redis(self) -> Server:
        """Redis that keeps nothing on disk."""
        place, port = self._place("redis"), free_port()
        command = [_found("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--maxmemory", "4gb", "--maxmemory-policy", "allkeys-lru"]
        return self._start("redis", command, port, {self.cores.store}, place)

    def proxy(self, backend: Server, name: str = "proxy", **settings: str) -> Server:
        """This proxy, of this checkout; ``settings`` are its environment. With ``WORKERS`` it has two cores."""
        place, port = self._place(name), free_port()
        (place / "rules.json").write_text(json.dumps(RULES))
        environment = {
            "INVALIDATION_CONFIG": str(place / "rules.json"),
            "IGNORED_COOKIES": "_ga,_gid",
            "BACKEND_URL": backend.url(),
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "ACCESS_LOG": "off",
            "JWT_SECRET": SECRET,
            "ADMIN_AUTH": "none",
            "PYTHONPATH": os.pathsep.join((str(ROOT), *self.interpreter.path)),
            **settings,
        }
        command = [self.interpreter.executable, "-c", RUN_TWISTD, "-n", "--pidfile=", "cachingproxy"]
        cores = {self.cores.server, self.cores.second} if "WORKERS" in settings else {self.cores.server}
        return self._start(name, command, port, cores, place, environment)

    def stop(self, server: Server) -> None:
        """End one server before the others."""
        self._servers.remove(server)
        self._end(server)

    def _place(self, name: str) -> Path:
        self._started += 1
        place = self.directory / f"{name}-{self._started}"
        place.mkdir()
        return place

    def _nginx(self, name: str, place: Path, port: int, core: int, logging: int | None = None) -> Server:
        command = [_found("nginx"), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
        return self._start(name, command, port, {core}, place, logging=logging)

    def _start(
        self,
        name: str,
        command: list[str],
        port: int,
        cores: set[int],
        place: Path,
        environment: dict[str, str] | None = None,
        logging: int | None = None,
    ) -> Server:
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        with (place / "out.log").open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=place,
                env={**inherited, **(environment or {})},
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        server = Server(name, port, process, logging)
        self._servers.append(server)
        _wait_until_serving(server, place / "out.log")
        return server

    def _end(self, server: Server) -> None:
        process = server.process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _found(name: str) -> str:
    path = program(name)
    if path is None:
        raise BenchError(f"{name} is not installed")
    return path


def _wait_until_serving(server: Server, log: Path) -> None:
    for _ in _patience(START_SECONDS):
        if server.process.poll() is not None:
            raise BenchError(f"{server.name} ended at once:\n{log.read_text(errors='replace')}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
    raise BenchError(f"{server.name} does not listen:\n{log.read_text(errors='replace')}")


def _patience(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(0.02)
