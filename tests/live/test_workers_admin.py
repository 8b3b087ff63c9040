"""The admin endpoints of several workers: whoever is asked answers for all."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer
from support.workers import Line, lines, serving, wait_for_workers, worker_pids

pytestmark = pytest.mark.live

JSON = {"Content_Type": "application/json"}
WORKERS = 3


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=["memory", "redis"])
def proxy(
    request: pytest.FixtureRequest, start_shared: StartProxy, backend: LiveBackend, redis: RedisServer
) -> ProxyProcess:
    return start_shared(
        BACKEND_URL=backend.url,
        WORKERS=str(WORKERS),
        CACHE_URL="memory:" if request.param == "memory" else redis.url,
        ADMIN_AUTH="none",
        LOG_LEVEL="debug",
    )


@pytest.fixture
def each(proxy: ProxyProcess) -> Iterator[list[Line]]:
    """A connection to each worker, and empty caches."""
    wait_for_workers(proxy, WORKERS)
    wait_for(lambda: len(worker_pids(proxy)) == WORKERS, "as many workers as wanted")
    found = list(lines(proxy, worker_pids(proxy)).values())
    assert found[0].ask("POST", "/invalidate", b'{"pattern": "cache:*"}', **JSON).status == 200
    yield found
    for line in found:
        line.close()


def samples(line: Line) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Everything that a worker shows; fails on a sample that is there twice."""
    found = {}
    for family in text_string_to_metric_families(line.ask("GET", "/metrics").body.decode()):
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found
            found[place] = sample.value
    return found


def total(line: Line, name: str, **labels: str) -> float:
    return sum(
        value for (found, has), value in samples(line).items() if found == name and labels.items() <= dict(has).items()
    )


def listed(line: Line, query: str = "") -> list[str]:
    answered = line.ask("GET", f"/keys{query}")
    assert answered.status == 200
    return answered.json()["keys"]  # type: ignore[index]


def test_metrics_are_the_sum(each: list[Line]) -> None:
    for n, line in enumerate(each):
        for _ in range(10 + n):
            line.ask("GET", f"/counted/{n}")
    made = sum(10 + n for n in range(WORKERS))
    hits = total(each[0], "hot_cache_hits_total")
    for line in each:
        assert total(line, "http_requests_total", path="/counted/:id") == made
        assert total(line, "http_request_duration_seconds_count", path="/counted/:id") == made
        assert total(line, "http_request_duration_seconds_bucket", path="/counted/:id", le="+Inf") == made
        assert total(line, "hot_cache_entries") == WORKERS
        assert total(line, "hot_cache_hits_total") == hits >= made - WORKERS
    workers = {dict(has)["worker"] for name, has in samples(each[0]) if name == "process_resident_memory_bytes"}
    assert workers == {"1", "2", "3", "supervisor"}
    openmetrics = each[0].ask("GET", "/metrics", Accept="application/openmetrics-text").body
    assert openmetrics.endswith(b"# EOF\n")


def test_what_a_killed_worker_has_counted_stays(proxy: ProxyProcess, each: list[Line]) -> None:
    for line in each:
        line.ask("GET", "/lives")
    assert total(each[0], "http_requests_total", path="/lives") == WORKERS
    begun, pids = serving(proxy), worker_pids(proxy)
    [alive] = lines(proxy, pids[:1]).values()
    for pid in pids[1:]:
        os.kill(pid, signal.SIGKILL)
    wait_for_workers(proxy, begun + 2)
    assert total(alive, "http_requests_total", path="/lives") == WORKERS
    alive.close()


def test_what_was_counted_before_a_reload_stays(proxy: ProxyProcess, each: list[Line]) -> None:
    begun, old = serving(proxy), worker_pids(proxy)
    for n, line in enumerate(each):
        for _ in range(n + 1):
            assert line.ask("GET", "/before").status == 200
    proxy.signal(signal.SIGHUP)
    wait_for_workers(proxy, begun + WORKERS)
    wait_for(lambda: not set(old) & set(worker_pids(proxy)), "the old workers to end")
    [line] = lines(proxy, worker_pids(proxy)[:1]).values()
    assert total(line, "http_requests_total", path="/before") == sum(range(WORKERS + 1))
    workers = {dict(has)["worker"] for name, has in samples(line) if name == "process_resident_memory_bytes"}
    assert workers == {"1", "2", "3", "supervisor"}
    line.close()


def test_keys_are_those_of_all_and_each_once(proxy: ProxyProcess, each: list[Line]) -> None:
    for n, line in enumerate(each):
        for own in range(5):
            line.ask("GET", f"/own/{n}/{own}")
        line.ask("GET", "/common")
    expected = sorted(f"cache:GET:anonymous:/own/{n}/{own}" for n in range(WORKERS) for own in range(5))
    for line in each:
        assert listed(line, "?match=cache:*:/own/*") == expected
        assert listed(line) == ["cache:GET:anonymous:/common", *expected]
        assert total(line, "cache_keys_total") == len(expected) + 1


def test_pages_of_keys_lead_through_all_workers(each: list[Line]) -> None:
    for n, line in enumerate(each):
        for own in range(25):
            line.ask("GET", f"/paged/{n}/{own}")
    found: list[str] = []
    query = "?limit=7"
    for turn in range(60):
        page = each[turn % WORKERS].ask("GET", f"/keys{query}").json()
        assert isinstance(page, dict)
        assert len(page["keys"]) <= 7
        found += page["keys"]
        if "cursor" not in page:
            break
        query = f"?limit=7&cursor={page['cursor']}"
    assert sorted(found) == sorted(f"cache:GET:anonymous:/paged/{n}/{own}" for n in range(WORKERS) for own in range(25))


def test_a_key_is_found_wherever_it_is(each: list[Line]) -> None:
    each[0].ask("GET", "/mine")
    for line in each:
        answered = line.ask("POST", "/key", b'{"key": "cache:GET:anonymous:/mine"}', **JSON)
        assert answered.status == 200
        assert line.ask("POST", "/key", b'{"key": "cache:GET:anonymous:/nobody"}', **JSON).status == 404


def test_a_large_entry_comes_whole(each: list[Line], backend: LiveBackend) -> None:
    body = os.urandom(1_500_000).hex()
    backend.on("/large", lambda exchange: exchange.reply(body.encode(), 200, [("Content-Type", "text/plain")]))
    each[0].ask("GET", "/large")
    for line in each:
        entry = line.ask("POST", "/key", b'{"key": "cache:GET:anonymous:/large"}', **JSON).json()
        assert entry["cacheEntry"]["body"] == body  # type: ignore[index]


def test_requests_are_watched_in_all_workers(each: list[Line]) -> None:
    """A stream of one worker tells of what the others answered, and why."""
    watched, asked = each[0], each[1:]
    watched.request("GET", "/_cache/events?requests=on")
    answer = watched.getresponse()
    assert _next(answer, "stats")
    for number, line in enumerate(asked):
        assert line.ask("GET", f"/watched/{number}", Cookie="sid=1").status == 200
    told = {_next(answer, "request")["path"] for _ in asked}
    assert told == {f"/watched/{number}" for number in range(len(asked))}
    watched.close()


def _next(answer: http.client.HTTPResponse, wanted: str) -> dict[str, object]:
    """The data of the next event of this name about what this file asks for."""
    while True:
        name = answer.readline().decode().strip().removeprefix("event: ")
        data = answer.readline().decode() if name and not name.startswith(":") else ""
        if name == wanted and (name != "request" or "/watched/" in data):
            told: dict[str, object] = json.loads(data.removeprefix("data: "))
            return told


def test_deleted_keys_count_once(each: list[Line]) -> None:
    for line in each:
        for n in range(4):
            line.ask("GET", f"/deleted/{n}")
    each[0].ask("GET", "/deleted/only-here")
    body = json.dumps({"pattern": "cache:GET:*:/deleted/*"}).encode()
    counted = [total(each[0], f"cache_{what}_total") for what in ("invalidations", "invalidated_keys")]
    assert each[1].ask("POST", "/invalidate", body, **JSON).json()["deletedCount"] == 5  # type: ignore[index]
    assert each[2].ask("POST", "/invalidate", body, **JSON).json()["deletedCount"] == 0  # type: ignore[index]
    assert total(each[0], "cache_invalidations_total") == counted[0] + 2
    assert total(each[0], "cache_invalidated_keys_total") == counted[1] + 5


def test_health_and_readiness_tell_of_all(proxy: ProxyProcess, each: list[Line]) -> None:
    assert each[0].ask("GET", "/health").json()["workers"] == {"serving": 3, "wanted": 3}  # type: ignore[index]
    ready = each[0].ask("GET", "/ready")
    assert (ready.status, ready.json()["status"]) == (200, "ok")  # type: ignore[index]
    [line] = lines(proxy, worker_pids(proxy)[:1]).values()
    begun = serving(proxy)
    os.kill(worker_pids(proxy)[2], signal.SIGSTOP)
    answered = line.ask("GET", "/ready").json()
    assert answered["workers"] == {"serving": 2, "wanted": 3}  # type: ignore[index]
    assert answered["status"] == "degraded"  # type: ignore[index]
    assert total(line, "http_requests_total") > 0  # answers without the one that stands still
    assert re.search("workers in the slots .* do not answer", proxy.log)
    wait_for_workers(proxy, begun + 1)
    assert line.ask("GET", "/ready").json()["status"] == "ok"  # type: ignore[index]
    line.close()
