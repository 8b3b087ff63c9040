"""The machine: its cores and who gets which, its processor's name, the programs that must be installed."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import attrs

PACKAGES = {"nginx": "nginx-light", "varnishd": "varnish", "wrk": "wrk", "redis-server": "redis-server"}
"""Program → Debian package that brings it."""


@attrs.frozen
class Cores:
    """One core each, as far as they go: the server measured never shares its own unless there is only one.

    ``second`` is for the second of two workers.
    """

    server: int
    load: int
    backend: int
    store: int
    second: int

    @classmethod
    def dealt(cls, available: list[int]) -> Cores:
        """``available`` in order, the last one again for whoever comes too late."""
        least = [*available, *[available[-1]] * 5]
        return cls(*least[:5])


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def processor() -> str:
    """The model of the processor, as the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def program(name: str) -> str | None:
    """Where ``name`` is; administrators' directories count, though they are not on every PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def missing() -> list[str]:
    """The programs of :data:`PACKAGES` that are not installed."""
    return [name for name in PACKAGES if program(name) is None]


def described() -> str:
    """What names the machine without telling whose it is."""
    return f"{len(available_cores())} cores, {processor()}"
