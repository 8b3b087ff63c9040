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
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example/catalogue?page=3"),
    ("Connection", "keep-alive"),
    ("DNT", "1"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Site", "same-origin"),
    ("X-Requested-With", "XMLHttpRequest"),
)
"""Ten of the twelve fields that a browser sends; the two others are of these:"""

AGENTS = tuple(
    f"Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
    for system in ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10.15", "Android 14")
    for version in range(90, 140)
)
LANGUAGES = tuple(
    f"{first}-{first.upper()},{first};q=0.9,{second};q=0.{weight}"
    for first, second in (("de", "en"), ("en", "fr"), ("fr", "de"), ("it", "en"), ("es", "pt"))
    for weight in range(1, 6)
    for second in (second, "nl")
)


@attrs.frozen(kw_only=True)
class Load:
    """What to send. ``mode`` is one of requests.lua's; ``fields`` come first in every request.

    ``fresh``: no two heads are alike. ``share``, ``conditional`` and ``posts`` are percentages: of requests with one
    of ``tokens``, with If-None-Match and ``tag``, and of POSTs in place of what ``method`` says.
    """

    mode: str = "cycle"
    fresh: bool = True
    count: int = 64
    method: str = "GET"
    path: str = "/items/"
    body: str = ""
    fields: tuple[tuple[str, str], ...] = BROWSER
    agents: tuple[str, ...] = AGENTS
    languages: tuple[str, ...] = LANGUAGES
    tokens: tuple[str, ...] = ()
    share: int = 100
    conditional: int = 0
    tag: str = ""
    posts: int = 0
    cookies: bool = False
    connections: int = 64
    first: int = 0
    """How many such requests were sent before: this run goes on from there, so that no head and no place in the order
    of the URLs comes again sooner than it should."""


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
        "BENCH_FRESH": "1" if load.fresh else "",
        "BENCH_COUNT": str(load.count),
        "BENCH_FIRST": str(load.first),
        "BENCH_METHOD": load.method,
        "BENCH_PATH": load.path,
        "BENCH_PREFIX": prefix,
        "BENCH_BODY": load.body,
        "BENCH_FIELDS": "".join(f"{name}: {value}\n" for name, value in load.fields),
        "BENCH_SHARE": str(load.share),
        "BENCH_CONDITIONAL": str(load.conditional),
        "BENCH_TAG": load.tag,
        "BENCH_POSTS": str(load.posts),
        "BENCH_COOKIES": "1" if load.cookies else "",
    }
    for name, lines in (("AGENTS", load.agents), ("LANGUAGES", load.languages), ("TOKENS", load.tokens)):
        if lines:
            file = directory / name.lower()
            file.write_text("\n".join(lines))
            environment[f"BENCH_{name}"] = str(file)
    return environment
