"""Memory of a proxy that holds 5,000 hot entries of 1 KiB, and what an entry costs beside its body (SPEC 12)."""

from __future__ import annotations

from bench import load as wrk
from bench.load import Load
from bench.report import Verdict
from bench.servers import Lab, Server

ENTRIES = 5_000
MANY = 50_000
BODY = 1024
MIB = 1024 * 1024


def measure(lab: Lab, backend: Server) -> list[Verdict]:
    """What became of the two claims. Each entry is asked for several times, so that all that hits leave is there."""
    resident = _resident(lab, backend, ENTRIES)
    # the difference of two sizes leaves out what the process itself takes
    overhead = (_resident(lab, backend, MANY) - resident) / (MANY - ENTRIES) - BODY
    return [
        Verdict(
            f"resident with {ENTRIES:,} hot entries of 1 KiB, in 150 MiB", resident / MIB / 150, resident < 150 * MIB
        ),
        Verdict("overhead for each hot entry, in KiB", overhead / 1024, overhead < 1024),
    ]


def _resident(lab: Lab, backend: Server, count: int) -> int:
    proxy = lab.proxy(
        backend,
        "proxy-full",
        HOT_CACHE_MAX_ENTRIES=str(count),
        HOT_CACHE_MAX_BYTES="1GiB",
        HOT_CACHE_TTL_SECONDS="3600",
        MEMORY_STORE_MAX_BYTES="1",
    )
    try:
        load = Load(mode="spread", count=count)
        for _ in range(2):
            wrk.run(proxy.url(), load, max(3.0, count / 1500), lab.cores.load, "", lab.directory)
        return proxy.resident()
    finally:
        lab.stop(proxy)
