"""Which file or descriptor takes the lines, by setting and by ``twistd``'s flags."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.telemetry.log_file import LogFile
from caching_proxy.telemetry.log_writer import LogWriter
from caching_proxy.telemetry.logs import log_elsewhere, open_log, shared_log

SETTINGS: Settings = load({"BACKEND_URL": "http://backend"}, {}, {})[0]
FOREGROUND, DAEMON = {"nodaemon": True}, {"nodaemon": False}

CHOICES: list[tuple[str, str | None, Mapping[str, object], str | None]] = [
    ("stdout", None, FOREGROUND, None),
    ("no twistd", None, {}, None),
    ("the variable", "a", FOREGROUND, "a"),
    ("the flag", None, {**FOREGROUND, "logfile": "b"}, "b"),
    ("the variable before the flag", "a", {**FOREGROUND, "logfile": "b"}, "a"),
    ("the flag for stdout", None, {**FOREGROUND, "logfile": "-"}, None),
    ("a daemon", None, DAEMON, "twistd.log"),
    ("a daemon with the flag", None, {**DAEMON, "logfile": "b"}, "b"),
    ("a daemon with the variable", "a", DAEMON, "a"),
]


Choose = Callable[[str | None, Mapping[str, object]], str | None]
Close = Callable[[LogWriter], LogWriter]


@pytest.fixture
def close() -> Iterator[Close]:
    """Has the file of a log closed after the test."""
    with contextlib.ExitStack() as stack:

        def close(log: LogWriter) -> LogWriter:
            if isinstance(log._output, LogFile):
                stack.callback(log._output.close)
            return log

        yield close


@pytest.fixture
def opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], close: Close
) -> Iterator[Choose]:
    """Opens what is chosen in a directory of its own, writes a line, and gives the file's name; None for stdout."""
    monkeypatch.chdir(tmp_path)

    def choose(file: str | None, flags: Mapping[str, object]) -> str | None:
        log = close(open_log(attrs.evolve(SETTINGS, log_file=file), flags))
        log.write("line\n")
        log.finish()
        out = capfd.readouterr().out
        if log.path is None:
            assert out == "line\n"
            return None
        assert (Path(log.path).read_text(), out) == ("line\n", "")
        return str(Path(log.path).relative_to(tmp_path))

    with os.fdopen(os.dup(1), "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        yield choose


@pytest.mark.parametrize(("file", "flags", "chosen"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES])
def test_what_is_chosen(
    opened: Choose,
    file: str | None,
    flags: Mapping[str, object],
    chosen: str | None,
) -> None:
    assert opened(file, flags) == chosen


@pytest.mark.parametrize(
    ("flags", "elsewhere"), [({}, False), ({"syslog": True}, True), ({"logger": "x.y"}, True), (DAEMON, False)]
)
def test_flags_of_twistd_that_take_the_lines(flags: Mapping[str, object], elsewhere: bool) -> None:
    assert log_elsewhere(flags) is elsewhere


@pytest.mark.parametrize("rotate", [0, 100])
def test_a_directory_in_which_nothing_can_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotate: int, close: Close
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)  # root may do everything
    settings = attrs.evolve(SETTINGS, log_file=str(tmp_path / "log"), log_rotate_bytes=rotate)
    if rotate:
        with pytest.raises(SettingsError, match=r"^LOG_FILE: .*, or LOG_ROTATE_BYTES=0 \(Permission denied\)$"):
            open_log(settings, FOREGROUND)
    else:
        assert close(open_log(settings, FOREGROUND)).path == str(tmp_path / "log")


def test_the_file_belongs_to_the_user_who_is_to_open_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, close: Close
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    for flags in ({}, {"uid": 7}, {"uid": 7, "gid": 8}):
        close(open_log(attrs.evolve(SETTINGS, log_file=str(tmp_path / "log")), {**FOREGROUND, **flags}))
    assert given == [(7, -1), (7, 8)]


def test_a_name_that_no_system_knows(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="null byte"):
        open_log(attrs.evolve(SETTINGS, log_file="a\0b"), FOREGROUND)


def test_workers_write_to_the_same_file(tmp_path: Path, close: Close) -> None:
    path = str(tmp_path / "log")
    logs = [open_log(attrs.evolve(SETTINGS, log_file=path), FOREGROUND), shared_log(SETTINGS, path)]
    for n, log in enumerate(map(close, logs)):
        log.write(f"{n}\n")
        log.finish()
    assert Path(path).read_text() == "0\n1\n"
