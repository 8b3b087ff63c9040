"""Where the proxy spends its time: py-spy samples each path while wrk keeps it busy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as FilePath

from bench.contest import PROXIES, Contest
from bench.scenarios import Path
from bench.servers import BenchError

RATE = 500
"""Samples a second."""


def record(
    contest: Contest, path: Path, seconds: float, directory: FilePath, say: Callable[[str], None], form: str = "svg"
) -> None:
    """A flame graph of every proxy that walks ``path``, as ``directory/path.svg``; ``form`` "raw" gives stacks."""
    directory.mkdir(parents=True, exist_ok=True)
    contest.start(path.contenders)
    for name in path.contenders:
        if name not in PROXIES or name not in contest.servers:
            continue
        contest.measure(path, name, 1.0)  # the first second is of connections and of what is not yet stored
        file = directory / (re.sub(r"[^a-z0-9]+", "-", f"{path.name} {name}".lower()) + ("." + form))
        spy = _spy(contest.servers[name].process.pid, seconds, file, form)
        contest.measure(path, name, seconds + 2)
        try:
            spy.wait(60)
        except subprocess.TimeoutExpired:
            spy.kill()
        say(f"{path.name}, {name}: {file}")


def _spy(process: int, seconds: float, file: FilePath, form: str) -> subprocess.Popen[bytes]:
    program = FilePath(sys.executable).with_name("py-spy")
    if not program.exists():
        raise BenchError("py-spy is not installed beside this Python")
    command = [str(program), "record", "--pid", str(process), "--duration", str(max(1, round(seconds)))]
    command += ["--rate", str(RATE), "--output", str(file), "--format", "flamegraph" if form == "svg" else "raw"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
