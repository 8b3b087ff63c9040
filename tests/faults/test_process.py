"""The process itself: the end under load, descriptors that run out, rules that cannot be read."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest
from faults.conftest import SLACK, World
from support.proxy_process import wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults]


def test_the_end_under_load_loses_no_request(world: World) -> None:
    """Connections close; what was asked on them before is answered."""
    world.run().busy()
    world.ended = True
    world.proxy.signal(signal.SIGTERM)
    assert world.proxy.wait(15) == 0
    report = world.seen()
    assert report.wrong == []
    assert set(report.statuses) <= {"200"}
    assert report.asked > 0


def test_descriptors_run_out(world: World) -> None:
    """Idle clients take what there is: others wait or are refused, the proxy does not spin, and all is well after."""
    world.run()
    world.proxy.get("/object/1")
    limit = world.files() + 40
    resource.prlimit(world.proxy.pid, resource.RLIMIT_NOFILE, (limit, limit))
    idle = [socket.create_connection(("127.0.0.1", world.proxy.port), 5) for _ in range(150)]
    spent = _cpu(world.proxy.pid)
    time.sleep(2)
    assert _cpu(world.proxy.pid) - spent < 1.0, "it spins"
    for client in idle:
        client.close()
    start = time.monotonic()
    while True:
        try:
            assert world.proxy.get("/object/1").status == 200
            break
        except OSError:
            assert time.monotonic() - start < 2 * SLACK, "no answer after the crowd had left"


@pytest.mark.long
def test_a_limit_of_256_files_under_load(world: World) -> None:
    """What the daemon knows of from its start: idle clients wait, whoever was there before is served as ever."""
    world.more["files"] = 256
    world.run().busy()
    idle = [socket.create_connection(("127.0.0.1", world.proxy.port), 5) for _ in range(400)]
    spent = _cpu(world.proxy.pid)
    world.seen()
    world.watch(2).hold()
    world.note(f"no descriptors left: {_cpu(world.proxy.pid) - spent:.1f} s of processor time in 2 s, under load")
    for client in idle:
        client.close()
    start = time.monotonic()
    assert world.proxy.get("/object/1").status == 200
    assert time.monotonic() - start < 2 * SLACK
    world.note(f"another client is answered after {time.monotonic() - start:.2f} s")


def _cpu(pid: int) -> float:
    """Seconds of processor time."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long
def test_rules_that_cannot_be_read_leave_the_old_ones(world: World) -> None:
    world.run().busy()
    rules = world.proxy.directory / "invalidation_config.json"
    rules.write_text(json.dumps([{"post_path_regex": "^/object/", "invalidate_patterns": ["cache:GET:*:/object/*"]}]))
    world.proxy.signal(signal.SIGHUP)
    world.watch(0.5).hold()
    rules.write_text("[{")
    world.proxy.signal(signal.SIGHUP)
    world.watch(0.5).hold()
    assert world.warnings("invalidation_config.json")
    world.backend.ask(version=1)
    assert world.proxy.request("POST", "/object/1", {}, b"x").status == 200
    world.until(lambda report: report.share("MISS") > 0.2, "the old rules at work")
    time.sleep(0.3)
    world.watch(1, oldest=1).hold()


@pytest.mark.long
def test_cache_rules_that_cannot_be_read_leave_the_old_ones(world: World) -> None:
    world.run().busy()
    rules = world.proxy.directory / "cache_rules.json"
    rules.write_text(json.dumps([{"match": "^/private/", "share": "none"}]))
    world.proxy.signal(signal.SIGHUP)
    wait_for(lambda: world.proxy.get("/private/1").cache == "BYPASS", "the rules")
    for broken in ("[{", '[{"match": "("}]', '[{"match": "^/private/", "share": "nobody"}]', "\0"):
        before = len(world.warnings("cache_rules.json"))
        rules.write_text(broken)
        world.proxy.signal(signal.SIGHUP)
        wait_for(lambda before=before: len(world.warnings("cache_rules.json")) > before, "a line about it")  # type: ignore[misc]
        assert world.proxy.get("/private/1").cache == "BYPASS"
    world.seen().hold()
