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
        self.memory = MEMORY
        """Bytes that may be held at the end beyond those at the start: what a test fills the caches with."""
        self.load: Helper | None = None
        self.proxy: ProxyProcess
        self.base: Base | None = None
        self._start = start

    # -- beginning

    def run(self, backend_port: int | None = None, cache_url: str | None = None, **settings: str) -> World:
        """Start the daemon; it is warm after its first answers."""
        where = {"BACKEND_URL": f"http://127.0.0.1:{backend_port or self.backend.first}"}
        self.proxy = self._start(**{"CACHE_URL": cache_url or self.redis.url, **where, **SETTINGS, **settings})
        self.rest()
        return self

    def busy(self) -> World:
        """Start the load, and see that all is well before anything breaks."""
        self.load = Helper("faults_load", self.proxy.port)
        self.around.callback(self.load.stop)
        assert self.load.first == "ready"
        self.seen()
        healthy = self.watch(1).hold()
        assert healthy.share("HOT_HIT", "HIT") > 0.8, healthy
        self.healthy = healthy
        self.rest()
        return self

    def rest(self) -> None:
        """What is held now is what is to be held at the end."""
        self.base = Base(self.files(), self.resident(), self.lags())

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

    def lags(self) -> Counter[float]:
        """How often the daemon's event loop was late, by at most how many seconds."""
        text = self.proxy.get("/metrics").body.decode()
        found = re.findall(r'^event_loop_lag_seconds_bucket{.*?le="(\S+?)".*?} (\S+)$', text, re.MULTILINE)
        return Counter({float(bound): int(float(count)) for bound, count in found})

    def forget_lag(self) -> None:
        """Count anew: a worker that was killed took along what it had counted."""
        assert self.base is not None
        self.base = attrs.evolve(self.base, lag=self.lags())

    def lag_since_base(self) -> Counter[float]:
        assert self.base is not None
        return Counter({bound: count - self.base.lag[bound] for bound, count in self.lags().items()})

    # -- ending

    def settle(self) -> None:
        """What holds after every test."""
        if not self.ended:
            assert self.proxy.process.poll() is None, f"the daemon died:\n{self.proxy.log[-3000:]}"
        for sign in SIGNS:
            assert sign not in self.proxy.log, self.proxy.log[-3000:]
        if self.base is not None and not self.ended:
            self._was_not_late()
            files, memory = self.base.files + FILES, self.base.memory + self.memory
            wait_for(lambda: self.files() <= files, f"at most {files} open files")
            assert self.resident() <= memory, f"{self.resident() >> 20} MiB, {self.base.memory >> 20} before"

    def _was_not_late(self) -> None:
        """99 of 100 looks at the event loop came in time, but for two: a short test takes few."""
        lag = self.lag_since_base()
        total = lag[float("inf")]
        usual = 0.0 if self.load is None else self.seen().lag
        most = LAG + 3 * usual if usual else LAG * SLACK
        late = total - max((count for bound, count in lag.items() if bound <= max(most, LAG)), default=0)
        assert late <= 0.01 * total + 2, f"late by more than {most:.3f} s {late} times of {total}: {lag}"


REPORT: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of docs/reliability.md; ``FAULTS_REPORT=1`` prints them."""
    if REPORT and os.environ.get("FAULTS_REPORT"):
        terminalreporter.write_line("\n".join(("| fault | measured |", "| --- | --- |", *REPORT)))


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
