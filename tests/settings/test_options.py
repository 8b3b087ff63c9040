"""The flags, and what start-up says about wrong ones. Runs in child processes: a reactor is installed once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caching_proxy.app.options import Options
from caching_proxy.settings.table import TABLE

ROOT = Path(__file__).parents[2]
PRELUDE = "import sys; from caching_proxy.app.options import Options; o = Options(); o.parseOptions(sys.argv[1:]); "


def python(code: str, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=clean,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_flag_for_each_variable_with_its_default_and_name() -> None:
    usage = " ".join(Options().getUsage().split())
    for row in TABLE:
        assert f"--{row.flag}=" in usage
        assert f"[{row.name}" in usage.replace("- ", "-")


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (("--port", "abc"), {"BACKEND_URL": "http://x"}, "PORT: 'abc' is not allowed; expected"),
        ((), {"BACKEND_URL": "http://x", "LOG_LEVEL": "no"}, "LOG_LEVEL: 'no' is not allowed; expected"),
        ((), {}, "BACKEND_URL: not set; expected"),
    ],
    ids=["flag", "environment", "missing"],
)
@pytest.mark.live
def test_one_line_and_status_1(arguments: tuple[str, ...], environ: dict[str, str], line: str, tmp_path: Path) -> None:
    done = python(PRELUDE, *arguments, cwd=tmp_path, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_rotation_of_logs_during_the_start_harms_nobody(tmp_path: Path) -> None:
    code = PRELUDE + "import os, signal; os.kill(os.getpid(), signal.SIGUSR1); print('alive')"
    assert python(code, cwd=tmp_path, BACKEND_URL="http://x").stdout == "alive\n"


@pytest.mark.live
def test_dotenv_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKEND_URL='http://file'\nPORT=81\nno assignment\n")
    code = PRELUDE + "print(o.settings.backend_url, o.settings.port, o.settings.host, len(o.warnings))"
    done = python(code, "--host=::1", cwd=tmp_path, PORT="82")
    assert done.stdout == "http://file 82 ::1 1\n", done.stderr


@pytest.mark.slow
@pytest.mark.live
def test_the_uvloop_reactor_is_installed(tmp_path: Path) -> None:
    code = PRELUDE + "from twisted.internet import reactor; print(type(reactor).__name__)"
    assert python(code, cwd=tmp_path, BACKEND_URL="http://x").stdout == "DaemonReactor\n"


@pytest.mark.slow
@pytest.mark.live
def test_a_chosen_reactor_stays(tmp_path: Path) -> None:
    code = (
        "from twisted.internet import selectreactor; selectreactor.install(); "
        + PRELUDE
        + "from twisted.internet import reactor; print(type(reactor).__name__)"
    )
    assert python(code, cwd=tmp_path, BACKEND_URL="http://x").stdout == "SelectReactor\n"
