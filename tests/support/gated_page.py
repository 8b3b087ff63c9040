"""A page of the backend with a version, behind a gate: what proxies are raced with against invalidations."""

from __future__ import annotations

import threading

from support.live_backend import Exchange, LiveBackend
from support.proxy_process import ProxyProcess


class Page:
    """``<version n>``; whoever asks while the gate is shut waits with what it read. It carries ``tag``."""

    def __init__(self, backend: LiveBackend, target: str, tag: str = "page") -> None:
        self.target = target
        self.tag = tag
        self.version = 1
        self.arrived, self.gate = threading.Event(), threading.Event()
        backend.on(target, self._answer)

    def body(self, version: int) -> bytes:
        return b"<version %d>" % version

    def _answer(self, exchange: Exchange) -> None:
        version = self.version
        self.arrived.set()
        self.gate.wait(30)
        exchange.reply(self.body(version), fields=[("Cache-Control", "max-age=600"), ("Cache-Tag", self.tag)])


def bus(proxy: ProxyProcess) -> object:
    """What ``/ready`` says of its subscription."""
    ready = proxy.get("/ready").json()
    assert isinstance(ready, dict)
    return ready["bus"]
