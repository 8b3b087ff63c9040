"""A fetch under way in one proxy against an invalidation in another, on a real Redis, while something breaks."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from support.gated_page import Page, bus
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer

pytestmark = pytest.mark.live

ROUNDS = 3
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def pair(start_shared: StartProxy, backend: LiveBackend, server: RedisServer) -> tuple[ProxyProcess, ProxyProcess]:
    first, second = (
        start_shared(
            BACKEND_URL=backend.url,
            CACHE_URL=server.url,
            ADMIN_AUTH="none",
            HOT_CACHE_TTL_SECONDS="600",
            BURST_CACHE_TTL_SECONDS="600",
        )
        for _ in range(2)
    )
    for proxy in (first, second):
        wait_for(lambda proxy=proxy: bus(proxy) == "up", "a bus that is up")  # type: ignore[misc]
    return first, second


def broken_by_nothing(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    return lambda: None


def broken_subscriptions(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    return lambda: None


def broken_connections(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    return lambda: server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def a_pause_of_writes(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    server.cli("CLIENT", "PAUSE", "300")
    return lambda: None


def a_stopped_proxy(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    second.signal(signal.SIGSTOP)
    return lambda: second.signal(signal.SIGCONT)


def a_stopped_proxy_without_subscription(server: RedisServer, second: ProxyProcess) -> Callable[[], object]:
    second.signal(signal.SIGSTOP)
    server.cli("CLIENT", "KILL", "TYPE", "pubsub")
    return lambda: second.signal(signal.SIGCONT)


FAULTS = [
    broken_by_nothing,
    broken_subscriptions,
    broken_connections,
    a_pause_of_writes,
    a_stopped_proxy,
    a_stopped_proxy_without_subscription,
]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["cache:GET:*:{}", "cache:GET:*:{}*", "cache:GET:anonymous:{}"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_answer_stays_out(
    pair: tuple[ProxyProcess, ProxyProcess],
    backend: LiveBackend,
    server: RedisServer,
    fault: Callable[[RedisServer, ProxyProcess], Callable[[], object]],
    pattern: str,
) -> None:
    first, second = pair
    for number in range(ROUNDS):
        page = Page(backend, f"/{fault.__name__}/{number}/{pattern.count('*')}{pattern.count('anonymous')}")
        asking = threading.Thread(target=second.get, args=(page.target,))
        asking.start()
        assert page.arrived.wait(10)
        mend = fault(server, second)
        page.version = 2
        said = json.dumps({"pattern": pattern.format(page.target)}).encode()
        wait_for(lambda said=said: first.request("POST", "/invalidate", JSON, said).status == 200, "an acknowledgement")  # type: ignore[misc]
        page.gate.set()
        mend()
        asking.join(20)

        def stored(page: Page = page) -> bytes:
            values = server.cli("HVALS", f"cache:GET:anonymous:{page.target}")
            assert isinstance(values, list)
            return b"".join(values)

        def fresh(page: Page = page) -> bool:
            assert b"<version 1>" not in stored()
            return second.get(page.target).body == b"<version 2>"

        wait_for(fresh, "the second proxy to answer what is true")
        wait_for(lambda: b"<version 2>" in stored(), "it stored")
        for proxy in (first, second, first, second):
            assert proxy.get(page.target).body == b"<version 2>"
        wait_for(lambda: bus(second) == "up" and bus(first) == "up", "a bus that is up")
