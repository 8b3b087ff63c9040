"""What the fault tests share: the real daemon between a load and a scripted backend, with a real Redis behind.

After every test: the daemon lives, nothing in its log is a traceback or an error that nobody handled, its event loop
was never late for long, and its open files and memory are back where they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from support.faults_oracle import SECRET
from support.proxy_process import ProxyProcess, StartProxy
from support.redis_server import RedisServer

TESTS = Path(__file__).resolve().parents[1]
SLACK = float(os.environ.get("FAULTS_SLACK", "5"))
"""How many times a promised time may be taken by a machine that has other things to do."""

LAG = 0.05
MEMORY = 64 << 20
FILES = 40
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


class Helper:
    """A process beside the daemon that answers each line of JSON with another."""

    def __init__(self, module: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"support.{module}", str(port)],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._line().strip()

    def ask(self, **words: object) -> dict[str, object]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        told: dict[str, object] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a helper process ended"
        return line

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@attrs.frozen
class Report:
    """What the load saw since the last report; times in milliseconds."""

    asked: int
    broken: int
    statuses: dict[str, int]
    caches: dict[str, int]
    wrong: list[str]
    p50: float
    p99: float
    lag: float
    """How late the load's own event loop is, in seconds (99 of 100 times): what the machine itself costs."""

    def share(self, *caches: str) -> float:
        return sum(self.caches.get(cache, 0) for cache in caches) / max(1, self.asked)

    def hold(self, statuses: tuple[str, ...] = ("200",), broken: int = 0) -> Report:
        """No wrong byte, no other status, no broken connection."""
        assert self.wrong == []
        assert set(self.statuses) <= set(statuses), self
        assert self.broken <= broken, self
        return self


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
        self.load: Helper
        self.proxy: ProxyProcess
        self._start = start

    def run(self, backend_port: int | None = None, cache_url: str | None = None, **settings: str) -> World:
        """Start the daemon."""
        port = backend_port or int(self.backend.first)
        self.proxy = self._start(
            BACKEND_URL=f"http://127.0.0.1:{port}", CACHE_URL=cache_url or self.redis.url, **{**SETTINGS, **settings}
        )
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
        self.base = (self.files(), self.resident(), self.lags())
        return self

    def watch(self, seconds: float, **words: object) -> Report:
        """What the load sees in the next ``seconds``."""
        self.seen(**words)
        time.sleep(seconds)
        report = self.seen()
        assert report.asked > 0 or seconds < 1, "the load stands still"
        return report

    def seen(self, **words: object) -> Report:
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

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.proxy.pid}/fd").iterdir()))

    def resident(self) -> int:
        status = Path(f"/proc/{self.proxy.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def lags(self) -> Counter[float]:
        """How often the daemon's event loop was late, by at most how many seconds."""
        text = self.proxy.get("/metrics").body.decode()
        found = re.findall(r'^event_loop_lag_seconds_bucket{.*?le="(\S+?)".*?} (\S+)$', text, re.MULTILINE)
        return Counter({float(bound): int(float(count)) for bound, count in found})

    def settle(self) -> None:
        """What holds after every test."""
        if not self.ended:
            assert self.proxy.process.poll() is None, f"the daemon died:\n{self.proxy.log[-3000:]}"
        for sign in ("Traceback", "Unhandled", "Error in Deferred"):
            assert sign not in self.proxy.log, self.proxy.log[-3000:]
        if hasattr(self, "base") and not self.ended:
            files, memory, before = self.base
            lag, usual = _quantile(self.lags() - before, 0.95), self.seen().lag
            assert lag <= LAG + 3 * usual, f"the event loop was {lag} s late; the load's, which does little, {usual} s"
            assert self.files() <= files + FILES
            assert self.resident() <= memory + MEMORY


REPORT: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of docs/reliability.md; ``FAULTS_REPORT=1`` prints them."""
    if REPORT and os.environ.get("FAULTS_REPORT"):
        terminalreporter.write_line("\n".join(("| fault | measured |", "| --- | --- |", *REPORT)))


def _quantile(counts: Counter[float], share: float) -> float:
    """The bound below which ``share`` of what a histogram's buckets counted lies."""
    total = counts[float("inf")]
    return next(bound for bound in sorted(counts) if counts[bound] >= share * total)


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
