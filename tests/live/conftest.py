"""What live tests share: a scripted backend and proxies, both for a whole module, so that few processes are started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, free_port


@pytest.fixture(scope="module")
def backend() -> Iterator[LiveBackend]:
    """A running backend; tests keep apart by their targets."""
    server = LiveBackend().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProxy]:
    """Like ``start_proxy``, for proxies that serve a whole module."""
    running: list[ProxyProcess] = []

    def start(**environment: str) -> ProxyProcess:
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", **environment}
        proxy = ProxyProcess(tmp_path_factory.mktemp("proxy"), settings)
        running.append(proxy)
        proxy.wait_until_serving()
        return proxy

    yield start
    for proxy in running:
        proxy.stop()
