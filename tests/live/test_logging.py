"""What a real proxy writes to its log: JSON lines and nothing else, and no secrets whatever the clients send."""

from __future__ import annotations

import re
import socket
import time

import jwt
import pytest
from support.live_backend import Exchange, LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, free_port, wait_for

pytestmark = pytest.mark.live

SECRETS = ("s3cr3t", "c00kie", "b0dy", "p4ss", "t0ken", "key-of-many-characters-1234567890")

FEW = {"MAX_CONNECTIONS": "16", "BACKEND_MAX_CONNECTIONS": "4"}
"""Connections that fit under the usual limits on open files: with more, the start warns where the limit is low."""


def traffic(proxy: ProxyProcess, backend: LiveBackend) -> None:
    """Requests full of secrets, good and bad."""
    token = jwt.encode({"roles": ["editor"], "exp": 4e9, "sub": "s3cr3t"}, "k" * 32, "HS256")
    backend.on("/dies", Exchange.hang_up)
    for target in ("/a?page=2&token=s3cr3t&api_key=s3cr3t", "/dies?password=p4ss"):
        for fields in (
            {"Authorization": f"Bearer {token}"},
            {"Authorization": "Basic dTpwNHNz"},
            {"Cookie": "id=c00kie"},
        ):
            proxy.request("GET", target, fields)
    proxy.request("POST", "/a", {"Authorization": "Bearer t0ken.t0ken.t0ken"}, b"b0dy")
    proxy.request("GET", "/dies", {"X-Request-ID": "s3cr3t"})
    proxy.request("POST", "/invalidate", {"Authorization": "Bearer t0ken", "Content-Type": "application/json"}, b"b0dy")
    proxy.raw(b"GET / HTTP/1.1\r\nAuthorization: t0ken\r\nHost: a\r\nHost: b\r\n\r\n")
    proxy.raw(b"\x16\x03\x01 s3cr3t\r\n\r\n")


@pytest.mark.parametrize("level", ["trace", "info"])
def test_json_lines_without_secrets(start_shared: StartProxy, backend: LiveBackend, level: str) -> None:
    proxy = start_shared(
        BACKEND_URL=backend.url,
        CACHE_URL=f"redis://user:p4ss@127.0.0.1:{free_port()}",
        LOG_LEVEL=level,
        ADMIN_TOKEN="key-of-many-characters-1234567890",
    )
    traffic(proxy, backend)
    assert proxy.stop() == 0
    for line in proxy.log_lines():
        assert {"time", "level", "msg", "logger"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["time"]))
    for secret in SECRETS:
        assert secret not in proxy.log
    assert "eyJ" not in proxy.log
    assert "dTpwNHNz" not in proxy.log
    assert "Traceback" not in proxy.log


def test_access_lines(start_shared: StartProxy, backend: LiveBackend) -> None:
    proxy = start_shared(BACKEND_URL=backend.url, JWT_SECRET="k" * 32)
    token = jwt.encode({"roles": ["editor"], "exp": int(time.time()) + 60}, "k" * 32, "HS256")
    proxy.get("/line?x=1")
    proxy.get("/line?x=1")
    proxy.request("X-FROB", "/line", {"Authorization": f"Bearer {token}"}, b"x")
    proxy.raw(b"GET / HTTP/1.1\r\n\r\n")
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        backend.on("/left", lambda exchange: exchange.socket.recv(1))
        connection.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: backend.seen("/left") != [], "the request to arrive")
    wait_for(lambda: '"status":499' in proxy.log, "the client's leaving to be noticed")
    proxy.stop()
    lines = [line for line in proxy.log_lines() if line["logger"] == "access"]
    told = [tuple(line[name] for name in ("method", "path", "status", "cacheStatus", "role")) for line in lines]
    assert told == [
        ("GET", "/line?x=1", 200, "MISS", "anonymous"),
        ("GET", "/line?x=1", 200, "HOT_HIT", "anonymous"),
        ("X-FROB", "/line", 200, "N/A", "editor"),
        ("-", "-", 400, "N/A", "unknown"),
        ("GET", "/left", 499, "N/A", "unknown"),
    ]
    assert all(isinstance(line["durationMs"], int | float) and 0 <= line["durationMs"] < 5000 for line in lines)
    ids = [line["requestId"] for line in lines[:3]]
    assert len(set(ids)) == 3
    sent = [seen["X-Request-ID"] for seen in (*backend.seen("/line?x=1"), *backend.seen("/line"))]
    assert sent == [ids[0], ids[2]]


def test_levels_and_the_access_log_can_be_turned_off(start_shared: StartProxy, backend: LiveBackend) -> None:
    quiet, silent = (
        start_shared(BACKEND_URL=backend.url, **FEW, **more) for more in ({"LOG_LEVEL": "error"}, {"ACCESS_LOG": "off"})
    )
    for proxy in (quiet, silent):
        proxy.get("/quiet")
        proxy.stop()
    assert quiet.log == ""
    assert {line["logger"] for line in silent.log_lines()} <= {
        "caching_proxy.app.rules_file",
        "caching_proxy.app.service.ProxyService",
    }


def test_development_lines(start_shared: StartProxy, backend: LiveBackend) -> None:
    proxy = start_shared(BACKEND_URL=backend.url, NODE_ENV="development")
    proxy.get("/dev?token=s3cr3t")
    proxy.stop()
    [line] = [line for line in proxy.log.splitlines() if "access" in line]
    assert re.fullmatch(
        r"\x1b\[90m[\d:.]{12}\x1b\[0m \x1b\[\d+mINFO \x1b\[0m access: "
        r"GET /dev\?token=\*\*\* 200 MISS anonymous [\d.]+ms \S+",
        line,
    )
