"""Several workers behind one port: their lives, signals, and what becomes of requests meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.authority import Authority
from support.live_backend import Exchange, LiveBackend
from support.load_threads import Load
from support.proxy_process import ROOT, ProxyProcess, StartProxy, free_port, wait_for
from support.tls_client import client_context, write_pair
from support.workers import alive, listeners, owner, serving, wait_for_workers, worker_pids

pytestmark = pytest.mark.live


def said(proxy: ProxyProcess, text: str) -> bool:
    return any(text in str(line["msg"]) for line in proxy.log_lines_so_far())


def test_two_workers_share_the_port_and_end_in_order(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    pids = wait_for_workers(proxy, 2)
    assert len(pids) == 2
    seen: set[int | None] = set()
    connections = []
    for _ in range(100):
        connection = socket.create_connection(("127.0.0.1", proxy.port), 10)
        connections.append(connection)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        seen.add(owner(proxy, connection, pids))
        if seen >= set(pids):
            break
    assert seen == set(pids)
    for connection in connections:
        connection.close()
    assert proxy.stop() == 0
    assert not any(map(alive, pids))
    assert [line["msg"] for line in proxy.log_lines()].count("stopped") == 2
    assert proxy.log_lines()[-1]["msg"] == "all workers have ended"


def test_one_worker_has_no_supervisor(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="1")
    assert proxy.get("/one").status == 200
    assert worker_pids(proxy) == []


def test_a_killed_worker_costs_its_own_connections_and_nothing_else(
    start_proxy: StartProxy, backend: LiveBackend
) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    pids = wait_for_workers(proxy, 2)
    with Load(proxy.port, "/killed") as load:
        wait_for(lambda: load.total > 200, "some load")
        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: serving(proxy) >= 3, "another worker")
        total = load.total
        wait_for(lambda: load.total > total + 200, "load to go on")
    tally = load.tally
    assert set(tally.answered) == {200}
    assert tally.refused == 0
    assert len(tally.fresh) + len(tally.reused) + len(tally.cut) <= 4  # a thread has one connection at a time
    now = worker_pids(proxy)
    assert len(now) == 2
    assert pids[1] in now
    assert pids[0] not in now
    [line] = [line for line in proxy.log_lines_so_far() if "is gone" in str(line["msg"])]
    assert line["level"] == "warn"
    assert "killed by SIGKILL; another one starts in 0.00 s" in str(line["msg"])


def test_a_spare_takes_a_dead_worker_s_place(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", SPARE_WORKERS="1")
    wait_for_workers(proxy, 2)
    wait_for(lambda: len(worker_pids(proxy)) == 3, "a worker in waiting")
    first, second, spare = worker_pids(proxy)
    os.kill(first, signal.SIGKILL)
    assert wait_for_workers(proxy, 3)[:2] == [second, spare]
    wait_for(lambda: said(proxy, f"worker 3 (pid {spare}) serves"), "the spare to serve")
    wait_for(lambda: len(worker_pids(proxy)) == 3, "another spare")
    assert {proxy.get(f"/{n}").status for n in range(20)} == {200}
    os.kill(worker_pids(proxy)[-1], signal.SIGKILL)
    wait_for(lambda: said(proxy, "in waiting"), "a line about it")
    pids = worker_pids(proxy)
    assert proxy.stop() == 0
    assert not any(map(alive, pids))
    assert listeners(proxy.port) == 0


def test_while_a_slot_is_empty_the_other_worker_answers_there(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    pids = wait_for_workers(proxy, 2)
    os.kill(pids[0], signal.SIGKILL)
    # Connections meant for the dead worker's socket are answered long before there is another: a worker takes a
    # good part of a second to start, and each of these takes its turn.
    for _ in range(40):
        assert proxy.get("/health").status == 200
    wait_for_workers(proxy, 3)


def test_sigterm_under_load_loses_no_request(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    wait_for_workers(proxy, 2)
    with Load(proxy.port, "/ending", count=6) as load:
        wait_for(lambda: load.total > 300, "some load")
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        wait_for(lambda: load.tally.refused > 0, "refused connections")
    tally = load.tally
    assert (tally.fresh, tally.reused, tally.cut) == ([], [], [])
    assert set(tally.answered) == {200}


def test_a_killed_supervisor_leaves_nothing(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="3", SPARE_WORKERS="1")
    wait_for_workers(proxy, 3)
    wait_for(lambda: len(worker_pids(proxy)) == 4, "a worker in waiting")
    pids = worker_pids(proxy)
    proxy.signal(signal.SIGKILL)
    proxy.wait()
    wait_for(lambda: not any(map(alive, pids)), "the workers to end")
    wait_for(lambda: listeners(proxy.port) == 0, "the sockets to go with the last thread")


def test_a_worker_that_is_asked_to_end_ends_in_order_and_is_replaced(
    start_proxy: StartProxy, backend: LiveBackend
) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    pids = wait_for_workers(proxy, 2)
    with Load(proxy.port, "/asked") as load:
        wait_for(lambda: load.total > 100, "some load")
        os.kill(pids[0], signal.SIGTERM)
        wait_for_workers(proxy, 3)
    tally = load.tally
    assert (tally.fresh, tally.reused, tally.cut, tally.refused) == ([], [], [], 0)


def test_a_port_in_use_ends_the_start_even_if_its_owner_shares_it(
    start_proxy: StartProxy, backend: LiveBackend
) -> None:
    first = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    second = start_proxy(wait=False, BACKEND_URL=backend.url, WORKERS="2", PORT=str(first.port))
    assert second.wait() == 1
    assert second.log.splitlines()[-1].startswith(f"PORT: '{first.port}' is not allowed")


def test_a_socket_from_systemd_is_shared(tmp_path: Path, backend: LiveBackend) -> None:
    activate = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="http", LISTEN_PID=str(os.getpid()))
from twisted.scripts.twistd import run
run()
"""
    with socket.create_server(("127.0.0.1", 0)) as given:
        process = subprocess.Popen(
            [sys.executable, "-c", activate, str(given.fileno()), "-n", "--pidfile=", "cachingproxy"],
            cwd=tmp_path,
            env={
                "LISTEN": "systemd:domain=INET:index=0",
                "WORKERS": "2",
                "BACKEND_URL": backend.url,
                "PYTHONPATH": str(ROOT),
            },
            pass_fds=[given.fileno()],
            stdout=subprocess.DEVNULL,
        )
        try:
            for _ in range(5):
                connection = http.client.HTTPConnection("127.0.0.1", given.getsockname()[1], timeout=20)
                connection.request("GET", "/systemd")
                assert connection.getresponse().status == 200
                connection.close()
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_a_unix_socket_is_shared_and_its_file_goes_with_the_supervisor(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path
) -> None:
    path = tmp_path / "shared"
    proxy = start_proxy(wait=False, BACKEND_URL=backend.url, WORKERS="2", LISTEN=f"unix:{path}")
    pids = wait_for_workers(proxy, 2)
    os.kill(pids[0], signal.SIGTERM)
    wait_for_workers(proxy, 3)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /unix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert proxy.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("way", ["LISTEN", "TLS_CERT_FILE"])
def test_tls_with_workers(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path, way: str) -> None:
    authority = Authority()
    certificate, key = write_pair(tmp_path, "own", authority, "localhost")
    port = free_port()
    settings = {"TLS_CERT_FILE": certificate, "TLS_KEY_FILE": key}
    if way == "LISTEN":
        settings = {"LISTEN": f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}"}
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", PORT=str(port), **settings)
    wait_for_workers(proxy, 2)
    for _ in range(5):
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=client_context(authority))
        connection.request("GET", f"/tls-{way}")
        assert connection.getresponse().status == 200
        connection.close()
    with socket.create_connection(("127.0.0.1", port), 10) as plain, contextlib.suppress(ConnectionResetError):
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")


def test_an_admin_port_of_its_own(start_proxy: StartProxy, backend: LiveBackend) -> None:
    port = free_port()
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", ADMIN_PORT=str(port), ADMIN_AUTH="none")
    pids = wait_for_workers(proxy, 2)
    os.kill(pids[0], signal.SIGKILL)
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
    assert proxy.get("/metrics").cache == "MISS"
    wait_for_workers(proxy, 3)


@pytest.mark.parametrize("reactor", ["select", "epoll", "asyncio"])
def test_other_reactors(tmp_path: Path, backend: LiveBackend, reactor: str) -> None:
    settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url, "WORKERS": "2"}
    proxy = ProxyProcess(tmp_path, settings, ("-n", f"--reactor={reactor}"))
    try:
        pids = wait_for_workers(proxy, 2)
        os.kill(pids[0], signal.SIGKILL)
        wait_for_workers(proxy, 3)
        assert proxy.request("PUT", "/reactors", {}, b"x").status == 200
        assert proxy.get("/reactors").status == 200
    finally:
        assert proxy.stop() == 0


def test_both_families(start_proxy: StartProxy, backend: LiveBackend) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    proxy = start_proxy(BACKEND_URL=backend.url, HOST="::", WORKERS="2")
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, proxy.port), 10) as client:
            client.sendall(b"GET /families HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_before_the_drain_all_is_served_and_readiness_says_so(
    start_proxy: StartProxy, backend: LiveBackend, number: signal.Signals
) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", DRAIN_DELAY_SECONDS="2")
    wait_for_workers(proxy, 2)
    proxy.signal(number)
    wait_for(lambda: proxy.get("/ready").status == 503, "readiness to say so")
    assert proxy.get("/ready").json()["status"] == "draining"  # type: ignore[index]
    assert proxy.get("/still").status == 200
    assert proxy.wait() == 0


def test_the_grace_time_ends_for_all(start_proxy: StartProxy, backend: LiveBackend) -> None:
    asked, over = threading.Event(), threading.Event()

    def stuck(exchange: Exchange) -> None:
        asked.set()
        over.wait(20)
        exchange.hang_up()

    backend.on("/stuck-workers", stuck)
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2", SHUTDOWN_GRACE_SECONDS="0.3")
    wait_for_workers(proxy, 2)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"GET /stuck-workers HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked.wait(10)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait(15) == 0
    over.set()


def test_a_request_under_way_is_answered_before_the_end(start_proxy: StartProxy, backend: LiveBackend) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.send(b"first")
        asked.set()
        assert go_on.wait(10)
        exchange.send(b"-last")

    backend.on("/slow-workers", slow)
    proxy = start_proxy(BACKEND_URL=backend.url, WORKERS="2")
    wait_for_workers(proxy, 2)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(proxy.get, "/slow-workers")
        assert asked.wait(10)
        proxy.signal(signal.SIGTERM)
        wait_for(lambda: listeners(proxy.port) == 0, "the port to be closed")
        go_on.set()
        assert under_way.result().body == b"first-last"
    assert proxy.wait() == 0
