"""Ports for servers that are started in a moment, of a range that the system gives to no connection meanwhile.

Each process of a run in parallel has a range of its own. The bus of a Redis Cluster is 10,000 above a node's port.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _EACH = 10_000, 1_000
_BLOCKED_BY_BROWSERS = frozenset({10_080})  # of https://fetch.spec.whatwg.org/#port-blocking, those in the range
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
_numbers = itertools.count(os.getpid() * 7)  # another run on this machine begins elsewhere


def free_port() -> int:
    """A port that nobody listens on now, and that was not given out lately."""
    for number in itertools.islice(_numbers, _EACH):
        port = _FIRST + _worker * _EACH + number % _EACH
        if port not in _BLOCKED_BY_BROWSERS and _is_free(port) and _is_free(port + 10_000):
            return port
    raise OSError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
