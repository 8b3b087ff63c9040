"""What the fault tests share: the real daemon between a load and a scripted backend, with a real Redis behind.

After every test: the daemon lives, nothing in its log is a traceback or an error that nobody handled, its event loop
was never late for long, and its open files and memory are back where they were.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.faults_helper import Helper, Report
from support.faults_oracle import SECRET
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

SLACK = float(os.environ.get("FAULTS_SLACK", "5"))
"""How many times a promised time may be taken by a machine that has other things to do."""

LAG = 0.05
MEMORY = 64 << 20
FILES = 40
SIGNS = ("Traceback", "Unhandled", "Error in Deferred")
SETTINGS = {
    "JWT_SECRET": SECRET,
    "HOT_CACHE_MAX_ENTRIES": "400",  # of 900 objects and readers: the rest are hits in Redis
    "BURST_CACHE_MAX_ENTRIES": "50",
    "REDIS_COMMAND_TIMEOUT": "0.3",
    "REDIS_CONNECT_TIMEOUT": "0.5",
    "BREAKER_RECOVERY_SECONDS": "0.5",
    "BACKEND_TIMEOUT": "2",
    "BACKEND_CONNECT_TIMEOUT": "1",
}


@attrs.frozen
class Base:
    """What the daemon held, in files and bytes, and had counted before anything broke."""

    files: int
    memory: int
    lag: Counter[float]
    turns: tuple[float, float]
    """Seconds for which it had a processor, and for which it could have used one that others had."""


class World:
    """The daemon and everybody around it; what ends with the test is in ``around``."""

    def __init__(
        self, name: str, redis: RedisServer, backend: Helper, start: StartProxy, around: contextlib.ExitStack
    ) -> None:
        self.name = name
        self.redis = redis
        self.backend = backend
        self.around = around
        self.ended = False
        """Set where the daemon is meant to be gone."""
        self.memory, self.kept_files = MEMORY, FILES
        """Bytes and files that may be held at the end beyond those at the start: what a test fills the caches with, and
        connections to the backend that wait for the next request."""
        self.more: dict[str, Any] = {}
        """Of :class:`ProxyProcess`: under which circumstances the daemon runs."""
        self.load: Helper | None = None
        self.proxy: ProxyProcess
        self.base: Base | None = None
        self._start = start

    # -- beginning

    def run(self, backend_port: int | None = None, cache_url: str | None = None, **settings: str) -> World:
        """Start the daemon; it is warm after its first answers."""
        where = {"BACKEND_URL": f"http://127.0.0.1:{backend_port or self.backend.first}"}
        told = {"CACHE_URL": cache_url or self.redis.url, **where, **SETTINGS, **settings}
        self.proxy = self._start(more=self.more, **told)
        self.rest()
        return self

    def busy(self, cached: float = 0.8) -> World:
        """Start the load, and see that all is well before anything breaks; ``cached`` is the least share of hits."""
        self.load = Helper("faults_load", self.proxy.port)
        self.around.callback(self.load.stop)
        assert self.load.first == "ready"
        self.seen()
        healthy = self.watch(1).hold()
        assert healthy.share("HOT_HIT", "HIT") > cached, healthy
        self.healthy = healthy
        self.rest()
        return self

    def rest(self) -> None:
        """What is held now is what is to be held at the end."""
        self.base = Base(self.files(), self.resident(), self.lags(), self.turns())

    # -- looking

    def watch(self, seconds: float, **words: object) -> Report:
        """What the load sees in the next ``seconds``."""
        self.seen(**words)
        time.sleep(seconds)
        report = self.seen()
        assert report.asked > 0 or seconds < 1, "the load stands still"
        return report

    def seen(self, **words: object) -> Report:
        assert self.load is not None
        return Report(**self.load.ask(**words))  # type: ignore[arg-type]

    def note(self, what: str) -> None:
        """A figure for the report."""
        REPORT.append(f"| {self.name} | {what} |")

    def until(self, condition: Callable[[Report], bool], what: str, seconds: float = 2.0, **hold: object) -> float:
        """Watch until ``condition`` holds; after how many seconds that was."""
        start = time.monotonic()
        while True:
            report = self.watch(0.2).hold(**hold)  # type: ignore[arg-type]
            if condition(report):
                took = time.monotonic() - start
                self.note(f"{what} after {took:.1f} s")
                return took
            assert time.monotonic() - start < seconds * SLACK, f"not within {seconds} s: {what}; {report}"

    def metric(self, name: str) -> float:
        """The sum of a metric's series."""
        text = self.proxy.get("/metrics").body.decode()
        return sum(float(each) for each in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))

    def warnings(self, word: str) -> list[str]:
        """Log lines of level warn or above that contain ``word``."""
        lines = self.proxy.log_lines_so_far()
        return [str(line["msg"]) for line in lines if line["level"] in ("warn", "error") and word in str(line["msg"])]

    def pids(self) -> list[int]:
        """The daemon, and its workers if it has any."""
        children = Path(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/children").read_text()
        return [self.proxy.pid, *map(int, children.split())]

    def files(self) -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids())

    def resident(self) -> int:
        return sum(_resident(pid) for pid in self.pids())

    def turns(self) -> tuple[float, float]:
        each = [_turns(pid) for pid in self.pids()]
        return sum(had for had, _ in each), sum(waited for _, waited in each)

    def stretch(self) -> float:
        """How many times as long as on a machine of its own everything took since the base."""
        assert self.base is not None
        had, waited = (now - before for now, before in zip(self.turns(), self.base.turns, strict=True))
        return max(1.0, 1 + waited / had) if had > 0 else 1.0

    def lags(self) -> Counter[float]:
        """How often the daemon's event loop was late, by at most how many seconds."""
        text = self.proxy.get("/metrics").body.decode()
        found = re.findall(r'^event_loop_lag_seconds_bucket{.*?le="(\S+?)".*?} (\S+)$', text, re.MULTILINE)
        return Counter({float(bound): int(float(count)) for bound, count in found})

    def forget_lag(self) -> None:
        """Count anew: a worker that was killed took along what it had counted."""
        assert self.base is not None
        self.base = attrs.evolve(self.base, lag=self.lags(), turns=self.turns())

    def lag_since_base(self) -> Counter[float]:
        assert self.base is not None
        return Counter({bound: count - self.base.lag[bound] for bound, count in self.lags().items()})

    # -- ending

    def settle(self) -> None:
        """What holds after every test."""
        if not self.ended:
            assert self.proxy.process.poll() is None, f"the daemon died:\n{self.proxy.log[-3000:]}"
        log = self.proxy.log
        for sign in SIGNS:
            at = log.find(sign)
            assert at < 0, log[max(0, at - 1000) : at + 4000]
        if self.base is not None and not self.ended:
            self._was_not_late()
            files, memory = self.base.files + self.kept_files, self.base.memory + self.memory
            wait_for(lambda: self.files() <= files, f"at most {files} open files")
            assert self.resident() <= memory, f"{self.resident() >> 20} MiB, {self.base.memory >> 20} before"

    def _was_not_late(self) -> None:
        """99 of 100 looks at the event loop came in time, but for two: a short test takes few."""
        lag, stretch = self.lag_since_base(), self.stretch()
        total = lag[float("inf")]
        most = min(bound for bound in lag if bound >= 0.9 * LAG * stretch)
        late = total - lag[most]
        assert late <= 0.01 * total + 2, f"late by over {most:g} s {late} times of {total}, {stretch:.1f}: {lag}"
        if self.load is not None:
            p99 = next(bound for bound in sorted(lag) if lag[bound] >= 0.99 * total)
            self.note(f"event loop late by {p99:g} s at most, 99 of 100 times; waits for a processor: × {stretch:.1f}")


REPORT: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of docs/reliability.md; ``FAULTS_REPORT=1`` prints them."""
    if REPORT and os.environ.get("FAULTS_REPORT"):
        terminalreporter.write_line("\n".join(("| fault | measured |", "| --- | --- |", *REPORT)))


def _turns(pid: int) -> tuple[float, float]:
    with contextlib.suppress(OSError):
        had, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return int(had) / 1e9, int(waited) / 1e9
    return 0.0, 0.0


def _resident(pid: int) -> int:
    """Bytes in memory; none if the process has ended."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
    return 0


@pytest.fixture
def world(request: pytest.FixtureRequest, start_proxy: StartProxy) -> Iterator[World]:
    """A :class:`World` whose daemon is not started yet."""
    with contextlib.ExitStack() as around:
        redis = around.enter_context(RedisServer())
        backend = Helper("faults_backend", 0)
        around.callback(backend.stop)
        made = World(request.node.name.removeprefix("test_"), redis, backend, start_proxy, around)
        yield made
        made.settle()
