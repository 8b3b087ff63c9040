"""A Redis of a million keys: walks over all of them, and a list of them, while hits go on.

Counts and bytes are asserted, not times (``tests/bounds`` has those). ``MILLIONS_REPORT=1`` prints what docs/scaling.md
says; ``MILLIONS`` is how many keys there are.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = [pytest.mark.live, pytest.mark.long]

KEYS = int(os.environ.get("MILLIONS", "1000000"))
SECTIONS = 100
JSON = {"Content-Type": "application/json"}
REPORT = os.environ.get("MILLIONS_REPORT") == "1"

FILL = """
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local key = 'cache:GET:anonymous:/catalogue/' .. n % 100 .. '/item-' .. n
  redis.call('HSET', key, '-', ARGV[3])
  redis.call('PEXPIRE', key, 3600000)
end
return 0
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend, server: RedisServer) -> ProxyProcess:
    return start_shared(
        BACKEND_URL=backend.url,
        CACHE_URL=server.url,
        ADMIN_AUTH="none",
        HOT_CACHE_MAX_ENTRIES="1",
        BURST_CACHE_MAX_ENTRIES="0",
    )


def filled(server: RedisServer) -> None:
    server.cli("FLUSHALL", "ASYNC")
    for start in range(0, KEYS, 10_000):
        server.cli("EVAL", FILL, 0, start, min(start + 10_000, KEYS) - 1, "x" * 300)
    assert 0 <= size(server) - KEYS < 10, "the proxy's own come to it"


def size(server: RedisServer) -> int:
    found = server.cli("DBSIZE")
    assert isinstance(found, int)
    return found


class Hits:
    """Hits from memory and from Redis, one after another, as long as the block lasts; seconds for each."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self.hot: list[float] = []
        self.stored: list[float] = []
        self._port = proxy.port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port)
        while not self._over.is_set():
            for target, seconds in (("/hit/1", self.stored), ("/hit/2", self.stored), ("/hit/2", self.hot)):
                began = time.perf_counter()
                connection.request("GET", target)
                answer = connection.getresponse()
                answer.read()
                seconds.append(time.perf_counter() - began)
                assert answer.status == 200
            time.sleep(0.002)
        connection.close()

    def report(self, what: str, seconds: float, more: str = "") -> None:
        if not REPORT:
            return
        shown = "; ".join(
            f"{name} {len(times)}: median {at(times, 0.5):.2f}, p99 {at(times, 0.99):.1f}, max {at(times, 1):.1f} ms"
            for name, times in (("hot", self.hot), ("Redis", self.stored))
        )
        print(f"\n{what}: {seconds:.1f} s; {shown} {more}")


def at(times: list[float], part: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000


def resident(proxy: ProxyProcess) -> int:
    """Bytes."""
    text = Path(f"/proc/{proxy.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def metric(proxy: ProxyProcess, name: str) -> float:
    lines = proxy.get("/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0].partition("{")[0] == name)


def invalidated(proxy: ProxyProcess, **wish: object) -> int:
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=120)
    connection.request("POST", "/invalidate", json.dumps(wish), JSON)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, said
    return int(said["deletedCount"])


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scans(server: RedisServer) -> int:
    stats = server.cli("INFO", "commandstats")
    assert isinstance(stats, bytes)
    return int(stats.split(b"cmdstat_scan:calls=")[1].split(b",")[0]) if b"cmdstat_scan:" in stats else 0


def test_hits_while_nothing_else_happens(proxy: ProxyProcess, server: RedisServer) -> None:
    filled(server)
    with Hits(proxy) as hits:
        for _ in range(100):
            assert proxy.get("/hit/1").status == 200
            time.sleep(0.02)
    hits.report("nothing", 2)


def test_a_list_of_all_keys(proxy: ProxyProcess, server: RedisServer) -> None:
    filled(server)
    proxy.get("/hit/1")
    before, most, count, length = resident(proxy), 0, 0, 0
    with Hits(proxy) as hits:
        began = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", proxy.port, timeout=120)
        connection.request("GET", "/keys?match=cache:GET:*:/catalogue/*")
        answer, tail = connection.getresponse(), b""
        while piece := answer.read(1 << 16):
            length += len(piece)
            count += piece.count(b"cache:GET:anonymous:/cata")
            tail = (tail + piece)[-100:]
            most = max(most, resident(proxy))
        took = time.perf_counter() - began
        connection.close()
    assert tail.endswith(b'"keyCount":%d}\n' % KEYS)
    assert count <= 2 * KEYS
    assert count > 1.99 * KEYS, "but for names that a piece ends in"
    assert most - before < length / 4 + (16 << 20), "less than the list is long"
    hits.report(f"/keys of {KEYS:,} keys", took, f"; {length >> 20} MiB, the process grew by {most - before >> 20} MiB")


@pytest.mark.parametrize("what", ["one section", "all"])
def test_a_walk_over_all_keys(proxy: ProxyProcess, server: RedisServer, what: str) -> None:
    filled(server)
    pattern, count = {
        "one section": ("cache:GET:*:/catalogue/7/*", KEYS // SECTIONS),
        "all": ("cache:GET:*:/catalogue/*", KEYS),
    }[what]
    server.cli("CONFIG", "RESETSTAT")
    looked_at = metric(proxy, "invalidation_keys_looked_at_total")
    with Hits(proxy) as hits:
        proxy.get("/hit/1")
        gone: list[int] = []
        took = timed(lambda: gone.append(invalidated(proxy, pattern=pattern)))
    assert gone == [count]
    assert size(server) <= KEYS - count + 10
    assert KEYS / 1100 < scans(server) < KEYS / 500
    assert metric(proxy, "invalidation_keys_looked_at_total") - looked_at < KEYS * 1.1
    if KEYS >= 1_000_000:
        wait_for(lambda: f"invalidating {pattern}" in proxy.log and "is done" in proxy.log, "lines about progress")
    hits.report(f"{what}, {count:,} of {KEYS:,} keys", took)


def test_what_names_a_target_does_not_walk(proxy: ProxyProcess, server: RedisServer) -> None:
    filled(server)
    server.cli("CONFIG", "RESETSTAT")
    assert invalidated(proxy, pattern="cache:GET:*:/catalogue/7/item-7") == 1
    assert scans(server) == 0
