"""HTTP/2 with a real process: the same answers as by HTTP/1.1, and clients that leave, stall or bring much."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from support.authority import Authority
from support.h2_blocking import Client
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.tls_client import client_context, write_pair

pytestmark = pytest.mark.live

AUTHORITY = Authority()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    certificate, key = write_pair(tmp_path_factory.mktemp("pair"), "pair", AUTHORITY, "localhost", "other.example")
    return {"TLS_CERT_FILE": certificate, "TLS_KEY_FILE": key}


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend, pair: dict[str, str]) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, ALLOWED_HOSTS="localhost", MAX_REQUEST_BODY_BYTES="5MiB", **pair)


Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    made: list[Client] = []

    def connected(proxy: ProxyProcess, reading: bool = True) -> Client:
        made.append(Client(proxy.port, AUTHORITY, reading))
        return made[-1]

    yield connected
    for client in made:
        client.socket.close()


@pytest.fixture
def client(proxy: ProxyProcess, connect: Connect) -> Client:
    return connect(proxy)


def test_a_miss_and_hits(client: Client, backend: LiveBackend) -> None:
    backend.on("/h2-hit", lambda exchange: exchange.reply(b"here", 200, [("Cache-Control", "max-age=60")]))
    answers = [client.get("/h2-hit") for _ in range(3)]
    assert [answer[b"x-cache-status"] for answer in answers] == [b"MISS", b"HOT_HIT", b"HOT_HIT"]
    assert {answer.body for answer in answers} == {b"here"}
    head = client.get("/h2-hit", method="HEAD")
    assert (head.status, head.body, head[b"content-length"]) == (200, b"", b"4")
    [request] = backend.seen("/h2-hit")
    assert request["X-Forwarded-Proto"] == "https"
    assert request["X-Forwarded-For"] == "127.0.0.1"


def test_fifty_at_once_make_one_fetch(client: Client, backend: LiveBackend) -> None:
    body = bytes(range(256)) * 1_000
    backend.on("/h2-many", lambda exchange: exchange.reply(body, 200, [("Cache-Control", "max-age=60")]))
    answers = client.finish(*[client.begin("/h2-many") for _ in range(50)])
    assert all(answer.body == body for answer in answers)
    assert len(backend.seen("/h2-many")) == 1


def test_uploads(client: Client, backend: LiveBackend) -> None:
    body = bytes(range(256)) * 12_000
    number = client.begin("/h2-up", method="POST", ends=False)
    client.upload(number, body)
    [answer] = client.finish(number)
    assert answer.status == 200
    assert backend.seen("/h2-up")[0].body_size == len(body)


def test_a_host_that_is_not_ours(client: Client, backend: LiveBackend) -> None:
    assert client.get("/h2-host", host="other.example").status == 421
    assert client.get("/h2-host").status == 200
    assert len(backend.seen("/h2-host")) == 1


def test_admin_endpoints(client: Client) -> None:
    assert client.get("/health").status == 200
    metrics = client.get("/metrics")
    assert b"http_requests_total" in metrics.body
    assert client.get("/keys").status == 403


def test_a_reset_cancels_the_fetch(client: Client, backend: LiveBackend) -> None:
    asked, left = threading.Event(), threading.Event()

    def hang(exchange: object) -> None:
        asked.set()
        exchange.socket.settimeout(10)  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            exchange.socket.recv(1)  # type: ignore[attr-defined]
        left.set()

    backend.on("/h2-hang?private", hang)
    number = client.begin("/h2-hang?private", method="DELETE")
    assert asked.wait(10)
    client.machine.reset_stream(number, ErrorCodes.CANCEL)
    client.flush()
    assert left.wait(8)


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
def test_curl(proxy: ProxyProcess, backend: LiveBackend, tmp_path: Path, protocol: str) -> None:
    curl = shutil.which("curl")
    if curl is None or b"HTTP2" not in subprocess.run([curl, "--version"], check=True, capture_output=True).stdout:
        pytest.skip("no curl with HTTP/2 on this machine")
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(6 << 20))
    base = [curl, "-sk", protocol, "--max-time", "20"]
    url = f"https://localhost:{proxy.port}"
    version = "2" if protocol == "--http2" else "1.1"

    def run(*arguments: str) -> str:
        done = subprocess.run([*base, *arguments], check=True, capture_output=True, text=True)
        return done.stdout

    say = ("-o", "/dev/null", "-w", "%{http_code} %{http_version} %{size_download}")
    assert run(*say, f"{url}/health").split()[:2] == ["200", version]
    backend.on("/curl-big", lambda exchange: exchange.reply(bytes(9_000_000)))
    for _ in range(2):
        assert run(*say, f"{url}/curl-big") == f"200 {version} 9000000"
    assert run(*say, "-r", "0-99", f"{url}/curl-big") == f"206 {version} 100"
    assert run(*say, "-T", str(upload), f"{url}/curl-up").split()[:2] == ["413", version]


def test_http1_alone(start_proxy: StartProxy, backend: LiveBackend, pair: dict[str, str]) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, HTTP2="off", **pair)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as plain:
        context = client_context(AUTHORITY, ("h2", "http/1.1"))
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() == "http/1.1"


def test_the_end_of_the_process(
    start_proxy: StartProxy, backend: LiveBackend, pair: dict[str, str], connect: Connect
) -> None:
    """Streams under way are finished, idle connections hear of the end."""
    release = threading.Event()

    def slow(exchange: object) -> None:
        release.wait(10)
        exchange.reply(b"late")  # type: ignore[attr-defined]

    backend.on("/h2-slow", slow)
    proxy = start_proxy(BACKEND_URL=backend.url, SHUTDOWN_GRACE_SECONDS="10", **pair)
    idle, busy = connect(proxy), connect(proxy)
    assert idle.get("/h2-idle").status == 200
    number = busy.begin("/h2-slow")
    wait_for(lambda: bool(backend.seen("/h2-slow")), "the request")
    proxy.process.terminate()
    while not idle.ended:
        idle.receive()
    assert idle.goodbye is not None
    assert idle.goodbye.error_code == ErrorCodes.NO_ERROR
    while busy.goodbye is None:
        busy.receive()
    release.set()
    assert proxy.wait() == 0
    with contextlib.suppress(ssl.SSLError, OSError):
        while not busy.ended:
            busy.machine.state_machine.state = type(busy.machine.state_machine.state).CLIENT_OPEN
            busy.receive()
    assert busy.streams[number].body == b"late"


def test_a_client_that_reads_nothing(
    start_proxy: StartProxy, backend: LiveBackend, pair: dict[str, str], connect: Connect
) -> None:
    """Thirty streams of a window that stays shut are given up, and what they kept with them."""
    proxy = start_proxy(BACKEND_URL=backend.url, WRITE_TIMEOUT="1", **pair)
    backend.on("/h2-shut", lambda exchange: exchange.reply(bytes(1_000_000), 200, [("Cache-Control", "max-age=60")]))
    client = connect(proxy, reading=False)
    numbers = [client.begin("/h2-shut") for _ in range(30)]
    answers = client.finish(*numbers)
    assert {answer.reset for answer in answers} == {int(ErrorCodes.CANCEL)}
    assert connect(proxy).get("/h2-shut").status == 200
