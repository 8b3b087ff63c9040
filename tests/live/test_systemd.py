"""The daemon as a unit of systemd: what it tells the manager and when, the socket it is given, the shipped units."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, free_port, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy"


class Manager:
    """Stands in for systemd: hears what is said, in order."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(30)

    def hear(self) -> str:
        """The next word, but for signs of life."""
        while (word := self.word()) == "WATCHDOG=1":
            pass
        return word

    def word(self) -> str:
        return self.socket.recv(4096).decode().partition("\n")[0]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[str, Manager]]:
    with tempfile.TemporaryDirectory() as directory:
        shown = f"{directory}/n" if request.param == "path" else f"@caching-proxy-{os.getpid()}-{free_port()}"
        manager = Manager(shown.replace("@", "\0"))
        yield shown, manager
        manager.socket.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_manager_hears_it_all(
    start_proxy: StartProxy, backend: LiveBackend, manager: tuple[str, Manager], workers: str
) -> None:
    name, systemd = manager
    proxy = start_proxy(
        wait=False, BACKEND_URL=backend.url, NOTIFY_SOCKET=name, WATCHDOG_USEC="300000", WORKERS=workers
    )
    assert systemd.hear() == "READY=1"
    assert proxy.get("/ready-means-listening").status == 200
    assert [systemd.word() for _ in range(3)] == ["WATCHDOG=1"] * 3
    proxy.signal(signal.SIGHUP)
    assert [systemd.hear(), systemd.hear()] == ["RELOADING=1", "READY=1"]
    (proxy.directory / ".env").write_text("CACHE_TTL_SECONDS=never\n")
    proxy.signal(signal.SIGHUP)  # what cannot be used ends the reload as well
    assert [systemd.hear(), systemd.hear()] == ["RELOADING=1", "READY=1"]
    proxy.signal(signal.SIGTERM)
    assert systemd.hear() == "STOPPING=1"
    assert proxy.wait() == 0


def test_stopping_is_said_before_the_drain_and_signs_of_life_go_on(
    start_proxy: StartProxy, backend: LiveBackend, manager: tuple[str, Manager]
) -> None:
    name, systemd = manager
    proxy = start_proxy(BACKEND_URL=backend.url, NOTIFY_SOCKET=name, WATCHDOG_USEC="100000", DRAIN_DELAY_SECONDS="0.5")
    assert systemd.hear() == "READY=1"
    proxy.signal(signal.SIGTERM)
    assert systemd.hear() == "STOPPING=1"
    assert [systemd.word() for _ in range(3)] == ["WATCHDOG=1"] * 3
    assert proxy.wait() == 0


def test_a_port_that_is_taken_is_never_ready(
    start_proxy: StartProxy, backend: LiveBackend, manager: tuple[str, Manager]
) -> None:
    name, systemd = manager
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        proxy = start_proxy(wait=False, BACKEND_URL=backend.url, NOTIFY_SOCKET=name, PORT=port)
        assert proxy.wait() == 1
    systemd.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.word()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_socket_activation(tmp_path: Path, backend: LiveBackend, workers: str) -> None:
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed")
    port = free_port()
    handed_on = {
        "PYTHONPATH": str(ROOT),
        "BACKEND_URL": backend.url,
        "WORKERS": workers,
        "LISTEN": "systemd:domain=INET:index=0",
    }
    through = (
        activate,
        f"--listen=127.0.0.1:{port}",
        "--fdname=proxy",  # as systemd does; Twisted takes no socket without a name
        *(f"--setenv={name}={value}" for name, value in handed_on.items()),
    )
    proxy = ProxyProcess(tmp_path, {"PORT": str(port)}, through=through)
    try:
        wait_for(lambda: "Listening on" in proxy.log, "the socket")
        assert proxy.get("/activated").status == 200  # this connection waited for the start
        assert proxy.get("/activated").cache == "HOT_HIT"
    finally:
        assert proxy.stop() == 0


def installed(directory: Path) -> Path:
    """The shipped units, with a program that is there."""
    text = (UNITS / "cachingproxy.service").read_text().replace("/opt/caching_proxy/bin/twistd", sys.executable)
    (directory / "cachingproxy.service").write_text(text)
    shutil.copy(UNITS / "cachingproxy.socket", directory)
    return directory / "cachingproxy.service"


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_units_are_sound(tmp_path: Path) -> None:
    service = installed(tmp_path)
    done = analyze("--man=no", "verify", service, tmp_path / "cachingproxy.socket")
    complaints = [line for line in done.stderr.splitlines() if "cachingproxy" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_the_unit_is_as_closed_as_the_documents_say(tmp_path: Path) -> None:
    service = installed(tmp_path)
    done = analyze("security", "--offline=true", "--no-pager", service)
    found = re.search(r"exposure level for \S+ ([\d.]+)", done.stdout + done.stderr)
    if found is None:
        pytest.skip(f"this systemd-analyze judges no files: {done.stderr.strip()}")
    said = re.search(r"exposure of ([\d.]+)", (ROOT / "docs" / "operating.md").read_text())
    assert said is not None
    assert float(found[1]) <= float(said[1]) + 0.5  # each version of systemd counts in its own way
