"""What would not open is told without opening it, in the very words of the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from caching_proxy.app.store_parts import make_journal
from caching_proxy.ctl.check import check_config
from caching_proxy.server.listener import listen
from caching_proxy.settings.listen_errors import listener_refused
from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.unopened import would_refuse
from caching_proxy.telemetry.logs import open_log

ENDPOINTS = [
    "foo:bar",
    "tcp:abc",
    "tcp:1:foo=bar",
    "unix:@/none/x.sock",
    "unix:@/file/x.sock",
    "unix:@/x.sock:mode=9",
    "systemd:domain=INET",
    "ssl:1",
    "ssl:1:privateKey=@/file",
    "haproxy:tcp:x",
    "haproxy:foo:1",
]
HOSTS = ["a" * 70, "a..b", "no such host"]
LOG_FILES = ["none/x.log", "directory", "file/x.log", "n" * 300, "a\0b", "link-to-none"]
STATE_DIRECTORIES = ["file", "file/x/y", "n" * 300, "a\0b"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link-to-none").symlink_to(tmp_path / "none" / "x.log")
    return tmp_path


def settings(**given: str) -> Settings:
    return load({"BACKEND_URL": "http://backend", **given}, {}, {})[0]


def told(**given: str) -> list[str]:
    return [str(each) for each in would_refuse(settings(**given))]


def refusal(where: str | tuple[str, int], prefix: str = "") -> str:
    """What the start says of a listener."""
    failed: list[Failure] = []
    listen(reactor, where, Factory()).addErrback(failed.append)
    return str(listener_refused(failed[0].value, where, prefix))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_endpoints(endpoint: str, here: Path) -> None:
    where = endpoint.replace("@", str(here))
    assert told(LISTEN=where) == [refusal(where)]


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_ports_that_there_are_not(port: str) -> None:
    (line,) = told(LISTEN=f"tcp:{port}")
    assert line.endswith("(bind(): port must be 0-65535.)")


@pytest.mark.parametrize(("name", "reason"), [("x" * 120, "AF_UNIX path too long"), ("a\0b", "null character")])
def test_names_that_no_socket_has(name: str, reason: str, here: Path) -> None:
    (line,) = told(LISTEN=f"unix:{here}/{name}")
    assert line.startswith("LISTEN: ")
    assert reason in line


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str) -> None:
    assert told(HOST=host, ADMIN_HOST=host, ADMIN_PORT="1") == [refusal((host, 3000)), refusal((host, 1), "ADMIN_")]


@pytest.mark.parametrize("name", LOG_FILES)
def test_log_files(name: str, here: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        open_log(settings(LOG_FILE=name), {"nodaemon": True})
    assert told(LOG_FILE=name) == [str(caught.value)]


@pytest.mark.parametrize("name", STATE_DIRECTORIES)
def test_journals(name: str, here: Path) -> None:
    given = {"STATE_DIR": name, "CACHE_URL": "redis://127.0.0.1"}
    with pytest.raises(SettingsError) as caught:
        make_journal(reactor, settings(**given))
    assert told(**given) == [str(caught.value)]
    assert told(STATE_DIR=name) == [], "never opened"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_what_this_user_may_not_write(here: Path) -> None:
    (here / "directory" / "log").write_bytes(b"")
    (here / "directory").chmod(0o500)
    for given in ({"LOG_FILE": "directory/log"}, {"LOG_FILE": "directory/new"}):
        with pytest.raises(SettingsError) as caught:
            open_log(settings(**given), {"nodaemon": True})
        assert told(**given) == [str(caught.value)]
    assert told(LOG_FILE="directory/log", LOG_ROTATE_BYTES="0") == []
    assert len(told(LISTEN="unix:directory/x.sock")) == len(told(STATE_DIR="directory", CACHE_URL="redis://h")) == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"LISTEN": "tcp:3000:interface=127.0.0.1"},
        {"LISTEN": "haproxy:tcp:3000"},
        {"LISTEN": "unix:x.sock:mode=660"},
        {"LISTEN": "systemd:domain=INET:index=0"},
        {"LISTEN": "systemd:domain=UNIX:name=web"},
        {"HOST": "::", "ADMIN_PORT": "0"},
        {"LOG_FILE": "new.log"},
        {"LOG_FILE": "file"},
        {"LOG_FILE": "/dev/null"},
        {"LOG_FILE": "-"},
        {"STATE_DIR": "new/and/below", "CACHE_URL": "redis://127.0.0.1"},
        {"STATE_DIR": "directory", "CACHE_URL": "redis://127.0.0.1"},
    ],
)
def test_nothing_is_said_of_what_may_open_and_nothing_is_made(given: dict[str, str], here: Path) -> None:
    before = sorted(here.rglob("*"))
    assert told(**given) == []
    assert sorted(here.rglob("*")) == before


def test_one_port_for_two() -> None:
    for host in ("0.0.0.0", "::", "127.0.0.1"):
        with pytest.raises(SettingsError, match="ADMIN_PORT"):
            settings(HOST=host, PORT="81", ADMIN_PORT="81")
    settings(HOST="192.0.2.1", PORT="81", ADMIN_PORT="81")


def test_check_config_tells_all_at_once(here: Path) -> None:
    (here / "typed.env").write_text("BACKEND_URL=http://b\nLISTEN=foo:1\nLOG_FILE=none/x\nINVALIDATION_CONFIG=a\0b\n")
    checked = check_config(here / "typed.env", {})
    assert [each.split(":")[0] for each in checked.problems] == ["LISTEN", "LOG_FILE", "a\0b"]


def test_check_config_warns_of_rules_that_are_missing_as_the_start_does(here: Path) -> None:
    said = check_config(None, {"BACKEND_URL": "http://b"}).warnings
    assert said == ("invalidation_config.json is missing: POST requests invalidate only their own target",)
    (here / "invalidation_config.json").write_text("[]")
    assert check_config(None, {"BACKEND_URL": "http://b"}).warnings == ()
