"""Log files: what fits, which are renamed, and what happens to lines where something is in the way."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from caching_proxy.telemetry.log_file import MOST_ROTATIONS, LogFile, fitting, shift
from caching_proxy.telemetry.log_output import DescriptorOutput

ROOT = Path(__file__).parents[2]
THREE = b"aa\nbbb\ncccc\n"

FITTING = [
    ("all of it", THREE, 0, 0, 12, 12),
    ("to the byte", THREE, 0, 8, 20, 12),
    ("two lines", THREE, 0, 0, 11, 7),
    ("two lines to the byte", THREE, 0, 0, 7, 7),
    ("one line", THREE, 0, 0, 6, 3),
    ("none", THREE, 0, 4, 6, 0),
    ("none in a full file", THREE, 0, 6, 6, 0),
    ("none in a file that is too long", THREE, 0, 100, 6, 0),
    ("the second", THREE, 3, 0, 4, 7),
    ("none after the first", THREE, 3, 1, 4, 3),
    ("a line longer than a file, alone", THREE, 0, 0, 1, 3),
    ("a line longer than a file, the last", THREE, 7, 0, 1, 12),
    ("a line without an end", b"aaaa", 0, 0, 1, 4),
    ("no bytes", b"", 0, 5, 1, 0),
]


@pytest.mark.parametrize(
    ("data", "start", "size", "most", "end"), [row[1:] for row in FITTING], ids=[r[0] for r in FITTING]
)
def test_what_fits(data: bytes, start: int, size: int, most: int, end: int) -> None:
    assert fitting(data, start, size, most) == end


SHIFTS: list[tuple[set[int], int, set[int]]] = [
    (set(), 3, {1}),
    ({1}, 3, {1, 2}),
    ({1, 2, 3}, 3, {1, 2, 3}),
    ({2, 3}, 3, {1, 2, 3}),
    ({1, 3}, 3, {1, 2, 3}),
    ({1}, 1, {1}),
    (set(), 0, set()),
    ({1, 2, 3, 4, 5}, 2, {1, 2, 3, 4, 5}),  # what a larger LOG_KEEP left is somebody's to remove
]


@pytest.mark.parametrize(("before", "keep", "after"), SHIFTS, ids=str)
def test_names_move_up_to_the_first_free_one(tmp_path: Path, before: set[int], keep: int, after: set[int]) -> None:
    path = tmp_path / "log"
    path.write_text("0")
    for n in before:
        (tmp_path / f"log.{n}").write_text(str(n))
    shift(str(path), keep)
    assert {int(each.suffix[1:]) for each in tmp_path.iterdir()} == after
    if keep:
        assert (tmp_path / "log.1").read_text() == "0"
    if before >= {1} and keep > 1:
        assert (tmp_path / "log.2").read_text() == "1"


def test_few_names_change_however_many_files_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(1, 500):
        (tmp_path / f"log.{n}").touch()
    (tmp_path / "log").touch()
    renamed: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (renamed.append(a), replace(a, b)))
    shift(str(tmp_path / "log"), 5)
    assert len(renamed) == 5


Open = Callable[..., LogFile]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes log files, and closes them after the test."""
    logs: list[LogFile] = []

    def make(path: Path, most: int = 0, keep: int = 5) -> LogFile:
        logs.append(LogFile(str(path), most, keep))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


def texts(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


def test_lines_fill_file_after_file(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=8, keep=9)
    assert log.write(b"1\n2\n3\n") == 6
    assert log.write(b"4\n5\n666666666666\n7\n") == 19
    assert texts(tmp_path) == {"log.3": "1\n2\n3\n4\n", "log.2": "5\n", "log.1": "666666666666\n", "log": "7\n"}


def test_old_files_go(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=2, keep=2)
    for n in range(9):
        log.write(b"%d\n" % n)
    assert texts(tmp_path) == {"log.2": "6\n", "log.1": "7\n", "log": "8\n"}


def test_one_write_fills_few_files(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=2, keep=100)
    assert log.write(b"1\n" * 1000) == 2000
    assert len(texts(tmp_path)) == MOST_ROTATIONS + 1
    assert sum(map(len, texts(tmp_path).values())) == 2000
    log.write(b"2\n")
    assert (tmp_path / "log").read_text() == "2\n"


@pytest.mark.parametrize(("most", "keep", "files"), [(0, 5, {"log"}), (2, 0, {"log"})], ids=["never", "none kept"])
def test_no_file_beside_it(tmp_path: Path, opened: Open, most: int, keep: int, files: set[str]) -> None:
    log = opened(tmp_path / "log", most=most, keep=keep)
    for n in range(9):
        assert log.write(b"%d\n" % n) == 2
    assert set(texts(tmp_path)) == files
    assert (tmp_path / "log").read_text().endswith("8\n")


def test_a_file_that_is_there_is_continued(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "log").write_text("old\n")
    opened(tmp_path / "log", most=6).write(b"1\n2\n")
    assert texts(tmp_path) == {"log.1": "old\n1\n", "log": "2\n"}


def test_a_rotated_file_keeps_its_mode(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=2)
    (tmp_path / "log").chmod(0o640)
    log.write(b"1\n2\n")
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o640, 0o640]


def test_renamed_by_others(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=100)
    log.write(b"1\n")
    (tmp_path / "log").rename(tmp_path / "moved")
    log.write(b"2\n")
    log.reopen()
    log.write(b"3\n")
    assert texts(tmp_path) == {"moved": "1\n2\n", "log": "3\n"}


def test_reopening_a_file_that_nobody_renamed(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log")
    log.write(b"1\n")
    log.reopen()
    log.write(b"2\n")
    assert texts(tmp_path) == {"log": "1\n2\n"}


def test_reopening_what_cannot_be_opened_goes_on_with_the_old(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log")
    (tmp_path / "log").rename(tmp_path / "moved")
    (tmp_path / "log").mkdir()
    log.reopen()
    assert log.write(b"1\n") == 2
    assert texts(tmp_path) == {"moved": "1\n"}


def test_a_name_in_the_way_of_rotation_costs_no_line(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=2, keep=1)
    (tmp_path / "log.1").mkdir()
    for n in range(4):
        assert log.write(b"%d\n" % n) == 2
    assert texts(tmp_path) == {"log": "0\n1\n2\n3\n"}
    (tmp_path / "log.1").rmdir()
    log.write(b"4\n")
    assert texts(tmp_path) == {"log.1": "0\n1\n2\n3\n", "log": "4\n"}


def test_a_deleted_file_comes_back(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log")
    log.write(b"1\n")
    (tmp_path / "log").unlink()
    assert log.write(b"2\n") == 2
    assert texts(tmp_path) == {"log": "2\n"}


def test_a_deleted_directory_loses_lines_until_it_is_back(tmp_path: Path, opened: Open) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log = opened(directory / "log", most=100)
    (directory / "log").unlink()
    directory.rmdir()
    assert log.write(b"1\n") == 0
    directory.mkdir()
    assert log.write(b"2\n") == 2
    assert texts(directory) == {"log": "2\n"}


def test_two_logs_on_one_file_lose_nothing(tmp_path: Path, opened: Open) -> None:
    logs = [opened(tmp_path / "log", most=20, keep=100) for _ in range(3)]
    for n in range(300):
        assert logs[n % 3].write(b"%d\n" % n) == len(b"%d\n" % n)
    found = "".join(texts(tmp_path).values()).split()
    assert sorted(map(int, found)) == list(range(300))
    assert all(len(text) <= 20 for text in texts(tmp_path).values())


HOLD = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process holds the lock on ``path``."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.communicate("\n")


def test_whoever_renames_is_alone(tmp_path: Path, opened: Open) -> None:
    log = opened(tmp_path / "log", most=2)
    log.write(b"1\n")
    with held(tmp_path / "log"):
        assert log.write(b"2\n") == 2
        assert texts(tmp_path) == {"log": "1\n2\n"}
    log.write(b"3\n")
    assert texts(tmp_path) == {"log.1": "1\n2\n", "log": "3\n"}


def test_a_link_stays_one(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "log")
    log = opened(tmp_path / "link", most=2)
    log.write(b"1\n2\n")
    assert (tmp_path / "link").is_symlink()
    assert texts(tmp_path / "real") == {"log.1": "1\n", "log": "2\n"}


def test_a_pipe_that_nobody_has_opened_yet(tmp_path: Path, opened: Open) -> None:
    os.mkfifo(tmp_path / "log")
    log = opened(tmp_path / "log", most=2)
    assert log.write(b"1\n2\n3\n") == 6
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 100) == b"1\n2\n3\n"
    os.close(reader)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_device_that_is_full(opened: Open) -> None:
    log = opened(Path("/dev/full"), most=2)
    assert log.write(b"1\n") == 0
    log.reopen()
    assert log.write(b"1\n") == 0


@pytest.mark.parametrize("name", ["", "nowhere/log", "socket"])
def test_what_no_log_can_be(tmp_path: Path, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match=r"directory|neither"):
            LogFile(str(tmp_path / name), 0, 1)


# -- descriptors ---------------------------------------------------------------------------------------


def test_a_line_that_was_cut_short_does_not_spoil_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a disk fills up amid a write and has room again later."""
    reader, writer = os.pipe()
    room = 5
    write = os.write

    def cramped(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", cramped)
    out = DescriptorOutput(writer)
    assert out.write(b"one\ntwo\n") == 5
    assert out.write(b"three\n") == 0
    room = 100
    assert out.write(b"four\n") == 5
    assert out.write(b"five\n") == 5
    assert os.read(reader, 100) == b"one\nt\nfour\nfive\n"
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_others_made_non_blocking() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = b"x" * 99 + b"\n"
    read: list[bytes] = []

    def read_all() -> None:
        while chunk := os.read(reader, 1000):
            read.append(chunk)

    thread = threading.Thread(target=read_all)
    thread.start()
    assert DescriptorOutput(writer).write(data * 10_000) == 1_000_000
    os.close(writer)
    thread.join(20)
    os.close(reader)
    assert b"".join(read) == data * 10_000


def test_processes_take_turns_where_they_share(tmp_path: Path) -> None:
    """A pipe mixes what several write at once, past PIPE_BUF bytes."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from caching_proxy.telemetry.log_output import DescriptorOutput; out = DescriptorOutput(1, shared=True); "
        "[out.write((sys.argv[1] * 99 + '\\n').encode() * 3000) for _ in range(10)]"
    )
    reader, writer = os.pipe()
    others = [subprocess.Popen([sys.executable, "-c", code, letter], stdout=writer) for letter in "abc"]
    os.close(writer)
    with open(reader) as file:
        lines = file.read().splitlines()
    assert [other.wait() for other in others] == [0, 0, 0]
    assert set(lines) == {letter * 99 for letter in "abc"}
    assert len(lines) == 90_000


def test_a_reader_that_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert DescriptorOutput(writer).write(b"x\n") == 0
    os.close(writer)
