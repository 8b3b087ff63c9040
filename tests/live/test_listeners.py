"""Who reaches a listener and how they are named: Unix sockets, both families at once, refused requests in the log."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import StartProxy, listens, wait_for

pytestmark = pytest.mark.live


@pytest.mark.parametrize(("trusted", "seen"), [("unix:", "192.0.2.7"), ("", "")])
def test_peers_on_a_unix_socket(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path, trusted: str, seen: str
) -> None:
    path = tmp_path / "socket"
    settings = {"TRUSTED_PROXIES": trusted} if trusted else {}
    start_proxy(wait=False, BACKEND_URL=backend.url, LISTEN=f"unix:{path}", **settings)
    wait_for(lambda: listens(path), "the socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /unix HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
        while client.recv(65536):
            pass
    request = backend.seen("/unix")[-1]
    assert request.all("X-Forwarded-For") == ([seen] if seen else [])


def test_both_families_at_once(start_proxy: StartProxy, backend: LiveBackend) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    proxy = start_proxy(BACKEND_URL=backend.url, HOST="::", CACHE_TTL_SECONDS="0")
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, proxy.port), 10) as client:
            client.sendall(b"GET /families HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert [request["X-Forwarded-For"] for request in backend.seen("/families")] == ["127.0.0.1", "::1"]


def test_a_refused_request_is_logged_with_its_peer(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url)
    assert b" 400 " in proxy.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    wait_for(lambda: '"status":400' in proxy.log, "the line")
    [line] = [line for line in proxy.log_lines() if line.get("status") == 400]
    assert line["client"] == "127.0.0.1"
