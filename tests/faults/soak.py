"""A long run with faults at random (``make soak MINUTES=30``): prints a report, and draws it if matplotlib is there.

The load is that of the fault tests: every answer is held against the oracle. Faults come one at a time, by a seed that
is printed, and each ends before the next; now and then everything is invalidated, whatever is broken then, after which
an older answer is a wrong one. The run fails with a wrong byte, a status that the fault does not explain, an event loop
that is late, files that are not given back, or memory that grows or is beyond what is configured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.conftest import World
from faults.soak_faults import Fault, faults_of
from faults.soak_report import Sample, Whole, draw, growth, written
from support.faults_helper import Helper, Report
from support.faulty_link import FaultyLink
from support.proxy_process import ProxyProcess, free_port
from support.redis_server import RedisServer
from support.shifted_clock import ShiftedClock

EVERY_SECONDS = 10.0
LASTS_SECONDS = 4.0
LINGERS = 6
"""Samples after a fault in which clients may still be told of it: a request under way when the backend hung."""

INVALIDATES = 0.02
"""In so many of the samples."""

MOST_BYTES = int((64 + 64) * 1.2 + 100) << 20
"""Hot and burst tier by default, and what the promise of docs/security.md adds."""

GROWTH_BYTES = 16 << 20


class Soak:
    """One run of so many ``seconds``."""

    def __init__(self, world: World, faults: list[Fault], seed: int) -> None:
        self._world = world
        self._faults = faults
        self._chance = random.Random(seed)
        self._pack: list[Fault] = []
        self._now: Fault | None = None
        self._lingers = 0
        self._version = 0
        self.samples: list[Sample] = []
        self.statuses: Counter[str] = Counter()
        self.invalidations: Counter[int] = Counter()
        self.problems: list[str] = []

    def run(self, seconds: float) -> None:
        start = time.monotonic()
        changes = start + EVERY_SECONDS - LASTS_SECONDS
        while (now := time.monotonic()) < start + seconds:
            if now >= changes:
                self._change()
                changes = now + (LASTS_SECONDS if self._now is not None else EVERY_SECONDS - LASTS_SECONDS)
            if self._chance.random() < INVALIDATES:
                self._invalidate(now - start)
            self._sample(now - start)
        if self._now is not None:
            self._now.end()
        for _ in range(6):
            self._sample(time.monotonic() - start)

    def _change(self) -> None:
        if self._now is None:
            if not self._pack:  # each in turn, in an order by chance
                self._pack = self._chance.sample(self._faults, len(self._faults))
            self._now = self._pack.pop()
            self._now.begin()
        else:
            self._now.end()
            self._now, self._lingers = None, LINGERS

    def _invalidate(self, at: float) -> None:
        """A new version of everything, and not a single old answer from then on; 503 is Redis being away."""
        self._version += 1
        self._world.backend.ask(version=self._version)
        body = json.dumps({"pattern": "cache:GET:*:*"}).encode()
        answer = self._world.proxy.request("POST", "/invalidate", {"Content-Type": "application/json"}, body)
        self.invalidations[answer.status] += 1
        if answer.status not in (200, 503):
            self.problems.append(f"at {at:.0f} s: /invalidate says {answer.status} {answer.body[:200]!r}")
        self._take(self._world.seen(oldest=self._version), at)

    def _take(self, report: Report, at: float) -> None:
        fault = self._now
        may = set(fault.statuses if fault is not None else ("200",))
        if self._lingers:
            may |= {"502", "504"}
        self.statuses.update(report.statuses)
        self.problems += [f"at {at:.0f} s: wrong: {each}" for each in report.wrong]
        for status in sorted(set(report.statuses) - may):
            self.problems.append(f"at {at:.0f} s: status {status} during {fault.name if fault else 'no fault'}")

    def _sample(self, at: float) -> None:
        world = self._world
        time.sleep(0.5)
        report = world.seen()
        self._take(report, at)
        self._lingers = max(0, self._lingers - 1)
        memory = world.resident()
        if memory > MOST_BYTES:
            self.problems.append(f"at {at:.0f} s: {memory >> 20} MiB")
        breaker = int(world.metric("circuit_breaker_state"))
        name = self._now.name if self._now is not None else ""
        hits = report.share("HOT_HIT", "HIT")
        self.samples.append(Sample(at, report.asked, hits, report.p99, memory, world.files(), breaker, name))


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    words.add_argument("minutes", type=float)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    words.add_argument("--plot", type=Path, default=Path("soak.png"))
    asked = words.parse_args()
    print(f"soak: {asked.minutes:g} minutes, seed {asked.seed}", flush=True)
    with contextlib.ExitStack() as around, tempfile.TemporaryDirectory() as directory:
        redis = around.enter_context(RedisServer())
        backend = Helper("faults_backend", 0)
        around.callback(backend.stop)
        to_redis = around.enter_context(FaultyLink(redis.port))
        to_backend = around.enter_context(FaultyLink(int(backend.first)))
        clock = ShiftedClock(Path(directory))

        def start(more: Mapping[str, Any], **settings: str) -> ProxyProcess:
            proxy = ProxyProcess(Path(directory), {"PORT": str(free_port()), "HOST": "127.0.0.1", **settings}, **more)
            around.callback(proxy.stop)
            proxy.wait_until_serving()
            return proxy

        world = World("soak", redis, backend, start, around)
        quiet = {"LOG_LEVEL": "warn", "ADMIN_AUTH": "none", **clock.environment}
        world.run(to_backend.port, f"redis://127.0.0.1:{to_redis.port}", **quiet).busy()
        soak = Soak(world, faults_of(world, to_redis, to_backend, clock), asked.seed)
        soak.run(asked.minutes * 60)
        problems = soak.problems
        try:
            world.settle()
        except (AssertionError, pytest.fail.Exception) as problem:
            problems.append(str(problem))
        if (grown := growth(soak.samples)) > GROWTH_BYTES:
            problems.append(f"memory grew by {grown >> 20} MiB from the second third to the last")
        whole = Whole(soak.samples, dict(soak.statuses), dict(soak.invalidations), world.lag_since_base(), problems)
        if problems:
            asked.plot.with_suffix(".log").write_text(world.proxy.log)
    print(written(whole))
    print(f"plot: {asked.plot}" if draw(soak.samples, asked.plot) else "no plot: matplotlib is not installed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
