"""Real applications and clients as processes: each application twice, one asked directly, one through the daemon.

Two instances, so that both see the same history: what a walk changes in one (a session, a table) it changes in the
other by the same steps. Python programs run in ``.venv-apps``, node's scripts beside the packages in
``.venv-apps/node``; what is absent skips with a word on how to get it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from support.proxy_process import ROOT, ProxyProcess, free_port

HERE = Path(__file__).parent
ENVIRONMENT = ROOT / ".venv-apps" / "bin"
NODE = ROOT / ".venv-apps" / "node"
SECONDS = 60.0


def program(name: str, package: str) -> str:
    """The path of a program of the system."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt-get install {package}")
    return path


def python() -> str:
    """The interpreter that has the applications."""
    path = ENVIRONMENT / "python"
    if not path.exists():
        pytest.skip("no .venv-apps with the applications: make test-apps")
    return str(path)


def node(script: str, *arguments: str) -> list[str]:
    """What runs a script of ``tests/apps/node``, which finds packages only from beside them."""
    path = program("node", "nodejs")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("no .venv-apps/node/node_modules: make test-apps, with npm installed")
    for source in (HERE / "node").glob("*.mjs"):
        shutil.copy(source, NODE)
    return [path, str(NODE / script), *arguments]


@attrs.frozen
class Pair:
    """An application at ``direct``, and another instance of it behind ``proxied``, itself at ``behind``."""

    direct: str
    proxied: str
    behind: str
    proxy: ProxyProcess
    directories: tuple[Path, Path]


Command = Callable[[int, Path], list[str]]
"""From a port and a directory of its own to what starts the application."""


@contextlib.contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[None]:
    """A server of its own process group, up when it accepts connections."""
    with (directory / "out.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(port, process, directory / "out.log")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"{process.args!r} does not serve:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def pair(command: Command, directory: Path, **settings: str) -> Iterator[Pair]:
    """Two instances of what ``command`` starts, the daemon before one of them. ``{port}`` in a setting's value is the
    daemon's own port."""
    homes = directory / "direct", directory / "behind"
    ports = free_port(), free_port()
    port = str(free_port())
    with contextlib.ExitStack() as stack:
        for home, own in zip(homes, ports, strict=True):
            home.mkdir(parents=True, exist_ok=True)
            stack.enter_context(running(command(own, home), own, home))
        place = directory / "proxy"
        place.mkdir()
        chosen = {name: value.replace("{port}", port) for name, value in settings.items()}
        proxy = ProxyProcess(
            place, {"PORT": port, "HOST": "127.0.0.1", "BACKEND_URL": f"http://127.0.0.1:{ports[1]}", **chosen}
        )
        stack.callback(proxy.stop)
        proxy.wait_until_serving()
        direct, proxied, behind = (f"http://127.0.0.1:{each}" for each in (ports[0], port, ports[1]))
        yield Pair(direct, proxied, behind, proxy, homes)


def run(*command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program to its end, with nothing of the user's own configuration; fails the test where it fails."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", **environment}
    done = subprocess.run(
        command, cwd=directory, env=bare, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done
