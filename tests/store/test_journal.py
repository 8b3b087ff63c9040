"""The journal of invalidations: what stands in it after crashes, beside others, and on directories that refuse."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from caching_proxy.rules.bus_message import EVERYTHING, Invalidation
from caching_proxy.store import journal as module
from caching_proxy.store.journal import Journal

X, Y = Invalidation(targets=(b"/x\xff",)), Invalidation(patterns=(b"cache:*:/y\n",), keys=(b"cache:GET:a:/z",))


@pytest.fixture
def journal_in(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    made: list[Journal] = []

    def make() -> Journal:
        made.append(Journal(reactor, tmp_path / "state" / "deep"))
        made[-1].open()
        return made[-1]

    yield make
    for journal in made:
        journal.stop()


@pytest_twisted.ensureDeferred
async def test_what_was_kept_is_found_by_the_next(journal_in: Callable[[], Journal]) -> None:
    first = journal_in()
    assert first.found == []
    await first.keep([X])
    await first.keep([])
    await first.keep([Y, X])
    first.stop()
    second = journal_in()
    assert (second.found, second.path) == ([X, Y], first.path)
    await second.clear()
    second.stop()
    assert journal_in().found == []


@pytest_twisted.ensureDeferred
async def test_a_line_that_was_cut_short_was_promised_to_nobody(journal_in: Callable[[], Journal]) -> None:
    first = journal_in()
    await first.keep([X])
    with first.path.open("ab") as file:
        file.write(b'{"origin": "", "targets": ["/cut')
    first.stop()
    second = journal_in()
    assert second.found == [X]
    await second.keep([Y])
    second.stop()
    assert journal_in().found == [X, Y]


@pytest_twisted.ensureDeferred
async def test_a_damaged_line_is_everything(journal_in: Callable[[], Journal]) -> None:
    first = journal_in()
    await first.keep([X])
    with first.path.open("ab") as file:
        file.write(b"\0\0\n")
    first.stop()
    assert journal_in().found == [X, EVERYTHING]


@pytest_twisted.ensureDeferred
async def test_each_process_has_a_file_and_the_living_take_over_what_the_dead_left(
    journal_in: Callable[[], Journal],
) -> None:
    first, second, third = journal_in(), journal_in(), journal_in()
    assert len({first.path, second.path, third.path}) == 3
    await second.keep([X])
    await third.keep([Y])
    third.stop()
    fourth = journal_in()
    assert fourth.found == [Y], "in the third's place; the second is alive"
    for journal in (first, second, fourth):
        journal.stop()
    last = journal_in()
    assert (sorted(map(str, last.found)), list(last.path.parent.iterdir())) == (sorted(map(str, [X, Y])), [last.path])
    last.stop()
    assert len(journal_in().found) == 2


@pytest_twisted.ensureDeferred
async def test_it_is_bounded(journal_in: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    journal = journal_in()
    many = [Invalidation(targets=(b"/%d" % n,)) for n in range(100)]
    for each in many:
        await journal.keep([each])
    assert journal.path.stat().st_size < 1200
    journal.stop()
    again = journal_in()
    assert again.found[-1] == EVERYTHING
    await again.clear()
    await again.keep([X])
    again.stop()
    assert journal_in().found == [X]


@pytest_twisted.ensureDeferred
async def test_the_loop_does_not_wait_for_the_disk(
    journal_in: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, real = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (slow.wait(10), real(file)))
    monkeypatch.setattr(module, "_sync", lambda directory: None)
    journal = journal_in()
    keeping = journal.keep([X])
    assert not keeping.called
    slow.set()
    await keeping


@pytest_twisted.ensureDeferred
async def test_a_disk_that_takes_nothing_says_so(
    journal_in: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError("No space left on device")

    journal = journal_in()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await journal.keep([X])
    monkeypatch.undo()
    await journal.keep([Y])


def test_whoever_only_looks_whether_it_can_be_leaves_it_alone(tmp_path: Path) -> None:
    Journal(reactor, tmp_path / "state")
    assert list((tmp_path / "state").iterdir()) == []


def test_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"):
        Journal(reactor, tmp_path / "file")
