"""SIGHUP with several workers: new ones with the new settings first, then the old ones end; nobody notices."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.load_threads import Load
from support.proxy_process import ProxyProcess, free_port, wait_for
from support.workers import lines, serving, wait_for_workers, worker_pids

pytestmark = pytest.mark.live

WORKERS = 2


def rule(pattern: str) -> str:
    return json.dumps([{"post_path_regex": "^/changes$", "invalidate_patterns": [f"cache:GET:{pattern}"]}])


class Reloaded:
    """A proxy whose settings stand in ``.env`` and whose rules stand in a file."""

    def __init__(self, directory: Path, backend: LiveBackend) -> None:
        self.env = directory / ".env"
        self.rules = directory / "invalidation_config.json"
        self.env.write_text("CACHE_TTL_SECONDS=100\n")
        self.rules.write_text(rule("/first"))
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url, "WORKERS": str(WORKERS)}
        self.proxy = ProxyProcess(directory, settings)
        self.proxy.wait_until_serving()
        wait_for_workers(self.proxy, WORKERS)

    def reload(self) -> list[int]:
        """SIGHUP; the new workers, when they are alone."""
        old, begun = worker_pids(self.proxy), serving(self.proxy)
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: serving(self.proxy) >= begun + WORKERS, "new workers", 30)
        wait_for(lambda: not set(old) & set(worker_pids(self.proxy)), "the old workers to end", 30)
        return worker_pids(self.proxy)

    def fails_to_reload(self) -> str:
        """SIGHUP; why nothing came of it."""
        refusals = len(self.refusals())
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: len(self.refusals()) > refusals, "a reason", 30)
        return self.refusals()[-1]

    def refusals(self) -> list[str]:
        said = [str(line["msg"]) for line in self.proxy.log_lines_so_far()]
        return [line for line in said if line.startswith("not reloaded, the old workers stay: ")]

    def forgets(self, target: str) -> list[bool]:
        """Whether each worker has forgotten ``target`` after the change that the rules speak of."""
        each = lines(self.proxy, worker_pids(self.proxy))
        for line in each.values():
            line.ask("GET", target)
        next(iter(each.values())).ask("POST", "/changes", b"x")
        forgotten = [line.ask("GET", target).cache == "MISS" for line in each.values()]
        for line in each.values():
            line.close()
        return forgotten


@pytest.fixture
def reloaded(tmp_path: Path, backend: LiveBackend) -> Reloaded:
    made = Reloaded(tmp_path, backend)
    yield made  # type: ignore[misc]
    assert made.proxy.stop() == 0


def test_under_load_nobody_notices(reloaded: Reloaded) -> None:
    proxy = reloaded.proxy
    assert reloaded.forgets("/first") == [True] * WORKERS
    reloaded.rules.write_text(rule("/second"))
    reloaded.env.write_text("CACHE_TTL_SECONDS=200\n")
    with Load(proxy.port, "/loaded") as load:
        wait_for(lambda: load.total > 100, "some load")
        reloaded.reload()
        total = load.total
        wait_for(lambda: load.total > total + 100, "load to go on")
    tally = load.tally
    assert (tally.fresh, tally.reused, tally.cut, tally.refused) == ([], [], [], 0)
    assert set(tally.answered) == {200}
    assert reloaded.forgets("/second") == [True] * WORKERS
    assert reloaded.forgets("/first") == [False] * WORKERS
    assert proxy.get("/fresh")["X-Cache-Expires-In"] == "200s"


def test_what_is_wrong_changes_nothing(reloaded: Reloaded) -> None:
    proxy, old = reloaded.proxy, worker_pids(reloaded.proxy)
    reloaded.rules.write_text("{")
    assert "INVALIDATION_CONFIG" in reloaded.fails_to_reload()
    reloaded.rules.write_text(rule("/first"))
    reloaded.env.write_text("CACHE_TTL_SECONDS=soon\n")
    assert "CACHE_TTL_SECONDS: 'soon'" in reloaded.fails_to_reload()
    assert worker_pids(proxy) == old
    reloaded.rules.write_text("{")
    os.kill(old[0], signal.SIGKILL)  # its successor has the old settings, whatever the files say by now
    wait_for_workers(proxy, WORKERS + 1)
    assert reloaded.forgets("/first") == [True] * WORKERS
    assert proxy.get("/fresh")["X-Cache-Expires-In"] == "100s"


def test_listeners_stay_as_they_are(reloaded: Reloaded) -> None:
    reloaded.env.write_text("CACHE_TTL_SECONDS=300\nADMIN_PORT=1\nWORKERS=7\n")
    reloaded.reload()
    proxy = reloaded.proxy
    assert len(worker_pids(proxy)) == WORKERS
    assert proxy.get("/fresh")["X-Cache-Expires-In"] == "300s"
    assert proxy.get("/health").json()["status"] == "ok"  # type: ignore[index]
    warned = [str(line["msg"]) for line in proxy.log_lines_so_far() if "needs a restart" in str(line["msg"])]
    assert [line.split()[0] for line in warned] == ["ADMIN_PORT", "WORKERS"]


def test_twice_in_a_row(reloaded: Reloaded) -> None:
    proxy = reloaded.proxy
    old = worker_pids(proxy)
    reloaded.env.write_text("CACHE_TTL_SECONDS=400\n")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: len(worker_pids(proxy)) > WORKERS, "new workers to start")
    reloaded.env.write_text("CACHE_TTL_SECONDS=500\n")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: any("reloaded:" in str(line["msg"]) for line in proxy.log_lines_so_far()), "the reload", 30)
    wait_for(lambda: len(worker_pids(proxy)) == WORKERS and not set(old) & set(worker_pids(proxy)), "the end", 30)
    assert proxy.get("/fresh")["X-Cache-Expires-In"] == "500s"
