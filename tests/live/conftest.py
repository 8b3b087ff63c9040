"""What live tests share: a scripted backend and proxies, both for a whole module, so that few processes are started.

A module with ``OVER_H2 = True`` is tried a second time by clients that speak HTTP/2.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.live_backend import LiveBackend
from support.proxy_over_h2 import ProxyOverHTTP2
from support.proxy_process import ProxyProcess, StartProxy, free_port

ONLY_HTTP1 = {
    "test_a_leader_that_leaves_does_not_take_the_others_along": "writes to a socket by hand",
    "test_B17_a_body_cut_short_is_not_stored": "writes to a socket by hand",
    "test_tags_reach_every_worker": "tells workers apart by their connections",
}
"""Tests in such modules that are about HTTP/1.1 alone, and why."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if getattr(metafunc.module, "OVER_H2", False) and "start_shared" in metafunc.fixturenames:
        both = metafunc.function.__name__ not in ONLY_HTTP1
        metafunc.parametrize("over", ["h1", "h2"] if both else ["h1"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def over(request: pytest.FixtureRequest) -> str:
    """What clients speak."""
    return str(getattr(request, "param", "h1"))


@pytest.fixture(scope="module")
def backend(over: str) -> Iterator[LiveBackend]:
    """A running backend; tests keep apart by their targets."""
    server = LiveBackend().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory, over: str) -> Iterator[StartProxy]:
    """Like ``start_proxy``, for proxies that serve a whole module."""
    running: list[ProxyProcess] = []

    def start(**environment: str) -> ProxyProcess:
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", **environment}
        made = ProxyOverHTTP2 if over == "h2" else ProxyProcess
        proxy = made(tmp_path_factory.mktemp("proxy"), settings)
        running.append(proxy)
        proxy.wait_until_serving()
        return proxy

    yield start
    for proxy in running:
        proxy.stop()
