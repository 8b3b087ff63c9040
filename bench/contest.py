"""Alternating rounds: every contender of a path in turn, again and again, so that a noisy minute hits all alike."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from bench import load as wrk
from bench.load import Load, Sample
from bench.machine import program
from bench.scenarios import (
    BIG,
    MANY_URLS,
    NGINX,
    NGINX_LOG,
    PROXY,
    PROXY_LOG,
    PROXY_MEMORY,
    PROXY_ONE,
    PROXY_TWO,
    VARNISH,
    Path,
)
from bench.servers import BenchError, Lab, Server, resident

PROXIES = frozenset({PROXY, PROXY_LOG, PROXY_MEMORY, PROXY_ONE, PROXY_TWO})
_COUNTED = re.compile(r'^http_requests_total\{.*cache_status="([^"]+)".*\} ([0-9.e+]+)$', re.MULTILINE)


@attrs.frozen
class Result:
    """One round of one contender. ``share`` is the part of answers with an expected X-Cache-Status, None where the
    server says no such thing; ``growth`` how many bytes of resident memory were added at the highest; ``cpu`` the
    processor time of the server for one answer, in microseconds: of all figures the one that noise spoils least."""

    path: str
    contender: str
    sample: Sample
    share: float | None
    growth: int
    cpu: float


class Contest:
    """The servers, and rounds on them."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self._lab = lab
        self._say = say
        self._runs = itertools.count()
        self._primed: set[tuple[str, str]] = set()
        self._sent: dict[tuple[int, Load], int] = {}  # by port
        self.servers: dict[str, Server] = {}
        self.backend = lab.backend()
        with (next(lab.directory.glob("backend-*/files")) / "100MiB-0").open("wb") as file:
            file.truncate(BIG)

    def start(self, contenders: Iterable[str]) -> None:
        """Start whoever is not running yet; one whose program is missing is said and left out."""
        for name in dict.fromkeys(contenders):
            if name in self.servers:
                continue
            needs = {NGINX: "nginx", NGINX_LOG: "nginx", VARNISH: "varnishd"}.get(name)
            if needs is not None and program(needs) is None:
                self._say(f"{needs} is not installed: {name} is left out")
                continue
            self.servers[name] = self._started(name)

    def _started(self, name: str) -> Server:
        lab, backend = self._lab, self.backend
        if name == NGINX:
            return lab.nginx(backend)
        if name == NGINX_LOG:
            self.start([NGINX])
            nginx = self.servers[NGINX]
            if nginx.logging is None:
                raise BenchError("nginx has no port with an access log")
            return attrs.evolve(nginx, port=nginx.logging)
        if name == VARNISH:
            return lab.varnish(backend)
        if name == PROXY_MEMORY:
            return lab.proxy(backend, "proxy-memory")
        if name in (PROXY_ONE, PROXY_TWO):
            return lab.proxy(backend, "proxy-workers", WORKERS="1" if name == PROXY_ONE else "2")
        if "redis" not in self.servers:
            self.servers["redis"] = lab.redis()
        redis = self.servers["redis"].port
        if name == PROXY_LOG:
            return lab.proxy(backend, "proxy-log", CACHE_URL=f"redis://127.0.0.1:{redis}/1", ACCESS_LOG="on")
        return lab.proxy(backend, "proxy", CACHE_URL=f"redis://127.0.0.1:{redis}/0")

    def rounds(self, paths: Sequence[Path], rounds: int, seconds: float) -> list[Result]:
        """``rounds`` of ``seconds`` seconds each for every contender of ``paths`` that runs.

        A round goes through all paths, because some claims compare one path with another.
        """
        for path in paths:
            self.start(path.contenders)
        return [
            self._round(path, name, seconds, number + 1)
            for number in range(rounds)
            for path in paths
            for name in path.contenders
            if name in self.servers
        ]

    def _round(self, path: Path, name: str, seconds: float, number: int) -> Result:
        self._prime(path, name)
        result = self.measure(path, name, seconds)
        figure = f"{result.sample.throughput:,.0f} MB/s" if path.in_bytes else f"{result.sample.rate:,.0f} req/s"
        self._say(f"round {number}, {path.name}, {name}: {figure}, {result.cpu:,.1f} µs of CPU")
        return result

    def measure(self, path: Path, name: str, seconds: float) -> Result:
        """One run of wrk, with what the server and its memory have to say about it."""
        server = self.servers[name]
        before = _statuses(server) if name in PROXIES else {}
        used = server.cpu()
        with _watched(server) as growth:
            sample = self._run(server, path.load, seconds, unique=path.load.mode == "unique")
        cpu = (server.cpu() - used) / max(1, sample.requests) * 1e6
        share = None
        if name in PROXIES:
            after = _statuses(server)
            counts = {status: after[status] - before.get(status, 0) for status in after}
            answered = sum(count for status, count in counts.items())
            share = sum(counts.get(status, 0) for status in path.statuses) / answered if answered else 0.0
        return Result(path.name, name, sample, share, growth[0], cpu)

    def _prime(self, path: Path, name: str) -> None:
        """Every URL once, so that it is stored; the first time at leisure."""
        if not path.primed:
            return
        first = (path.name, name) not in self._primed
        self._primed.add((path.name, name))
        if first:
            asked, seconds = 0, max(1.0, path.load.count / 4000)
            while asked < path.load.count:
                asked += self._run(self.servers[name], path.load, seconds, priming=True).requests
        elif path.load.count < MANY_URLS:  # many URLs must not come from the memory that priming has filled
            self._run(self.servers[name], path.load, 1.0, priming=True)

    def _run(
        self, server: Server, load: Load, seconds: float, *, unique: bool = False, priming: bool = False
    ) -> Sample:
        prefix = f"{next(self._runs)}-" if unique else ""
        first = self._sent.get((server.port, load), 0)
        going_on = attrs.evolve(load, first=first)
        sample = wrk.run(server.url(), going_on, seconds, self._lab.cores.load, prefix, self._lab.directory)
        # Each connection has asked for one more that was not answered: in priming that is asked for again, or nobody
        # would have it; in a run it would come from memory.
        self._sent[server.port, load] = first + sample.requests + (0 if priming else load.connections)
        return sample


def _statuses(server: Server) -> dict[str, float]:
    """Answers so far by X-Cache-Status."""
    counts: dict[str, float] = {}
    for status, value in _COUNTED.findall(server.text("/metrics")):
        counts[status] = counts.get(status, 0) + float(value)
    return counts


@contextmanager
def _watched(server: Server) -> Iterator[list[int]]:
    """A list whose one number becomes the highest growth of resident memory meanwhile, in bytes.

    The processes are looked for once: to search all of the system for children takes two milliseconds of a core that
    is being measured, ten times a second, which one request in a hundred has to wait for.
    """
    family = server.family()
    start = resident(family)
    growth, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            growth[0] = max(growth[0], resident(family) - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        over.set()
        watcher.join()
