"""``COLLAPSE=fleet``: misses of one key on several proxies make one fetch, and nobody waits for a dead one."""

from __future__ import annotations

import http.client
import signal
import threading
import time

import pytest
from faults.conftest import Helper
from support.faults_oracle import answer_of
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = [pytest.mark.live, pytest.mark.slow]

CROWD = 10


class Fleet:
    """Three proxies on one Redis, and the crowd that asks all of them."""

    def __init__(self, start: StartProxy, redis: RedisServer, backend: Helper, **settings: str) -> None:
        self.backend, self.redis = backend, redis
        url = f"http://127.0.0.1:{backend.first}"
        usual = {"BACKEND_URL": url, "CACHE_URL": redis.url, "COLLAPSE": "fleet", **settings}
        self.proxies = [start(**usual) for _ in range(3)]
        for proxy in self.proxies:
            wait_for(lambda proxy=proxy: proxy.get("/ready").json()["store"] == "ok", "the store")
        self.backend.ask(version=0)

    def ask(self, target: str) -> list[threading.Thread]:
        self.answers: list[tuple[ProxyProcess, int, str | None, bytes]] = []

        def one(proxy: ProxyProcess) -> None:
            try:
                answer = proxy.get(target)
            except (http.client.HTTPException, OSError):  # the proxy was killed
                return
            self.answers.append((proxy, answer.status, answer.cache, answer.body))

        crowd = [threading.Thread(target=one, args=(proxy,)) for proxy in self.proxies for _ in range(CROWD)]
        for each in crowd:
            each.start()
        return crowd


@pytest.fixture
def fleet(start_proxy: StartProxy):
    with RedisServer() as redis:
        backend = Helper("faults_backend", 0)
        try:
            yield Fleet(start_proxy, redis, backend)
        finally:
            backend.stop()


def test_one_fetch_for_all(fleet: Fleet) -> None:
    for n in range(3):
        target = f"/fleet/{n}"
        fleet.backend.ask(fault="hold")
        crowd = fleet.ask(target)
        wait_for(lambda: fleet.backend.ask()["now"] == 1, "the one fetch")
        time.sleep(0.3)  # whoever would fetch beside it has done so by now
        fleet.backend.ask(release=True)
        for each in crowd:
            each.join(20)
        asked = fleet.backend.ask(fault=None)["requests"]
        assert asked == 0, f"all {asked} others were answered from what one fetched"
        assert {(status, body) for _, status, _, body in fleet.answers} == {(200, answer_of(target, "anonymous"))}
        assert {cache for _, _, cache, _ in fleet.answers} == {"MISS", "HIT"}


def test_what_is_for_one_alone_does_not_queue(fleet: Fleet) -> None:
    fleet.backend.ask(fault="uncacheable", seconds=0.5)
    start = time.monotonic()
    for each in fleet.ask("/fleet/own"):
        each.join(30)
    assert len(fleet.answers) == 3 * CROWD
    assert {status for _, status, _, _ in fleet.answers} == {200}
    assert time.monotonic() - start < 0.5 * 3 * CROWD / 2, "not one after another"
    fleet.backend.ask(fault=None)


def test_a_holder_that_dies_keeps_nobody(fleet: Fleet) -> None:
    fleet.backend.ask(fault="hold")
    holder, *others = fleet.proxies
    fleet.proxies = [holder]
    fleet.ask("/fleet/dead")
    wait_for(lambda: fleet.backend.ask()["now"] == 1, "the fetch")
    holder.signal(signal.SIGKILL)
    holder.wait()
    fleet.proxies = others
    crowd = fleet.ask("/fleet/dead")
    fleet.backend.ask(fault=None, release=True)
    for each in crowd:
        each.join(30)
    assert [status for _, status, _, _ in fleet.answers] == [200] * 2 * CROWD
    assert int(str(fleet.backend.ask()["requests"])) <= 1


def test_a_holder_that_stops_in_order_leaves_no_claim(fleet: Fleet) -> None:
    holder, *_ = fleet.proxies
    assert holder.get("/fleet/stopped").status == 200
    holder.signal(signal.SIGTERM)
    holder.wait()
    assert fleet.redis.cli("KEYS", "cacheindex:!*") == []


def test_without_redis_each_fetches_for_itself(start_proxy: StartProxy) -> None:
    backend = Helper("faults_backend", 0)
    redis = RedisServer().start()
    try:
        fleet = Fleet(start_proxy, redis, backend, REDIS_COMMAND_TIMEOUT="0.3", REDIS_CONNECT_TIMEOUT="0.3")
        redis.kill()
        for each in fleet.ask("/fleet/away"):
            each.join(30)
        assert {status for _, status, _, _ in fleet.answers} == {200}
    finally:
        redis.remove()
        backend.stop()
