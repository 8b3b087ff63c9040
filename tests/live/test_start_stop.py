"""How the daemon begins and ends: what stops it from starting, ways to run it, and what a signal lets finish."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.live_backend import Exchange, LiveBackend
from support.proxy_process import ROOT, ProxyProcess, StartProxy, free_port, listens, wait_for
from support.redis_server import RedisServer
from support.twistd import twistd

pytestmark = pytest.mark.live

NOWHERE = "http://127.0.0.1:9"


# -- what stops a start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"BACKEND_URL": ""}, "BACKEND_URL"),
        ({"BACKEND_URL": "ftp://x"}, "ftp://x"),
        ({"PORT": "abc"}, "PORT: 'abc'"),
        ({"CACHE_URL": "redis://:hidden@x:port"}, "CACHE_URL"),
        ({"CACHE_TTL_SECONDS": "-1"}, "CACHE_TTL_SECONDS: '-1'"),
        ({"HOT_CACHE_MAX_BYTES": "64 parsecs"}, "HOT_CACHE_MAX_BYTES: '64 parsecs'"),
        ({"JWT_TRUST": "blindly"}, "isolate"),
        ({"JWT_PUBLIC_KEY_FILE": "/nonexistent.pem"}, "JWT_PUBLIC_KEY_FILE"),
        ({"TRUSTED_PROXIES": "10.0.0.0/33"}, "TRUSTED_PROXIES"),
        ({"REDIS_POOL_MIN": "20"}, "REDIS_POOL_MAX"),
        ({"INVALIDATION_CONFIG": "bad.json"}, "INVALIDATION_CONFIG: 'bad.json' is not allowed"),
        ({"INVALIDATION_CONFIG": "bad.json"}, "(rule 2: post_path_regex '('"),
        ({"INVALIDATION_CONFIG": "no.json"}, "INVALIDATION_CONFIG: 'no.json' is not allowed"),
        ({"INVALIDATION_CONFIG": "no.json"}, "(not valid JSON: "),
        ({"INVALIDATION_CONFIG": "directory"}, "INVALIDATION_CONFIG: 'directory' is not allowed"),
        ({"INVALIDATION_CONFIG": "directory"}, "(Is a directory)"),
        ({"CACHE_RULES": "paths.json"}, "CACHE_RULES: 'paths.json' is not allowed"),
        ({"CACHE_RULES": "paths.json"}, "(rule 2: unknown field 'ttl_seconds'; known are "),
        ({"CACHE_RULES": "missing.json"}, "(there is no such file)"),
        ({"JWT_ROLES_CLAIM": "realm..roles"}, "JWT_ROLES_CLAIM: 'realm..roles'"),
        ({"WORKERS": "0"}, "WORKERS: '0' is not allowed; expected a whole number from 1 to 256, or auto"),
        ({"WORKERS": "-1"}, "WORKERS: '-1'"),
        ({"WORKERS": "abc"}, "WORKERS: 'abc'"),
        ({"WORKERS": "2", "INVALIDATION_CONFIG": "bad.json"}, "(rule 2: post_path_regex '('"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_settings(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    rule = '{"post_path_regex": "%s", "invalidate_patterns": ["x"]}'
    (tmp_path / "paths.json").write_text('[{"match": "^/a"}, {"match": "^/b", "ttl_seconds": 5}]')
    (tmp_path / "bad.json").write_text(f"[{rule % 'x'}, {rule % '('}]")
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "directory").mkdir()
    done = twistd(tmp_path, "-n", "--pidfile=", "cachingproxy", **{"BACKEND_URL": NOWHERE, **wrong})
    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert said in done.stderr
    assert "hidden" not in done.stderr


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("which", ["PORT", "ADMIN_PORT"])
@pytest.mark.parametrize("reactor", ["default", "select"])
def test_a_port_in_use(tmp_path: Path, taken: int, reactor: str, which: str) -> None:
    chosen = [f"--reactor={reactor}"] if reactor != "default" else []
    settings = {"BACKEND_URL": NOWHERE, "HOST": "127.0.0.1", "PORT": str(free_port()), which: str(taken)}
    done = twistd(tmp_path, "-n", *chosen, "cachingproxy", **settings)
    said = f"{which}: '{taken}' is not allowed; expected a port of 127.0.0.1 that nobody else listens on"
    assert (done.returncode, done.stderr) == (1, f"{said}\n")
    [line] = [line for line in map(json.loads, done.stdout.splitlines()) if line["level"] != "warn"]
    assert (line["level"], line["msg"]) == ("fatal", f"cannot listen: {said}")
    assert list(tmp_path.iterdir()) == []  # no pid file either


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LISTEN", "foo:bar", "a Twisted endpoint string such as"),
        ("LISTEN", "tcp:abc", "'abc'"),
        ("LISTEN", "tcp:99999", "port must be 0-65535"),
        ("LISTEN", "tcp:1:2:3:4:5", "an argument is missing, unknown or too many"),
        ("LISTEN", "ssl:41308", "server.pem"),
        ("LISTEN", "ssl:0:privateKey=/nonexistent.pem", "No such file or directory: /nonexistent.pem"),
        ("LISTEN", "systemd:domain=INET:index=0", "a socket that systemd has passed on"),
        ("LISTEN", "unix:/nonexistent/dir/socket", "No such file or directory"),
        ("HOST", "not a host", "an address of this machine"),
        ("HOST", "203.0.113.7", "annot assign requested address"),
        ("ADMIN_HOST", "zzz.invalid", "an address of this machine"),
    ],
    ids=lambda text: text.replace("/", "_")[:20],
)
def test_a_listener_that_cannot_be(tmp_path: Path, name: str, value: str, allowed: str) -> None:
    settings = {"BACKEND_URL": NOWHERE, "HOST": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0", name: value}
    done = twistd(tmp_path, "-n", "--pidfile=", "cachingproxy", MAX_CONNECTIONS="100", **settings)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"{name}: {value!r} is not allowed; expected ")
    assert allowed in done.stderr
    assert [line["level"] for line in map(json.loads, done.stdout.splitlines())] == ["warn", "fatal"]


def test_a_daemon_that_cannot_start_says_so(tmp_path: Path, taken: int) -> None:
    done = twistd(tmp_path, "cachingproxy", BACKEND_URL=NOWHERE, PORT=str(taken))
    assert done.returncode == 1
    said = f"PORT: '{taken}' is not allowed; expected a port of 0.0.0.0 that nobody else listens on"
    assert done.stderr.splitlines()[0] == f'An error has occurred: b"{said}"'
    assert not (tmp_path / "twistd.pid").exists()
    assert "Traceback" not in (tmp_path / "twistd.log").read_text()


def test_what_a_daemon_says_ends_with_a_word(tmp_path: Path) -> None:
    done = twistd(tmp_path, "cachingproxy", BACKEND_URL=NOWHERE, LISTEN="unix:/nonexistent/directory/of/a/socket")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].endswith(' ..."')
    assert "No such file or directory" in (tmp_path / "twistd.log").read_text()


# -- ways to run it ------------------------------------------------------------------------------------


def test_an_env_file_of_the_node_original(
    start_shared: StartProxy, backend: LiveBackend, redis_server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        f"""# Environment
NODE_ENV=production
METRIX_PREFIX="shop"   # prefix of metrics
CACHE_URL='{redis_server.url}'
BACKEND_URL={backend.url} # the API
CACHE_TTL_SECONDS=60 # one minute
LOG_LEVEL=info
KEYDB_PORT=6379
"""
    )
    proxy = ProxyProcess(tmp_path, {"PORT": str(free_port()), "HOST": "127.0.0.1"})
    try:
        proxy.wait_until_serving()
        assert proxy.get("/node")["X-Cache-Expires-In"] == "60s"
        wait_for(lambda: redis_server.cli("EXISTS", "cache:GET:anonymous:/node") == 1, "the write")
        assert b"shop_http_requests_total" in proxy.get("/metrics").body
    finally:
        assert proxy.stop() == 0


@pytest.mark.parametrize("reactor", ["select", "epoll", "asyncio"])
def test_other_reactors_serve(tmp_path: Path, backend: LiveBackend, reactor: str) -> None:
    settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url}
    proxy = ProxyProcess(tmp_path, settings, ("-n", f"--reactor={reactor}"))
    try:
        proxy.wait_until_serving()
        target = f"/reactor-{reactor}"
        assert [proxy.get(target).cache for _ in range(2)] == ["MISS", "HOT_HIT"]
        assert proxy.request("POST", target, {}, b"x" * 100_000).cache == "N/A"
        assert proxy.get(target).cache == "MISS"
    finally:
        assert proxy.stop() == 0


def test_a_daemon(tmp_path: Path, backend: LiveBackend) -> None:
    port = free_port()
    done = twistd(tmp_path, "--pidfile=my.pid", "cachingproxy", BACKEND_URL=backend.url, PORT=str(port))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((tmp_path / "my.pid").read_text())
    try:
        for expected in ("MISS", "HOT_HIT"):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/daemon")
                answered = connection.getresponse()
                answered.read()  # who leaves before the end may find it under way the next time
                assert (answered.status, answered.getheader("X-Cache-Status")) == (200, expected)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not (tmp_path / "my.pid").exists(), "the daemon to end")
    lines = [json.loads(line) for line in (tmp_path / "twistd.log").read_text().splitlines()]
    assert lines[-1]["msg"] == "stopped"
    assert sum(line["logger"] == "access" for line in lines) == 2


class UnixConnection(http.client.HTTPConnection):
    """To a Unix socket; the host is its path."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def test_listening_on_a_unix_socket(tmp_path: Path, backend: LiveBackend) -> None:
    path = tmp_path / "s"
    settings = {"PORT": "0", "LISTEN": f"unix:{path}", "BACKEND_URL": backend.url}
    proxy = ProxyProcess(tmp_path, settings)
    try:
        wait_for(lambda: proxy.process.poll() is not None or listens(path), "the proxy to listen")
        with contextlib.closing(UnixConnection(str(path), timeout=10)) as connection:
            connection.request("GET", "/unix", headers={"Host": "x"})
            assert connection.getresponse().getheader("X-Cache-Status") == "MISS"
    finally:
        assert proxy.stop() == 0
    assert not path.exists()
    [seen] = backend.seen("/unix")
    assert seen.all("X-Forwarded-For") == []  # nobody knows


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="http", LISTEN_PID=str(os.getpid()))
from twisted.scripts.twistd import run
run()
"""


def test_a_socket_from_systemd(tmp_path: Path, backend: LiveBackend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        settings = {"LISTEN": "systemd:domain=INET:index=0", "BACKEND_URL": backend.url, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(given.fileno()), "-n", "--pidfile=", "cachingproxy"],
            cwd=tmp_path,
            env=settings,
            pass_fds=[given.fileno()],
            stdout=subprocess.DEVNULL,
        )
        try:
            connection = http.client.HTTPConnection("127.0.0.1", given.getsockname()[1], timeout=20)
            with contextlib.closing(connection):
                connection.request("GET", "/systemd")
                assert connection.getresponse().status == 200
        finally:
            process.terminate()
            assert process.wait(20) == 0


# -- stopping ------------------------------------------------------------------------------------------


def refuses(proxy: ProxyProcess) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", proxy.port), 5):
        return False
    return True


@pytest.mark.parametrize("arguments", [("-n",), ("-n", "--reactor=select")], ids=["default", "select"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_finish(
    tmp_path: Path, backend: LiveBackend, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.send(b"first")
        asked.set()
        assert go_on.wait(10)
        exchange.send(b"-last")

    target = f"/drain-{number}-{len(arguments)}"
    backend.on(target, slow)
    settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url}
    proxy = ProxyProcess(tmp_path, settings, arguments)
    proxy.wait_until_serving()
    idle = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    idle.request("GET", "/idle")
    idle.getresponse().read()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(proxy.get, target)
        assert asked.wait(10)
        proxy.signal(number)
        wait_for(lambda: refuses(proxy), "new connections to be refused")
        assert idle.sock.recv(1) == b""  # an idle connection is closed at once
        idle.close()
        assert proxy.process.poll() is None
        go_on.set()
        assert under_way.result().body == b"first-last"
    assert proxy.wait() == 0
    assert proxy.log_lines()[-1]["msg"] == "stopped"


def test_the_grace_time_ends(start_shared: StartProxy, backend: LiveBackend) -> None:
    asked, over = threading.Event(), threading.Event()

    def stuck(exchange: Exchange) -> None:
        asked.set()
        over.wait(20)
        exchange.hang_up()

    backend.on("/stuck", stuck)
    proxy = start_shared(BACKEND_URL=backend.url, SHUTDOWN_GRACE_SECONDS="0.3")
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked.wait(10)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    over.set()


def test_a_fetch_for_the_cache_alone_does_not_hold_the_end_up(start_shared: StartProxy, backend: LiveBackend) -> None:
    asked, over = threading.Event(), threading.Event()

    def trickle(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "1000"), ("Cache-Control", "max-age=60")])
        asked.set()
        while not over.wait(0.05):
            exchange.send(b"x")

    backend.on("/trickle", trickle)
    proxy = start_shared(BACKEND_URL=backend.url, SHUTDOWN_GRACE_SECONDS="0.3")
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"GET /trickle HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    try:
        assert proxy.stop() == 0
    finally:
        over.set()
    assert "answers of the backend" in proxy.log


def test_invalidations_are_carried_out_before_the_end(start_shared: StartProxy, backend: LiveBackend) -> None:
    with RedisServer() as server:
        proxy = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url)
        proxy.get("/last")
        wait_for(lambda: server.cli("EXISTS", "cache:GET:anonymous:/last") == 1, "the write")
        server.freeze()
        assert proxy.request("PUT", "/last", {}, b"x").status == 200
        proxy.signal(signal.SIGTERM)
        wait_for(lambda: refuses(proxy), "new connections to be refused")
        server.thaw()
        assert proxy.wait() == 0
        assert server.cli("EXISTS", "cache:GET:anonymous:/last") == 0


def test_a_frozen_redis_does_not_hold_the_end_up(start_shared: StartProxy, backend: LiveBackend) -> None:
    with RedisServer() as server:
        proxy = start_shared(BACKEND_URL=backend.url, CACHE_URL=server.url, SHUTDOWN_GRACE_SECONDS="0.1")
        server.freeze()
        assert proxy.request("PUT", "/frozen", {}, b"x").status == 200
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(10) == 0
        assert "invalidations" in proxy.log
