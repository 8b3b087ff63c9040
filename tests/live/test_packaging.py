"""What an installation holds and does, away from the repository."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("caching_proxy", "twisted", "setup.cfg", "pyproject.toml", "LICENSE", "README.md")

pytestmark = [pytest.mark.slow, pytest.mark.live]


def run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=cwd, env={**clean, **environ}, text=True, capture_output=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in NEEDED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        elif path.exists():
            shutil.copy(path, source)
    built = run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source, cwd=out
    )
    assert built.returncode == 0, built.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; the libraries are those of the running one, found through a .pth file."""
    home = tmp_path_factory.mktemp("env")
    made = run(sys.executable, "-m", "venv", home, cwd=home)
    assert made.returncode == 0, made.stderr
    [site] = home.glob("lib/python3*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "zz_libraries.pth").write_text(f"{libraries}\n")
    python = home / "bin" / "python"
    done = run(python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", wheel, cwd=home)
    assert done.returncode == 0, done.stderr
    return home


def test_the_wheel_holds_only_our_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = wheel.name.rpartition("-py3")[0] + ".dist-info/"
    strangers = [name for name in names if not name.startswith(("caching_proxy/", info))]
    assert strangers == ["twisted/plugins/cachingproxy_plugin.py"]
    assert "caching_proxy/py.typed" in names
    assert {f"caching_proxy/{path.relative_to(ROOT / 'caching_proxy')}" for path in _sources()} <= set(names)


def _sources() -> Iterator[Path]:
    yield from (ROOT / "caching_proxy").rglob("*.py")
    yield from (ROOT / "caching_proxy" / "web" / "dashboard" / "files").iterdir()


def test_the_lock_files_cover_what_setup_cfg_asks_for() -> None:
    text = (ROOT / "setup.cfg").read_text()
    wanted = re.search(r"install_requires =\n((?:    .*\n)+)", text)
    assert wanted is not None
    lines = (ROOT / "requirements" / "run.lock").read_text().splitlines()
    locked = {line.partition("==")[0] for line in lines if "==" in line}
    for line in wanted[1].splitlines():
        name = re.match(r"\s*([A-Za-z0-9-]+)", line)
        assert name is not None
        assert name[1].lower() in locked


def test_the_lock_files_agree() -> None:
    both = [
        {line.split(" ")[0] for line in (ROOT / name).read_text().splitlines() if "==" in line}
        for name in ("requirements/run.lock", "requirements/test.lock")
    ]
    assert both[0] <= both[1]


def twistd(environment: Path, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
    return run(environment / "bin" / "python", "-c", code, *arguments, cwd=cwd, **environ)


def test_twistd_lists_the_plugin(environment: Path, tmp_path: Path) -> None:
    done = twistd(environment, "--help", cwd=tmp_path)
    assert re.search(r"^    cachingproxy +\S", done.stdout, re.MULTILINE), done.stderr


def test_help_names_flags_and_variables(environment: Path, tmp_path: Path) -> None:
    done = twistd(environment, "cachingproxy", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--backend-url=" in done.stdout
    assert "[BACKEND_URL]" in done.stdout


@pytest.mark.parametrize("mode", ["-n", "--pidfile=x.pid"], ids=["foreground", "daemon"])
def test_a_wrong_value_is_one_line(environment: Path, tmp_path: Path, mode: str) -> None:
    done = twistd(environment, mode, "cachingproxy", cwd=tmp_path, BACKEND_URL="http://x", PORT="abc")
    assert done.returncode == 1
    assert (done.stdout, done.stderr) == (
        "",
        "PORT: 'abc' is not allowed; expected a whole number from 0 to 65535\n",
    )
    assert list(tmp_path.iterdir()) == []


SERVICE = """
import os
import socket
import sys
sys.path.insert(0, ".")
from twisted.application.service import Service
from twisted.internet.protocol import Factory, Protocol
from caching_proxy.telemetry.logs import LoggedService, make_observer, open_log
from caching_proxy.app.options import Options, server_options
from caching_proxy.app.reactors import exit_cleanly


class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data + type(self.factory.reactor._asyncioEventloop).__module__.encode())


class Listening(Service):
    def startService(self):
        from twisted.internet import reactor

        factory = Factory.forProtocol(Echo)
        factory.reactor = reactor
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.watcher = socket.create_connection(("127.0.0.1", int(os.environ["WATCHER"])))
        self.watcher.sendall(b"%d %d\\n" % (port.getHost().port, os.getpid()))


def makeService(options):
    from twisted.internet import reactor

    def early():
        with open("early", "w"):
            pass

    reactor.callLater(0, early)
    log = open_log(options.settings, server_options(options))
    reactor.addSystemEventTrigger("after", "shutdown", log.finish)
    exit_cleanly(reactor)
    service = LoggedService(make_observer(options.settings, log), log)
    Listening().setServiceParent(service)
    return service
"""


@pytest.fixture
def watcher() -> Iterator[socket.socket]:
    """Where the service reports; the connection ends with its process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


@pytest.mark.parametrize("mode", ["foreground", "daemon"])
def test_a_service_runs_on_uvloop(mode: str, tmp_path: Path, watcher: socket.socket) -> None:
    """Options, reactor and logs in real processes: also after the fork of a daemon, with a timer from before it."""
    process = start_service(tmp_path, mode, watcher)
    try:
        if mode == "daemon":
            out, err = process.communicate(timeout=30)
            assert (process.returncode, out, err) == (0, "", "")
        talk_and_stop(tmp_path, watcher)
        if mode == "foreground":
            out, err = process.communicate(timeout=30)
            assert (process.returncode, err) == (0, "")
        else:
            out = (tmp_path / "twistd.log").read_text()
    finally:
        process.kill()
        process.communicate()
    assert "Received SIGTERM" in out
    assert all(line.startswith('{"time": "') for line in out.splitlines())
    assert not (tmp_path / "twistd.pid").exists()


def talk_and_stop(home: Path, watcher: socket.socket) -> None:
    connection, _ = watcher.accept()
    with connection, connection.makefile() as file:
        connection.settimeout(30)
        port, pid = map(int, file.readline().split())
        try:
            assert echo(port) == b"hello uvloop"
            assert (home / "early").exists()
        finally:
            os.kill(pid, signal.SIGTERM)
        assert file.read() == ""


def start_service(home: Path, mode: str, watcher: socket.socket) -> subprocess.Popen[str]:
    plugins = home / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (home / "a_tap.py").write_text(SERVICE)
    (plugins / "a_plugin.py").write_text(
        "from twisted.application.service import ServiceMaker\n"
        "thing = ServiceMaker('thing', 'a_tap', 'a thing', 'thing')\n"
    )
    code = (
        f"import sys; sys.path[:0] = [{str(home)!r}, {str(ROOT)!r}]; sys.argv[0] = 'twistd'; "
        "from twisted.scripts.twistd import run; run()"
    )
    watched = str(watcher.getsockname()[1])
    return subprocess.Popen(
        [sys.executable, "-c", code, *(("-n",) if mode == "foreground" else ()), "thing"],
        cwd=home,
        env={**os.environ, "BACKEND_URL": "http://x", "LOG_LEVEL": "debug", "WATCHER": watched},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def echo(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello ")
        return connection.recv(100)
