"""wrk, pinned to its core: what it is to send, and what it saw."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import attrs

from bench.machine import program
from bench.servers import BenchError

SCRIPT = Path(__file__).with_name("requests.lua")

BROWSER = (
    ("Host", "shop.example"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example/catalogue?page=3"),
    ("Connection", "keep-alive"),
    ("DNT", "1"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Site", "same-origin"),
    ("X-Requested-With", "XMLHttpRequest"),
)
"""Twelve fields as a browser sends them."""


@attrs.frozen(kw_only=True)
class Load:
    """What to send. ``mode`` is one of requests.lua's; ``fields`` come first in every request."""

    mode: str = "cycle"
    count: int = 64
    method: str = "GET"
    path: str = "/items/"
    body: str = ""
    fields: tuple[tuple[str, str], ...] = BROWSER
    tokens: tuple[str, ...] = ()
    connections: int = 64


@attrs.frozen
class Sample:
    """What one run of wrk saw. Latencies in microseconds; ``failed`` are answers of 400 and above."""

    requests: int
    seconds: float
    bytes: int
    p50: int
    p99: int
    failed: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def throughput(self) -> float:
        """Megabytes (10⁶) a second."""
        return self.bytes / self.seconds / 1e6


def run(url: str, load: Load, seconds: float, core: int, prefix: str, directory: Path) -> Sample:
    """Send ``load`` to ``url`` from ``core``; ``prefix`` goes into every target. Raises BenchError."""
    wrk = program("wrk")
    if wrk is None:
        raise BenchError("wrk is not installed")
    command = [wrk, "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url],
        env=_environment(load, prefix, directory),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    for line in done.stdout.splitlines():
        if line.startswith("BENCH "):
            return Sample(**json.loads(line[6:]))
    raise BenchError(f"wrk gave no figures:\n{done.stdout}{done.stderr}")


def _environment(load: Load, prefix: str, directory: Path) -> dict[str, str]:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "BENCH_MODE": load.mode,
        "BENCH_COUNT": str(load.count),
        "BENCH_METHOD": load.method,
        "BENCH_PATH": load.path,
        "BENCH_PREFIX": prefix,
        "BENCH_BODY": load.body,
        "BENCH_FIELDS": "".join(f"{name}: {value}\n" for name, value in load.fields),
    }
    if load.tokens:
        file = directory / "tokens"
        file.write_text("\n".join(load.tokens))
        environment["BENCH_TOKENS"] = str(file)
    return environment
