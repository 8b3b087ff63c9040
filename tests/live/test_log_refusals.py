"""What stops a real proxy's start: a log that cannot be one."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from support.proxy_process import ProxyProcess
from support.twistd import twistd

pytestmark = pytest.mark.live

QUIET = {"MAX_CONNECTIONS": "16", "BACKEND_MAX_CONNECTIONS": "4"}


REFUSED = [
    ("nowhere/log", (), "expected a file that can be written (No such file or directory)"),
    ("/proc/log", (), "expected a file that can be written (No such file or directory)"),
    (".", (), "expected a file that can be written (Is a directory)"),
    ("socket", (), "expected a file that can be written (neither a file nor a pipe nor a character device)"),
    ("/dev/stdout", ("daemon",), "expected a file, as a daemon has neither stdout nor stderr"),
]


@pytest.mark.parametrize(("name", "how", "said"), REFUSED, ids=[row[0].replace("/", "_") for row in REFUSED])
def test_what_cannot_be_a_log(tmp_path: Path, name: str, how: tuple[str, ...], said: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        mode = [] if how else ["-n"]
        done = twistd(tmp_path, *mode, "--pidfile=", "cachingproxy", BACKEND_URL="http://127.0.0.1:9", LOG_FILE=name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"LOG_FILE: {name!r} is not allowed; {said}\n"


def test_what_cannot_be_the_log_of_a_daemon(tmp_path: Path) -> None:
    (tmp_path / "twistd.log").mkdir()
    done = twistd(tmp_path, "--pidfile=", "cachingproxy", BACKEND_URL="http://127.0.0.1:9")
    said = "LOG_FILE: not set; expected a file that can be written (Is a directory), as a daemon without it logs to"
    assert (done.returncode, done.stderr) == (1, f"{said} twistd.log\n")
    done = twistd(tmp_path, "--pidfile=", "--logfile=no/x", "cachingproxy", BACKEND_URL="http://127.0.0.1:9")
    said = "--logfile: 'no/x' is not allowed; expected a file that can be written (No such file or directory)\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("wrong", [{"PORT": "abc"}, {"HOST": "192.0.2.1"}], ids=["setting", "address"])
def test_a_start_that_fails_where_nobody_reads(tmp_path: Path, wrong: dict[str, str], workers: str) -> None:
    """The pipe for both is full: by what others in the same container print, say."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    settings = {"BACKEND_URL": "http://127.0.0.1:9", "PORT": "0", "WORKERS": workers, **QUIET, **wrong}
    proxy = ProxyProcess(tmp_path, settings, stdout=writer, stderr=writer)
    try:
        assert proxy.wait() == 1
    finally:
        os.close(writer)
        os.close(reader)
        proxy.stop()
