"""``cachingproxyctl`` against a real daemon: what it prints, and its exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, StartProxy, free_port

pytestmark = [pytest.mark.live, pytest.mark.slow]

TOKEN = "a-token-of-the-tests"
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from caching_proxy.ctl.main import run; run()"

Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN)


@pytest.fixture
def ctl(proxy: ProxyProcess, tmp_path: Path) -> Ctl:
    """Runs the program in an empty directory; keywords are environment variables."""

    def run(*words: str, given: str = "", seconds: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        usual = {"PYTHONPATH": str(ROOT), "PORT": str(proxy.port), "ADMIN_TOKEN": TOKEN, "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            env={**inherited, **usual, **environ},
            cwd=tmp_path,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run


def stored(proxy: ProxyProcess, *targets: str) -> None:
    for target in targets:
        proxy.get(target)


def test_status_for_people_and_programs(ctl: Ctl) -> None:
    shown = ctl("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "hit ratio" in shown.stdout
    document = json.loads(ctl("status", "--json").stdout)
    assert document["ready"]["status"] == "ok"
    assert document["stats"]["tiers"]["hot"]["maxEntries"] == 5000
    assert "no more: the admin token is needed" in ctl("status", ADMIN_TOKEN="").stdout
    assert "no more: this is not the admin token" in ctl("status", ADMIN_TOKEN="wrong").stdout
    without = ctl("--json", "status", ADMIN_TOKEN="")
    assert (without.returncode, json.loads(without.stdout)["stats"]) == (0, None)


def test_keys_show_and_invalidate(ctl: Ctl, proxy: ProxyProcess) -> None:
    stored(proxy, "/ctl/a?max-age=60", "/ctl/b?max-age=60", "/ctl/%1b%5b31m")
    keys = ctl("keys", "--match", "cache:GET:*:/ctl/*").stdout.splitlines()
    assert len(keys) == 3
    lines = [json.loads(line) for line in ctl("keys", "--json", "--role", "anonymous").stdout.splitlines()]
    assert {"key": keys[0]} in lines
    assert ctl("keys", "--role", "nobody").stdout == ""
    shown = ctl("show", keys[0])
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "status 200" in shown.stdout
    assert json.loads(ctl("show", keys[0], "--json").stdout)["cacheEntry"]["status"] == 200
    gone = ctl("invalidate", keys[0])
    assert (gone.returncode, "1 keys" in gone.stdout) == (0, True)
    assert ctl("show", keys[0]).returncode == 1, "it is not there"


def test_why_names_rules_and_advice(ctl: Ctl) -> None:
    told = ctl("why", "/x", "-H", "Cookie: session=1", "-H", "Accept: */*")
    assert told.returncode == 0
    assert "BYPASS" in told.stdout
    assert "IGNORED_COOKIES" in told.stdout
    document = json.loads(ctl("why", "-X", "POST", "/x", "--json").stdout)
    assert document["verdict"] == "N/A"
    assert ctl("why", "/x", "-H", "nonsense").returncode == 2


def test_warm_fills_the_cache(ctl: Ctl, proxy: ProxyProcess, tmp_path: Path) -> None:
    urls = tmp_path / "urls"
    urls.write_text("".join(f"/warm/{n}?max-age=60\n" for n in range(20)))
    first = json.loads(ctl("warm", str(urls), "--json", "--concurrency", "8").stdout)
    assert first["total"] == 20
    again = json.loads(ctl("warm", "-", "--json", given=urls.read_text()).stdout)
    assert again["byCacheStatus"] == {"HOT_HIT": 20}
    for missing in ((str(tmp_path / "none"),), (str(urls), "--role-token", str(tmp_path / "none")), (str(tmp_path),)):
        gone = ctl("warm", *missing)
        assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
        assert missing[-1] in gone.stderr
    (tmp_path / "tokens").write_text("x.y.z\nopaque\n")
    under = ctl("warm", str(urls), "--json", "--role-token", str(tmp_path / "tokens"))
    assert json.loads(under.stdout)["total"] == 40


def test_tail_and_top_follow_what_happens(ctl: Ctl, proxy: ProxyProcess) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "ADMIN_TOKEN": TOKEN, "PORT": str(proxy.port)}
    for words, sign in ((("tail", "--path", "/tailed*"), '"/tailed"'), (("top",), '"uptimeSeconds"')):
        command = [sys.executable, "-c", PROGRAM, "--json", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environ, text=True, **pipes) as running:
            assert running.stdout is not None
            os.set_blocking(running.stdout.fileno(), True)
            found = ""
            for _ in range(200):
                proxy.get("/tailed")
                proxy.get("/other")
                if words[0] == "top" or _readable(running.stdout.fileno()):
                    found = running.stdout.readline()
                    break
            running.send_signal(signal.SIGINT)  # Ctrl-C
            _, complaints = running.communicate(timeout=60)
        assert (running.returncode, complaints) == (0, "")
        assert sign in found
        assert json.loads(found)


def _readable(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0.1)[0])


def test_exit_statuses(ctl: Ctl, tmp_path: Path) -> None:
    assert ctl("keys", ADMIN_TOKEN="").returncode == 4
    assert ctl("keys", ADMIN_TOKEN="wrong").returncode == 4
    away = ctl("keys", PORT=str(free_port()))
    assert (away.returncode, away.stdout) == (3, "")
    assert away.stderr.startswith("cachingproxyctl: nobody answers at http://127.0.0.1:")
    assert away.stderr.count("\n") == 1
    assert ctl("invalidate").returncode == 2
    assert ctl("nonsense").returncode == 2
    assert ctl("keys", "--token-file", str(tmp_path / "none")).returncode == 2
    assert ctl("show", "").returncode == 1, "the proxy says no"


def test_the_backend_is_no_admin_port(ctl: Ctl, backend: LiveBackend) -> None:
    assert ctl("status", "--url", backend.url).returncode == 3


def test_a_token_from_a_file_or_dotenv(ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert ctl("keys", "--token-file", str(tmp_path / "token"), ADMIN_TOKEN="wrong").returncode == 0
    (tmp_path / ".env").write_text(f"ADMIN_TOKEN={TOKEN}\n")
    assert ctl("keys", ADMIN_TOKEN="").returncode == 0


def test_check_config(ctl: Ctl, tmp_path: Path) -> None:
    good = ctl("check-config", BACKEND_URL="http://b")
    assert (good.returncode, good.stderr) == (0, "")
    assert ctl("check-config").returncode == 1
    (tmp_path / "bad.env").write_text("BACKEND_URL=http://b\nPORT=x\n")
    bad = ctl("check-config", str(tmp_path / "bad.env"))
    assert (bad.returncode, "PORT" in bad.stderr, bad.stderr.count("\n")) == (1, True, 1)
    (tmp_path / "invalidation_config.json").write_text("[{}]")
    told = ctl("check-config", "--json", BACKEND_URL="http://b")
    assert (told.returncode, "invalidation_config.json" in json.loads(told.stdout)["problems"][0]) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(ctl: Ctl, shell: str) -> None:
    told = ctl("completion", shell)
    assert (told.returncode, "_CACHINGPROXYCTL_COMPLETE" in told.stdout) == (0, True)
