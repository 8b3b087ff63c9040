"""TLS on the front, with a real process: names, reloading, mistakes in settings, big bodies and slow readers."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from support.authority import Authority, dns
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, listens, wait_for
from support.tls_client import client_context, write_pair

pytestmark = pytest.mark.live

AUTHORITY = Authority()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    directory = tmp_path_factory.mktemp("pairs")
    return [
        write_pair(directory, "first", AUTHORITY, "localhost", "first.example"),
        write_pair(directory, "second", AUTHORITY, "*.second.example"),
    ]


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend, pairs: list[tuple[str, str]]) -> ProxyProcess:
    certificates, keys = (",".join(each) for each in zip(*pairs, strict=True))
    return start_shared(BACKEND_URL=backend.url, TLS_CERT_FILE=certificates, TLS_KEY_FILE=keys)


def connect(proxy: ProxyProcess, name: str = "localhost", context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", proxy.port), 10)
    return (context or client_context(AUTHORITY)).wrap_socket(plain, server_hostname=name)


def get(proxy: ProxyProcess, target: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=10, context=client_context(AUTHORITY))
    connection.request("GET", target)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def shown(connection: ssl.SSLSocket) -> set[str]:
    return {str(value) for _, value in (connection.getpeercert() or {})["subjectAltName"]}  # type: ignore[misc]


def test_a_request_and_a_hit(proxy: ProxyProcess, backend: LiveBackend) -> None:
    for status in ("MISS", "HOT_HIT"):
        answer, _ = get(proxy, "/tls-hit")
        assert (answer.status, answer.headers["X-Cache-Status"]) == (200, status)
    assert backend.seen("/tls-hit")[0]["X-Forwarded-Proto"] == "https"
    assert backend.seen("/tls-hit")[0]["X-Forwarded-For"] == "127.0.0.1"


def test_the_name_chooses_the_certificate(proxy: ProxyProcess) -> None:
    for name, certificate in [("first.example", "first.example"), ("www.second.example", "*.second.example")]:
        with connect(proxy, name) as connection:
            assert certificate in shown(connection)
    with connect(proxy, "nobody.example", client_context()) as connection:
        assert connection.selected_alpn_protocol() is None


def test_plain_http_on_the_port(proxy: ProxyProcess) -> None:
    answer = proxy.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer


def test_an_upload_and_its_early_answer(proxy: ProxyProcess, backend: LiveBackend) -> None:
    body = os.urandom(3_000_000)
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=20, context=client_context(AUTHORITY))
    connection.request("POST", "/tls-up", body)
    assert connection.getresponse().status == 200
    connection.close()
    assert backend.seen("/tls-up")[0].body_size == len(body)


def test_files_are_read_anew_and_connections_stay(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path
) -> None:
    pair = write_pair(tmp_path, "one", AUTHORITY, "localhost", "old.example")
    proxy = start_proxy(BACKEND_URL=backend.url, TLS_CERT_FILE=pair[0], TLS_KEY_FILE=pair[1])
    with connect(proxy) as kept:
        new = write_pair(tmp_path, "two", AUTHORITY, "localhost", "new.example")
        for source, target in zip(new, pair, strict=True):
            os.replace(source, target)
        wait_for(lambda: "read anew" in proxy.log, "the new files to be seen")
        with connect(proxy) as after:
            assert "new.example" in shown(after)
        kept.sendall(b"GET /kept HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(100).startswith(b"HTTP/1.1 200")
    Path(pair[1]).write_bytes(b"junk")
    proxy.signal(signal.SIGHUP)
    wait_for(lambda: "certificates stay as they were" in proxy.log, "the complaint")
    assert str(pair[1]) in proxy.log
    with connect(proxy) as after:
        assert "new.example" in shown(after)


@pytest.mark.parametrize("case", ["mismatch", "missing", "locked", "alone", "counts", "endpoint"])
def test_pairs_that_cannot_work_stop_the_start(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path, case: str
) -> None:
    certificate, key = write_pair(tmp_path, "one", AUTHORITY, "localhost")
    settings = {"TLS_CERT_FILE": certificate, "TLS_KEY_FILE": key}
    _, secret = AUTHORITY.issue(*dns("localhost"))
    if case == "mismatch":
        settings["TLS_KEY_FILE"] = write_pair(tmp_path, "two", AUTHORITY, "localhost")[1]
    elif case == "missing":
        Path(certificate).unlink()
    elif case == "locked":
        Path(key).write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    elif case == "alone":
        del settings["TLS_KEY_FILE"]
    elif case == "counts":
        settings["TLS_CERT_FILE"] = f"{certificate},{certificate}"
    else:
        settings["LISTEN"] = f"ssl:0:privateKey={key}:certKey={certificate}"
    proxy = start_proxy(wait=False, BACKEND_URL=backend.url, **settings)
    assert proxy.wait() == 1
    [line] = proxy.log.splitlines()
    expected = {
        "mismatch": ("TLS_KEY_FILE", "not the key of the certificate"),
        "missing": ("TLS_CERT_FILE", "No such file"),
        "locked": ("TLS_KEY_FILE", "without a password"),
        "alone": ("TLS_CERT_FILE", "TLS_KEY_FILE to be set as well"),
        "counts": ("TLS_KEY_FILE", "as many files as TLS_CERT_FILE names (2)"),
        "endpoint": ("LISTEN", "without TLS of its own"),
    }[case]
    for text in expected:
        assert text in line


def test_an_expired_certificate_is_a_warning(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "one", AUTHORITY, "localhost", days=10)
    proxy = start_proxy(BACKEND_URL=backend.url, TLS_CERT_FILE=pair[0], TLS_KEY_FILE=pair[1])
    [line] = [line for line in proxy.log_lines() if line["level"] == "warn" and "expired" in str(line["msg"])]
    assert "expired on 2020-01-11" in str(line["msg"])
    with connect(proxy, context=client_context()) as connection:
        assert connection.version() == "TLSv1.3"


def test_over_a_unix_socket(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path / "socket"
    certificate, key = pairs[0]
    start_proxy(wait=False, BACKEND_URL=backend.url, LISTEN=f"unix:{path}", TLS_CERT_FILE=certificate, TLS_KEY_FILE=key)
    wait_for(lambda: listens(path), "the socket")
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(path))
        with client_context(AUTHORITY).wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET /unix-tls HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_a_client_that_takes_nothing_is_dropped(
    start_proxy: StartProxy, backend: LiveBackend, pairs: list[tuple[str, str]]
) -> None:
    certificate, key = pairs[0]
    proxy = start_proxy(BACKEND_URL=backend.url, TLS_CERT_FILE=certificate, TLS_KEY_FILE=key, WRITE_TIMEOUT="1")
    backend.on("/big-tls", lambda exchange: exchange.reply(bytes(9_000_000)))
    with connect(proxy) as slow:
        slow.sendall(b"GET /big-tls HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        wait_for(lambda: _dropped(slow), "the connection to be dropped")


def _dropped(connection: ssl.SSLSocket) -> bool:
    """Whether a reset has arrived; nothing is read."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
