"""A client that sends all it has to ask for, then closes its half of the connection."""

from __future__ import annotations

import os
import socket

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import StartProxy

pytestmark = pytest.mark.live

REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.skipif(os.environ.get("PROXY_REACTOR") == "epoll", reason="Twisted's own loses what is not written yet")
@pytest.mark.parametrize("count", [1, 100, 1000])
def test_all_that_was_sent_ahead_is_answered(start_proxy: StartProxy, backend: LiveBackend, count: int) -> None:
    """However many turns of the loop they would have had: hits wait for nothing but their turn."""
    proxy = start_proxy(BACKEND_URL=backend.url)
    proxy.get("/x")
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        client.sendall(REQUEST * count)
        client.shutdown(socket.SHUT_WR)
        data = b""
        while piece := client.recv(1 << 16):
            data += piece
    assert data.count(b"HTTP/1.1 200 ") == count
