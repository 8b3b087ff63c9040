"""Where a real proxy's log lines go: a stdout that nobody reads, files that rotate, are renamed, are full or gone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, free_port, wait_for
from support.twistd import twistd

pytestmark = pytest.mark.live

MANY = 5000
QUIET = {"MAX_CONNECTIONS": "16", "BACKEND_MAX_CONNECTIONS": "4"}


def ask(port: int, targets: Iterator[str]) -> None:
    """GET each, one after the other on one connection; every one is answered."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for target in targets:
            connection.request("GET", target)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200


def numbered(first: int, last: int, more: str = "") -> Iterator[str]:
    return (f"/one?n={n}{more}" for n in range(first, last))


def lost(proxy: ProxyProcess) -> int:
    [value] = re.findall(rb"^log_lines_lost_total (\d+)", proxy.get("/metrics").body, re.MULTILINE)
    return int(value)


def numbers(*texts: str) -> list[int]:
    """The numbers of the requests in access lines; fails on a line that is no JSON."""
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return [
        int(line["path"].partition("=")[2].partition("&")[0])
        for line in lines
        if line.get("path", "").startswith("/one?n=")
    ]


def logs(directory: Path) -> list[Path]:
    return sorted(directory.glob("log*"))


def so_far(path: Path) -> str:
    """What is in a file that may be renamed at any moment."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


StartPiped = Callable[..., tuple[ProxyProcess, int]]


@pytest.fixture
def start_piped(tmp_path: Path, backend: LiveBackend) -> Iterator[StartPiped]:
    """Starts a proxy whose stdout is a pipe; gives the end to read, which is closed after the test."""
    running: list[tuple[ProxyProcess, int]] = []

    def start(**environment: str) -> tuple[ProxyProcess, int]:
        reader, writer = os.pipe()
        settings = {"PORT": str(free_port()), "HOST": "127.0.0.1", "BACKEND_URL": backend.url, **environment}
        running.append((ProxyProcess(tmp_path, settings, stdout=writer), reader))
        os.close(writer)
        running[-1][0].wait_until_serving()
        return running[-1]

    yield start
    for proxy, reader in running:
        with contextlib.suppress(OSError):
            os.close(reader)
        proxy.stop()


class Reading(threading.Thread):
    """Reads a descriptor to its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.data = b""
        self.start()

    def run(self) -> None:
        while chunk := os.read(self.descriptor, 1 << 16):
            self.data += chunk

    def text(self) -> str:
        """All of it."""
        self.join(20)
        assert not self.is_alive()
        return self.data.decode()


# -- stdout --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stdout_that_nobody_reads_loses_lines_and_no_request(start_piped: StartPiped) -> None:
    proxy, reader = start_piped()
    ask(proxy.port, numbered(0, MANY, "&" + "x" * 1200))
    assert lost(proxy) > 100
    output = Reading(reader)
    wait_for(lambda: b"log lines were lost" in output.data, "a warning that lines were lost")
    ask(proxy.port, numbered(MANY, MANY + 10))
    missing = lost(proxy)  # lines go to the queue in batches, so that some are lost after their answers
    assert proxy.stop() == 0
    lines = [json.loads(line) for line in output.text().splitlines()]
    warnings = [line for line in lines if "were lost" in line["msg"]]
    assert {line["level"] for line in warnings} == {"warn"}
    assert sum(int(line["msg"].split()[0]) for line in warnings) == missing
    assert sum(line.get("path", "").startswith("/one?") for line in lines) == MANY - missing + 10


@pytest.mark.parametrize("more", [{}, {"APP_ENV": "development", "LOG_LEVEL": "trace"}], ids=["json", "development"])
def test_the_end_does_not_wait_for_a_reader(start_piped: StartPiped, more: dict[str, str]) -> None:
    proxy, _ = start_piped(**more)
    ask(proxy.port, numbered(0, 200, "&" + "x" * 1200))
    proxy.signal(signal.SIGTERM)
    assert proxy.wait(15) == 0


@pytest.mark.slow
def test_a_stdout_that_is_read_gets_every_line(start_piped: StartPiped) -> None:
    proxy, reader = start_piped()
    output = Reading(reader)
    ask(proxy.port, numbered(0, MANY))
    assert lost(proxy) == 0
    assert proxy.stop() == 0
    assert numbers(output.text()) == list(range(MANY))
    assert json.loads(output.text().splitlines()[-1])["msg"] == "stopped"


def test_a_reader_that_leaves(start_piped: StartPiped) -> None:
    proxy, reader = start_piped()
    os.close(reader)
    ask(proxy.port, numbered(0, 10))
    wait_for(lambda: lost(proxy) > 0, "lines to be counted as lost")
    assert proxy.stop() == 0


def test_the_flags_of_stdout_stay_as_they_are(start_piped: StartPiped) -> None:
    """They belong to all who share the terminal or pipe."""
    proxy, _ = start_piped()
    ask(proxy.port, numbered(0, 10))
    [flags] = re.findall(r"flags:\s*(\d+)", Path(f"/proc/{proxy.pid}/fdinfo/1").read_text())
    assert int(flags, 8) & os.O_NONBLOCK == 0


def test_a_closed_stdout(tmp_path: Path, backend: LiveBackend) -> None:
    """Its number is soon a socket's, which must not get log lines."""
    port = free_port()
    settings = {"PORT": str(port), "HOST": "127.0.0.1", "BACKEND_URL": backend.url}
    proxy = ProxyProcess(tmp_path, settings, through=("sh", "-c", 'exec "$@" >&-', "sh"))
    try:
        proxy.wait_until_serving()
        ask(port, numbered(0, 100))
        assert proxy.get("/metrics").status == 200
    finally:
        assert proxy.stop() == 0
    assert proxy.log == ""


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rotation_under_load_keeps_every_line_once(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path
) -> None:
    proxy = start_proxy(
        BACKEND_URL=backend.url, LOG_FILE=str(tmp_path / "log"), LOG_ROTATE_BYTES="32KiB", LOG_KEEP="100", **QUIET
    )
    ask(proxy.port, numbered(0, MANY))
    assert lost(proxy) == 0
    assert proxy.stop() == 0
    files = logs(tmp_path)
    assert sorted(numbers(*(path.read_text() for path in files))) == list(range(MANY))
    assert len(files) > 10
    assert max(path.stat().st_size for path in files) <= 32 << 10
    assert proxy.log == ""


def test_the_number_of_files_is_bounded(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    path = tmp_path / "log"
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=str(path), LOG_ROTATE_BYTES="1", LOG_KEEP="2", **QUIET)
    ask(proxy.port, numbered(0, 100))
    assert proxy.stop() == 0
    assert [each.name for each in logs(tmp_path)] == ["log", "log.1", "log.2"]
    assert json.loads(path.read_text().splitlines()[-1])["msg"] == "stopped"


def test_a_renamed_file_is_left_on_sigusr1(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    path = tmp_path / "log"
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=str(path), **QUIET)
    ask(proxy.port, numbered(0, 10))
    path.rename(tmp_path / "log.old")
    ask(proxy.port, numbered(10, 20))
    wait_for(lambda: (tmp_path / "log.old").read_text().count("/one?") == 20, "the lines before the signal")
    proxy.signal(signal.SIGUSR1)
    wait_for(path.exists, "a new file")
    ask(proxy.port, numbered(20, 30))
    assert proxy.stop() == 0
    assert numbers((tmp_path / "log.old").read_text()) == list(range(20))
    assert numbers(path.read_text()) == list(range(20, 30))


def test_sigusr1_harms_nobody(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, **QUIET)
    for n in range(5):
        proxy.signal(signal.SIGUSR1)
        ask(proxy.port, numbered(n, n + 1))
    assert proxy.stop() == 0
    assert numbers(proxy.log) == list(range(5))


@pytest.mark.slow
def test_two_processes_share_a_file(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    settings = {"LOG_FILE": str(tmp_path / "log"), "LOG_ROTATE_BYTES": "32KiB", "LOG_KEEP": "100", **QUIET}
    proxies = [start_proxy(BACKEND_URL=backend.url, **settings) for _ in range(2)]
    threads = [
        threading.Thread(target=ask, args=(proxy.port, numbered(n * 1500, n * 1500 + 1500)))
        for n, proxy in enumerate(proxies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [proxy.stop() for proxy in proxies] == [0, 0]
    assert sorted(numbers(*(path.read_text() for path in logs(tmp_path)))) == list(range(3000))


def test_a_full_disk(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    """A bound on the size of files stands for it: it cuts a line amid a write as well."""
    path = tmp_path / "log"
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=str(path), **QUIET)
    usual = resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    ask(proxy.port, numbered(0, 50))
    wait_for(lambda: lost(proxy) > 20, "lines to be lost")
    assert path.stat().st_size == 3000
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, usual)
    ask(proxy.port, numbered(100, 110))
    assert proxy.stop() == 0
    lines = path.read_text().splitlines()
    whole = [line for line in lines if line.endswith("}")]
    assert len(lines) - len(whole) <= 1  # the one that was cut
    found = numbers(*whole)
    assert found[-10:] == list(range(100, 110))
    assert (found, len(found) < 40) == (sorted(set(found)), True)
    assert sum("log lines were lost" in line for line in whole) == 1


def test_a_directory_that_is_removed(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=str(directory / "log"), **QUIET)
    (directory / "log").unlink()
    directory.rmdir()
    ask(proxy.port, numbered(0, 10))
    wait_for(lambda: lost(proxy) >= 10, "lines to be lost")
    directory.mkdir()
    ask(proxy.port, numbered(10, 20))
    assert proxy.stop() == 0
    assert numbers((directory / "log").read_text()) == list(range(10, 20))


def test_a_pipe_for_a_file(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=str(tmp_path / "log"), LOG_ROTATE_BYTES="1KiB", **QUIET)
    ask(proxy.port, numbered(0, 10))  # nobody has opened it yet
    output = Reading(os.open(tmp_path / "log", os.O_RDONLY))
    ask(proxy.port, numbered(10, 20))
    assert proxy.stop() == 0
    assert numbers(output.text()) == list(range(20))
    os.close(output.descriptor)


def test_a_device_that_is_always_full(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE="/dev/full", **QUIET)
    ask(proxy.port, numbered(0, 10))
    wait_for(lambda: lost(proxy) >= 10, "lines to be lost")
    assert proxy.stop() == 0


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_names_of_stdout(start_proxy: StartProxy, backend: LiveBackend, name: str) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, LOG_FILE=name, LOG_ROTATE_BYTES="1", **QUIET)
    ask(proxy.port, numbered(0, 10))
    assert proxy.stop() == 0
    assert numbers(proxy.log) == list(range(10))
    assert [each.name for each in proxy.directory.iterdir()] == ["out.log"]


# -- daemons -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def daemon(directory: Path, backend: LiveBackend, *arguments: str, **environment: str) -> Iterator[tuple[int, int]]:
    """A proxy that ``twistd`` has put into the background: its port and process; it is gone afterwards."""
    port = free_port()
    settings = {"BACKEND_URL": backend.url, "PORT": str(port), "HOST": "127.0.0.1", **QUIET, **environment}
    done = twistd(directory, "--pidfile=my.pid", *arguments, "cachingproxy", **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((directory / "my.pid").read_text())
    try:
        yield port, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")


WAYS = [("default", (), {}), ("flag", ("--logfile=log",), {}), ("variable", ("--logfile=no",), {"LOG_FILE": "log"})]


@pytest.mark.parametrize(("arguments", "environment"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_the_log_of_a_daemon(
    tmp_path: Path, backend: LiveBackend, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    path = tmp_path / ("log" if arguments else "twistd.log")
    with daemon(tmp_path, backend, *arguments, LOG_KEEP="2", LOG_ROTATE_BYTES="16KiB", **environment) as (port, pid):
        ask(port, numbered(0, 500))
        wait_for(lambda: '/one?n=499"' in so_far(path), "the lines")
        assert path.with_suffix(path.suffix + ".2").exists()
        path.rename(tmp_path / "moved")
        os.kill(pid, signal.SIGUSR1)
        wait_for(path.exists, "a new file")
        ask(port, numbered(500, 510))
    assert numbers(path.read_text()) == list(range(500, 510))
    expected = {path.name, f"{path.name}.1", f"{path.name}.2", "moved"}
    assert {each.name for each in tmp_path.iterdir()} == expected
    assert json.loads(path.read_text().splitlines()[-1])["msg"] == "stopped"


def test_the_log_of_a_daemon_with_twisteds_old_files(tmp_path: Path, backend: LiveBackend) -> None:
    """What twistd's own rotation, which knows no bound, has left is not renamed again and again."""
    for n in range(1, 200):
        (tmp_path / f"twistd.log.{n}").write_text(str(n))
    with daemon(tmp_path, backend, LOG_KEEP="3", LOG_ROTATE_BYTES="4KiB") as (port, _):
        ask(port, numbered(0, 100))
    for n in range(4, 200):
        assert (tmp_path / f"twistd.log.{n}").read_text() == str(n)


# -- workers -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_share_a_file_that_rotates(start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path) -> None:
    path = tmp_path / "log"
    proxy = start_proxy(
        BACKEND_URL=backend.url, WORKERS="2", LOG_FILE=str(path), LOG_ROTATE_BYTES="32KiB", LOG_KEEP="100", **QUIET
    )
    wait_for(lambda: so_far(path).count(" serves") == 2, "the workers")
    for n in range(10):
        ask(proxy.port, numbered(n * 100, n * 100 + 100))
    path.rename(tmp_path / "log.moved")
    proxy.signal(signal.SIGUSR1)
    wait_for(path.exists, "a new file")
    for n in range(10, 20):
        ask(proxy.port, numbered(n * 100, n * 100 + 100))
    assert proxy.stop() == 0
    assert sorted(numbers(*(each.read_text() for each in logs(tmp_path)))) == list(range(2000))
    assert proxy.log == ""


@pytest.mark.slow
def test_workers_share_a_stdout_that_nobody_reads(start_piped: StartPiped) -> None:
    proxy, reader = start_piped(WORKERS="2", **QUIET)
    for n in range(20):
        ask(proxy.port, numbered(n * 100, n * 100 + 100, "&" + "x" * 1200))
    output = Reading(reader)
    assert proxy.stop() == 0
    assert sorted(numbers(output.text())) == sorted(range(2000))


def test_workers_of_a_daemon(tmp_path: Path, backend: LiveBackend) -> None:
    path = tmp_path / "twistd.log"
    with daemon(tmp_path, backend, WORKERS="2") as (port, _):
        wait_for(lambda: so_far(path).count(" serves") == 2, "the workers")
        for n in range(10):
            ask(port, numbered(n * 10, n * 10 + 10))
    assert sorted(numbers(path.read_text())) == list(range(100))
    assert json.loads(path.read_text().splitlines()[-1])["msg"] == "all workers have ended"
