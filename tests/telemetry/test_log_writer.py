"""The queue before the log: bounded, counted, and never waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from caching_proxy.telemetry.log_writer import BATCH_BYTES, LAST_SECONDS, TELL_SECONDS, LogWriter


class Gate:
    """An output that takes bytes while it is open; ``refuses`` as a full disk does."""

    def __init__(self) -> None:
        self.data = b""
        self.writes = 0
        self.refuses = False
        self.reopened: list[bytes] = []
        self.asked = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def write(self, data: bytes) -> int:
        self.asked.set()
        assert self.open.wait(20)
        self.writes += 1
        if self.refuses:
            return 0
        self.data += data
        return len(data)

    def reopen(self) -> None:
        self.reopened.append(self.data)


class Told:
    """A writer with its gate, its clock and what it warned of."""

    def __init__(self, most: int = 100) -> None:
        self.gate, self.warnings, self.now = Gate(), [], 0.0
        self.writer = LogWriter(self.gate, "utf-8", None, most, self.warnings.append, lambda: self.now)

    warnings: list[int]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.gate.open.set()
    told.writer.finish()


def shut(told: Told) -> None:
    """The thread waits in a write, of ``first``."""
    told.gate.open.clear()
    told.writer.start()
    told.gate.asked.clear()
    told.writer.write("first\n")
    assert told.gate.asked.wait(20)


def test_lines_in_order(told: Told) -> None:
    told.writer.write("before the start\n")
    told.writer.start()
    for n in range(5):
        told.writer.write(f"{n}\n")
        told.writer.finish()
    assert (told.gate.data, told.writer.lost) == (b"before the start\n0\n1\n2\n3\n4\n", 0)


def test_what_waits_is_written_together(told: Told) -> None:
    for n in range(10):
        told.writer.write(f"{n}\n")
    told.writer.start()
    told.writer.finish()
    assert (told.gate.writes, told.gate.data.count(b"\n")) == (1, 10)


def test_batches_are_bounded() -> None:
    told = Told(most=10 * BATCH_BYTES)
    line = "x" * (BATCH_BYTES // 2 - 1) + "\n"
    for _ in range(6):
        told.writer.write(line)
    told.writer.finish()
    assert told.gate.writes == 3


def test_a_full_queue_loses_whole_lines(told: Told) -> None:
    shut(told)  # 6 of 100 bytes
    told.writer.write("x" * 89 + "\n")
    told.writer.write("a\nb\nc\n")  # two of these fit
    told.writer.write("d\n")
    assert told.writer.lost == 2
    told.gate.open.set()
    told.writer.finish()
    assert told.gate.data == b"first\n" + b"x" * 89 + b"\na\nb\n"


@pytest.mark.parametrize(("text", "lost"), [("x" * 101 + "\n", 1), ("a\n" * 51, 1), ("a\n" * 50, 0)])
def test_what_is_larger_than_the_queue(told: Told, text: str, lost: int) -> None:
    told.writer.write(text)
    told.writer.finish()
    assert (told.writer.lost, told.gate.data.count(b"\n")) == (lost, text.count("\n") - lost)


def test_one_warning_when_it_can_be_written_again(told: Told) -> None:
    shut(told)
    for _ in range(200):
        told.writer.write("line\n")
    lost = told.writer.lost
    assert (lost > 100, told.warnings) == (True, [])
    told.gate.open.set()
    told.writer.finish()
    told.writer.write("more\n")
    told.writer.finish()
    assert told.warnings == [lost]


def test_warnings_are_seldom(told: Told) -> None:
    for moment in (0.0, TELL_SECONDS / 2, TELL_SECONDS):
        told.now = moment
        told.writer.write("x" * 200 + "\n")
        told.writer.write("y\n")
        told.writer.finish()
    assert told.warnings == [1, 2]


def test_a_warning_that_is_lost_itself_counts_for_the_next() -> None:
    told = Told()

    def warn(count: int) -> None:
        told.warnings.append(count)
        told.writer.write("too long a warning\n")

    told.writer = LogWriter(told.gate, "utf-8", None, 10, warn, lambda: told.now)
    for _ in range(2):
        told.writer.write("far too long\n")
        told.writer.write("x\n")
        told.writer.finish()
        told.now += TELL_SECONDS
    assert (told.warnings, told.writer.lost) == ([1, 2], 4)


def test_what_the_system_refuses_is_lost_at_once(told: Told) -> None:
    told.gate.refuses = True
    told.writer.write("a\nb\n")
    told.writer.finish()
    assert (told.writer.lost, told.warnings) == (2, [])
    told.gate.refuses = False
    told.writer.write("c\n")
    told.writer.finish()
    assert (told.gate.data, told.warnings) == (b"c\n", [2])


def test_reopening_keeps_the_order(told: Told) -> None:
    told.writer.write("old\n")
    told.writer.start()
    told.writer.finish()
    told.writer.reopen()
    told.writer.write("new\n")
    told.writer.finish()
    assert (told.gate.reopened, told.gate.data) == ([b"old\n"], b"old\nnew\n")


def test_the_end_does_not_wait_for_ever(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    shut(told)
    waited: list[float] = []
    monkeypatch.setattr(told.writer._done, "wait_for", lambda _, seconds: waited.append(seconds))
    for _ in range(3):
        told.writer.finish()
        told.now += LAST_SECONDS * 0.75
    monkeypatch.undo()
    assert waited == [LAST_SECONDS, LAST_SECONDS * 0.25, 0]


def test_a_line_logged_while_one_is_logged(told: Told) -> None:
    """As by a finaliser or a signal handler, in the thread that holds the lock."""
    with told.writer._work:
        told.writer.write("inner\n")
        told.writer.reopen()
    told.writer.finish()
    assert told.gate.data == b"inner\n"


@pytest.mark.parametrize(("encoding", "data"), [("utf-8", "é".encode()), ("ascii", b"\\xe9"), ("latin-1", b"\xe9")])
def test_encodings(encoding: str, data: bytes) -> None:
    gate = Gate()
    writer = LogWriter(gate, encoding)
    writer.write("é\udcff\n")
    writer.finish()
    assert gate.data == data + b"\\udcff\n"


def test_many_threads(told: Told) -> None:
    writer = LogWriter(told.gate)
    writer.start()
    threads = [threading.Thread(target=lambda: [writer.write("line\n") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.finish()
    assert (told.gate.data.count(b"line\n"), writer.lost) == (4000, 0)
