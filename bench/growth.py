"""How cost grows: with connections, hot entries, bodies, request fields, and keys to look through when invalidating.

Costs are processor time for one answer, as a multiple of nginx's or of the first point's: other programs on the
machine disturb that least.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import attrs

from bench import load as wrk
from bench.curves import Curve, relative
from bench.load import BROWSER, Load
from bench.machine import program
from bench.prefill import fill_redis, invalidate
from bench.servers import Lab, Server

IDLE = (0, 10, 100, 1_000, 10_000)
ENTRIES = (1_000, 10_000, 100_000, 500_000)
BODIES = tuple(1024 * 4**power for power in range(6))
FIELDS = (1, 2, 4, 8, 16, 24, 32, 40)
KEYS = (1_000, 10_000, 100_000, 1_000_000)
FILL_RATE = 1500
"""Entries a second that a proxy takes in at the very least."""

Say = Callable[[str], None]


class Growth:
    """Measures curves in ``lab``, ``seconds`` for each point."""

    def __init__(self, lab: Lab, seconds: float, say: Say) -> None:
        self._lab = lab
        self._seconds = seconds
        self._say = say
        self._backend = lab.backend()
        self._files = sorted(lab.directory.glob("backend-*/files"))[-1]

    def curves(self, only: Sequence[str] = ()) -> Iterator[Curve]:
        """Every curve, the quick ones first; with ``only`` those whose method's name contains one of these."""
        measures = (self.fields, self.bodies, self.connections, self.invalidation, self.entries)
        for measure in measures:
            if not only or any(text in measure.__name__ for text in only):
                yield from measure()

    def _cost(self, server: Server, load: Load, prime: float = 1.0) -> tuple[float, float]:
        """Microseconds of processor time for one answer, and answers a second."""
        if prime:
            self._send(server, load, prime)
        used = server.cpu()
        sample = self._send(server, load, self._seconds)
        cost = (server.cpu() - used) / max(1, sample.requests) * 1e6
        self._say(f"{server.name}: {cost:,.1f} µs of CPU, {sample.rate:,.0f} req/s")
        return cost, sample.rate

    def _send(self, server: Server, load: Load, seconds: float) -> wrk.Sample:
        return wrk.run(server.url(), load, seconds, self._lab.cores.load, "", self._lab.directory)

    def _each(self, loads: Sequence[Load]) -> dict[str, list[float]]:
        """Costs of each load on every server, nginx's first."""
        costs: dict[str, list[float]] = {}
        for server in self._servers():
            with self._running(server):
                costs[server.name] = [self._cost(server, load)[0] for load in loads]
        return costs

    def _servers(self, **settings: str) -> Iterator[Server]:
        """nginx, Varnish if it is installed, and the proxy with ``settings``; started when their turn comes."""
        yield self._lab.nginx(self._backend)
        if program("varnishd") is not None:
            yield self._lab.varnish(self._backend)
        yield self._lab.proxy(self._backend, **settings)

    @contextmanager
    def _running(self, server: Server) -> Iterator[Server]:
        try:
            yield server
        finally:
            self._lab.stop(server)

    def fields(self) -> tuple[Curve, ...]:
        """Request fields, heads repeated and heads that all differ."""
        loads = [Load(fresh=False, fields=_fields(count), agents=(), languages=()) for count in FIELDS]
        costs = self._each(loads)
        with self._running(self._lab.proxy(self._backend)) as proxy:
            costs[f"{proxy.name}, no two heads alike"] = [
                self._cost(proxy, attrs.evolve(load, fresh=True))[0] for load in loads
            ]
        curve = Curve(
            name="fields",
            title="A hot hit as requests carry more fields",
            x_label="fields in the request",
            y_label="CPU for one answer, nginx with one field = 1",
            xs=FIELDS,
            series=_relative_to_nginx(costs),
        )
        return (curve,)

    def bodies(self) -> tuple[Curve, ...]:
        """Bodies of hot hits."""
        for size in BODIES:
            (self._files / f"{size}-0").write_bytes(b"x" * size)
        costs = self._each([Load(path=f"/files/{size}-", count=1) for size in BODIES])
        curve = Curve(
            name="bodies",
            title="A hot hit as bodies grow",
            x_label="bytes of body",
            y_label="CPU for one answer, nginx with 1 KiB = 1",
            xs=BODIES,
            series=_relative_to_nginx(costs),
            log_y=True,
        )
        return (curve,)

    def connections(self) -> tuple[Curve, ...]:
        """Idle connections beside 64 busy ones."""
        costs: dict[str, list[float]] = {}
        for server in self._servers(IDLE_TIMEOUT="600"):
            with self._running(server):
                measured = costs[server.name] = []
                for count in IDLE:
                    with idle_connections(server, count):
                        measured.append(self._cost(server, Load())[0])
        curve = Curve(
            name="connections",
            title="A hot hit on 64 connections beside idle ones",
            x_label="idle connections",
            y_label="CPU for one answer, nginx without = 1",
            xs=IDLE,
            series=_relative_to_nginx(costs),
        )
        return (curve,)

    def entries(self) -> tuple[Curve, ...]:
        """Entries in the hot tier, asked for without any order: time, and memory beside the bodies."""
        costs, overheads = [], []
        for count in ENTRIES:
            settings = {"HOT_CACHE_MAX_ENTRIES": str(2 * count), "HOT_CACHE_MAX_BYTES": "8GiB"}
            settings |= {"HOT_CACHE_TTL_SECONDS": "3600", "MEMORY_STORE_MAX_BYTES": "1"}
            with self._running(self._lab.proxy(self._backend, **settings)) as proxy:
                load = Load(mode="spread", count=count)
                self._send(proxy, Load(), 1.0)
                before = proxy.resident()
                while _hot_entries(proxy) < count:
                    self._send(proxy, load, max(1.0, count / FILL_RATE / 4))
                overheads.append((proxy.resident() - before) / count - 1024)
                costs.append(self._cost(proxy, load, prime=0)[0])
        time_curve = Curve(
            name="entries",
            title="A hot hit as the hot tier grows, every entry equally often",
            x_label="entries",
            y_label="CPU for one answer, 1,000 entries = 1",
            xs=ENTRIES,
            series={"proxy": relative(costs)},
        )
        memory = Curve(
            name="memory",
            title="Memory for each entry of the hot tier, beside its body of 1 KiB",
            x_label="entries",
            y_label="bytes",
            xs=ENTRIES,
            series={"proxy": overheads},
        )
        return time_curve, memory

    def invalidation(self) -> tuple[Curve, ...]:
        """One pattern that matches 100 keys, among more and more others."""
        seconds = []
        for count in KEYS:
            redis = self._lab.redis()
            with self._running(redis):
                settings = {"CACHE_URL": f"redis://127.0.0.1:{redis.port}", "REDIS_COMMAND_TIMEOUT": "60"}
                with self._running(self._lab.proxy(self._backend, **settings)) as proxy:
                    fill_redis(redis.port, "/other/", count)
                    took = []
                    for _ in range(3):
                        fill_redis(redis.port, "/wanted/", 100)
                        began = time.monotonic()
                        invalidate(proxy, "cache:GET:*:/wanted/*", 100)
                        took.append(time.monotonic() - began)
                    seconds.append(median(took))
                    self._say(f"{count:,} keys: {seconds[-1] * 1000:,.1f} ms")
        curve = Curve(
            name="invalidation",
            title="One invalidation of 100 keys among others in Redis",
            x_label="keys in Redis",
            y_label="milliseconds",
            xs=KEYS,
            series={"proxy": [value * 1000 for value in seconds]},
            log_y=True,
        )
        return (curve,)


def _relative_to_nginx(costs: dict[str, list[float]]) -> dict[str, list[float]]:
    """Costs as multiples of nginx's at the first point."""
    return {name: relative(values, costs["nginx"][0]) for name, values in costs.items()}


def _fields(count: int) -> tuple[tuple[str, str], ...]:
    """``count`` request fields, Host first, those of a browser before made-up ones."""
    made_up = [(f"X-Field-{number}", f"value of field {number}") for number in range(40)]
    return tuple([*BROWSER, *made_up][:count])


def _hot_entries(proxy: Server) -> int:
    for line in proxy.text("/metrics").splitlines():
        if line.startswith("hot_cache_entries "):
            return int(float(line.split()[1]))
    return 0


@contextmanager
def idle_connections(server: Server, count: int) -> Iterator[None]:
    """``count`` connections that have asked once and stay."""
    request = b"GET /items/0 HTTP/1.1\r\nHost: idle.example\r\n\r\n"
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", server.port), 20)
            held.append(connection)
            connection.sendall(request)
            connection.recv(65536)
        yield
    finally:
        for connection in held:
            connection.close()
