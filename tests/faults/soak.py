"""A long run with faults at random (``make soak MINUTES=30``): prints a report, and draws it if matplotlib is there.

The load is that of the fault tests: every answer is held against the oracle. Faults come one at a time, by a seed that
is printed, and each ends before the next. The run fails with a wrong byte, a status that the fault does not explain, or
memory beyond what is configured.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.conftest import Helper, World
from support.faulty_link import FaultyLink
from support.proxy_process import ProxyProcess, free_port
from support.redis_server import RedisServer

EVERY_SECONDS = 12.0
LASTS_SECONDS = 4.0
MOST_BYTES = int((64 + 64) * 1.2 + 100) << 20
"""Hot and burst tier by default, and what the promise of docs/security.md adds."""


@attrs.frozen
class Fault:
    """What breaks, what mends it, and the statuses that it explains."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    statuses: tuple[str, ...] = ("200",)


@attrs.define
class Second:
    """One sample."""

    at: float
    asked: int
    hits: float
    p99: float
    memory: int
    breaker: int
    fault: str


def faults_of(world: World, to_redis: FaultyLink, to_backend: FaultyLink) -> list[Fault]:
    """Everything that may happen."""
    redis, backend = world.redis, world.backend
    failing = ("200", "502", "504")
    return [
        Fault("Redis killed", redis.kill, redis.start),
        Fault("Redis frozen", redis.freeze, redis.thaw),
        Fault("Redis emptied", lambda: redis.cli("FLUSHALL"), lambda: None),
        Fault(
            "Redis read-only",
            lambda: redis.cli("REPLICAOF", "127.0.0.1", "1"),
            lambda: redis.cli("REPLICAOF", "NO", "ONE"),
        ),
        Fault(
            "Redis out of memory",
            lambda: redis.cli("CONFIG", "SET", "maxmemory", "1"),
            lambda: redis.cli("CONFIG", "SET", "maxmemory", "0"),
        ),
        Fault("Redis cut off", to_redis.cut, to_redis.cut),
        Fault("Redis silent", lambda: to_redis.silence(True), lambda: (to_redis.cut(), to_redis.silence(False))),
        Fault("Redis slow", lambda: setattr(to_redis, "delay", 0.1), lambda: setattr(to_redis, "delay", 0.0)),
        Fault("backend cut off", to_backend.cut, to_backend.cut, failing),
        Fault("backend hangs", lambda: backend.ask(fault="hang"), lambda: backend.ask(fault=None), failing),
        Fault("backend resets", lambda: backend.ask(fault="reset", at=5), lambda: backend.ask(fault=None), failing),
        Fault("SIGHUP", lambda: world.proxy.signal(signal.SIGHUP), lambda: None),
    ]


class Soak:
    """One run of so many ``seconds``."""

    def __init__(self, world: World, faults: list[Fault], seed: int) -> None:
        self._world = world
        self._faults = faults
        self._chance = random.Random(seed)
        self._now: Fault | None = None
        self._lingers = 0  # samples in which an answer may still be owed to a fault that has ended
        self.seconds: list[Second] = []
        self.statuses: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, seconds: float) -> None:
        start = time.monotonic()
        changes = start + EVERY_SECONDS
        while (now := time.monotonic()) < start + seconds:
            if now >= changes:
                self._change()
                changes = now + (LASTS_SECONDS if self._now is not None else EVERY_SECONDS - LASTS_SECONDS)
            self._sample(now - start)
        if self._now is not None:
            self._now.end()

    def _change(self) -> None:
        if self._now is None:
            self._now = self._chance.choice(self._faults)
            self._now.begin()
        else:
            self._now.end()
            self._now, self._lingers = None, 4

    def _sample(self, at: float) -> None:
        world, fault = self._world, self._now
        report = world.watch(0.5)
        may = {"200", "502", "504"} if self._lingers else set(fault.statuses if fault is not None else ("200",))
        self._lingers = max(0, self._lingers - 1)
        self.statuses.update(report.statuses)
        self.problems += report.wrong
        for status in sorted(set(report.statuses) - may):
            self.problems.append(f"at {at:.0f} s: status {status} during {fault.name if fault else 'no fault'}")
        memory = world.resident()
        if memory > MOST_BYTES:
            self.problems.append(f"at {at:.0f} s: {memory >> 20} MiB")
        breaker = int(world.metric("circuit_breaker_state"))
        name = fault.name if fault is not None else ""
        self.seconds.append(Second(at, report.asked, report.share("HOT_HIT", "HIT"), report.p99, memory, breaker, name))


def draw(soak: Soak, path: Path) -> bool:
    """Latency, memory, hit ratio and breaker over time, faults marked; whether that could be drawn."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    at = [each.at for each in soak.seconds]
    rows = (
        ("p99 of hot hits, ms", [each.p99 for each in soak.seconds]),
        ("resident, MiB", [each.memory / (1 << 20) for each in soak.seconds]),
        ("from the cache", [each.hits for each in soak.seconds]),
        ("breaker (2: open)", [each.breaker for each in soak.seconds]),
    )
    figure, axes = pyplot.subplots(len(rows), 1, sharex=True, figsize=(12, 9))
    for axis, (label, values) in zip(axes, rows, strict=True):
        axis.plot(at, values, linewidth=0.9)
        axis.set_ylabel(label)
        for each in soak.seconds:
            if each.fault:
                axis.axvspan(each.at, each.at + 0.5, color="tab:red", alpha=0.12, linewidth=0)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    return True


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

        def start(**settings: str) -> ProxyProcess:
            proxy = ProxyProcess(Path(directory), {"PORT": str(free_port()), "HOST": "127.0.0.1", **settings})
            around.callback(proxy.stop)
            proxy.wait_until_serving()
            return proxy

        world = World("soak", redis, backend, start, around)
        world.run(to_backend.port, f"redis://127.0.0.1:{to_redis.port}", LOG_LEVEL="warn").busy()
        soak = Soak(world, faults_of(world, to_redis, to_backend), asked.seed)
        soak.run(asked.minutes * 60)
        log = world.proxy.log
        soak.problems += [sign for sign in ("Traceback", "Unhandled") if sign in log]
    return report(soak, draw(soak, asked.plot), asked.plot)


def report(soak: Soak, drawn: bool, plot: Path) -> int:
    """Print what was seen; the exit status."""
    samples = soak.seconds
    quiet = sorted(each.p99 for each in samples if not each.fault)
    broken = sorted(each.p99 for each in samples if each.fault)
    print(f"requests: {sum(each.asked for each in samples):,}; by status {dict(sorted(soak.statuses.items()))}")
    for name, values in (("without", quiet), ("during", broken)):
        if values:
            print(f"p99 of hot hits {name} faults: median {values[len(values) // 2]:.1f} ms, worst {values[-1]:.1f} ms")
    print(f"resident: {samples[0].memory >> 20} MiB at first, {max(each.memory for each in samples) >> 20} MiB at most")
    faults = Counter(each.fault for each in samples if each.fault)
    print("faults: " + ", ".join(f"{name} {count / 2:.0f} s" for name, count in faults.most_common()))
    print(f"plot: {plot}" if drawn else "no plot: matplotlib is not installed")
    for problem in soak.problems[:20]:
        print(f"PROBLEM: {problem}")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
