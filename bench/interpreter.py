"""Which Python runs the proxy: the fastest here that has what the tests' own has.

One that was built with profile-guided optimisation, as distributions and official images ship it, runs the same code a
third faster than one that was not, as version managers build it. Nothing that an interpreter says of itself tells
reliably, so each is timed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import attrs

WORTH = 1.05
"""How much faster another has to be."""

_WORK = """
import sys, time
class Pair:
    __slots__ = ("first", "second")
    def __init__(self, first, second):
        self.first = first
        self.second = second
    def plus(self, more):
        return self.first + more
def work():
    found = {}
    for n in range(20_000):
        found[b"%d" % (n % 64)] = Pair(n, b"x").plus(n)
        b"name: value\\r\\nother: value".split(b"\\r\\n")
def timed():
    start = time.process_time()
    work()
    return time.process_time() - start
print("%d.%d.%d" % sys.version_info[:3], min(timed() for _ in range(15)))
"""


@attrs.frozen
class Interpreter:
    """``executable``, and the directory of the packages that it borrows, empty for its own. ``described``: for the
    head of a table."""

    executable: str
    packages: str
    described: str

    @property
    def path(self) -> tuple[str, ...]:
        """What has to be on ``PYTHONPATH``."""
        return (self.packages,) if self.packages else ()


OWN = Interpreter(sys.executable, "", f"Python {platform.python_version()}")
"""The one that runs this."""


def others(path: str) -> Iterable[str]:
    """Interpreters of our version in the directories of ``path``, but for our own."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = {Path(sys.executable).parent, Path(sys.base_exec_prefix) / "bin"}
    places = [Path(place) for place in path.split(os.pathsep) if place]
    found = (place / name for place in places if place not in ours)
    return dict.fromkeys(str(one) for one in found if os.access(one, os.X_OK) and not _is_script(one))


def fastest(path: str | None = None) -> Interpreter:
    """Of those found, and of our own; one that is hardly faster is not preferred."""
    mine = _timed(OWN, "")
    if mine is None:
        return OWN
    best, least = OWN, mine[1] / WORTH
    packages = sysconfig.get_path("platlib")
    for executable in others(os.environ.get("PATH", "") if path is None else path):
        found = _timed(Interpreter(executable, packages, ""), "import caching_proxy.app.service\n")
        if found is not None and found[1] < least:
            version, least = found
            said = f"Python {version}, {mine[1] / least:.2f} × as fast as the {platform.python_version()} of the tests"
            best = Interpreter(executable, packages, said)
    return best


def _timed(interpreter: Interpreter, before: str) -> tuple[str, float] | None:
    """Version and seconds; None for one that does not run what it has to."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, *interpreter.path))}
    command = [interpreter.executable, "-c", before + _WORK]
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    if ended.returncode:
        return None
    version, seconds = ended.stdout.split()
    return version, float(seconds)


def _is_script(file: Path) -> bool:
    """A version manager's stand-in starts what it likes, and late."""
    with file.open("rb") as opened:
        return opened.read(2) == b"#!"
