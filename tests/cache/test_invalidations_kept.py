"""Invalidations that the store cannot carry out: in the journal before anybody hears of it, and done by the next."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.memory_proxy import MemoryProxy, down
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from caching_proxy.cache.keeper import JournalKeeper
from caching_proxy.interfaces import Postponed
from caching_proxy.rules.bus_message import Invalidation

X = b"cache:GET:anonymous:/x"
BY_PATTERN, BY_KEY = Invalidation(patterns=(b"cache:*:/x",)), Invalidation(keys=(X,))
BY_TARGET = Invalidation(targets=(b"/x",))
FRESH = "Cache-Control: max-age=900"


class Journal:
    """Keeps when it is told to."""

    def __init__(self) -> None:
        self.lines: list[Invalidation] = []
        self.writing: list[Deferred[None]] = []
        self.cleared = 0

    def keep(self, invalidations: Sequence[Invalidation]) -> Deferred[None]:
        self.lines += invalidations
        self.writing.append(Deferred())
        return self.writing[-1]

    def clear(self) -> Deferred[None]:
        self.cleared += 1
        self.lines.clear()
        return succeed(None)

    def written(self) -> None:
        self.writing.pop(0).callback(None)


@pytest.fixture
def journal(proxy: MemoryProxy) -> Journal:
    journal = Journal()
    proxy.invalidator._journal = JournalKeeper(journal)
    return journal


def outcome(proxy: MemoryProxy, pattern: bytes) -> list[object]:
    told: list[object] = []
    proxy.invalidator.invalidate(pattern).addBoth(
        lambda result: told.append(result.value if isinstance(result, Failure) else result)
    )
    return told


@pytest.mark.parametrize(("pattern", "line"), [(b"cache:*:/x", BY_PATTERN), (X, BY_KEY)])
def test_nobody_hears_of_the_trouble_before_the_journal_has_it(
    proxy: MemoryProxy, journal: Journal, pattern: bytes, line: Invalidation
) -> None:
    proxy.store.failing = down()
    told = outcome(proxy, pattern)
    assert (told, journal.lines) == ([], [line])
    journal.written()
    (error,) = told
    assert isinstance(error, Postponed)
    assert error.kept


def test_each_is_written_once_and_the_journal_is_cleared_when_all_are_done(
    proxy: MemoryProxy, journal: Journal
) -> None:
    proxy.store.failing = down()
    told = [outcome(proxy, b"cache:*:/x"), outcome(proxy, b"cache:*:/x")]
    proxy.invalidator.invalidate_target(b"/x", lambda removed: None)
    for _ in range(5):
        proxy.advance(1)
    while journal.writing:
        journal.written()
    assert sorted(map(str, journal.lines)) == sorted(map(str, [BY_PATTERN, BY_TARGET]))
    assert [len(each) for each in told] == [1, 1]
    assert journal.cleared == 0
    proxy.store.failing = None
    proxy.advance(1)
    assert (journal.lines, journal.cleared, proxy.invalidator.pending) == ([], 1, 0)
    outcome(proxy, b"cache:*:/y")
    assert journal.cleared == 1, "what was never in trouble is never in the journal"


def test_a_journal_that_cannot_be_written_is_said_once_and_tried_again(proxy: MemoryProxy, journal: Journal) -> None:
    logged: list[str] = []
    proxy.invalidator._journal._log = type("Log", (), {"error": lambda self, text, why: logged.append(why)})()  # type: ignore[assignment]
    proxy.store.failing = down()
    for expected in (1, 2):
        told = outcome(proxy, b"cache:*:/x")
        proxy.advance(1)
        while journal.writing:
            journal.writing.pop(0).errback(OSError("disk full"))
        (error,) = told
        assert isinstance(error, Postponed)
        assert not error.kept
        assert len(journal.lines) >= expected
    assert logged == ["disk full"]


def test_without_a_journal_it_is_kept_in_memory(proxy: MemoryProxy) -> None:
    proxy.store.failing = down()
    (error,) = outcome(proxy, b"cache:*:/x")
    assert isinstance(error, Postponed)
    assert not error.kept


@pytest.mark.parametrize("left", [BY_PATTERN, BY_KEY, BY_TARGET])
def test_what_is_restored_hides_what_the_store_has_until_it_is_carried_out(
    proxy: MemoryProxy, journal: Journal, left: Invalidation
) -> None:
    proxy.says(FRESH)
    proxy.get("/x")
    proxy.get("/other")
    proxy.cache.forget()
    proxy.advance(5)
    proxy.store.hold("mark", "delete_target", "delete")
    proxy.invalidator.restore([left])
    assert proxy.invalidator.pending == 1
    assert proxy.get("/x").cache == "MISS"
    assert proxy.get("/other").cache == "HIT"
    proxy.store.release()
    assert (proxy.invalidator.pending, journal.cleared) == (0, 1)


def test_the_end_comes_after_the_journal_has_what_is_under_way(proxy: MemoryProxy, journal: Journal) -> None:
    proxy.store.hold("mark")
    told = outcome(proxy, b"cache:*:/x")
    proxy.invalidator.stop()
    assert (journal.lines, told) == ([BY_PATTERN], [])
    journal.written()
    assert isinstance(told[0], Postponed)
