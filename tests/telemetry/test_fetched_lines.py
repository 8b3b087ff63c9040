"""Access lines that watchers in other workers fetch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.fetched_lines import MOST_CHARACTERS, MOST_LINES, MOST_WATCHERS, PATIENCE, FetchedLines


class Sink:
    def write(self, text: str) -> None:
        pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> AccessLog:
    return AccessLog(Sink(), True, clock)  # type: ignore[arg-type]


def log(access: AccessLog, target: bytes) -> None:
    access.log(b"GET", target, 200, "MISS", "anonymous", 0.1, "id")
    access.flush()


def fetched(lines: FetchedLines, who: str = "a") -> int:
    return len(lines.fetch(who)[0])


def test_what_was_logged_since_the_last_time(clock: Clock, access: AccessLog) -> None:
    lines = FetchedLines(access, clock)
    log(access, b"/before")
    assert lines.fetch("a") == ([], 0)
    log(access, b"/x")
    assert lines.fetch("b") == ([], 0)
    log(access, b"/y")
    assert (fetched(lines, "a"), fetched(lines, "b"), fetched(lines, "a")) == (2, 1, 0)


@pytest.mark.parametrize(("target", "kept"), [(b"/x", MOST_LINES), (b"/" + b"x" * 20_000, MOST_CHARACTERS // 20_200)])
def test_what_waits_is_bounded(clock: Clock, access: AccessLog, target: bytes, kept: int) -> None:
    lines = FetchedLines(access, clock)
    lines.fetch("a")
    for _ in range(MOST_LINES + 5):
        log(access, target)
    told, left_out = lines.fetch("a")
    assert len(told) == kept
    assert left_out == MOST_LINES + 5 - kept


def test_who_stays_away_is_forgotten(clock: Clock, access: AccessLog) -> None:
    lines = FetchedLines(access, clock)
    lines.fetch("a")
    clock.advance(PATIENCE - 1)
    lines.fetch("a")
    log(access, b"/x")
    clock.advance(PATIENCE)
    assert lines.fetch("a") == ([], 0)
    clock.advance(PATIENCE)
    assert not clock.getDelayedCalls()


def test_watchers_are_bounded(clock: Clock, access: AccessLog) -> None:
    lines = FetchedLines(access, clock)
    for number in range(MOST_WATCHERS + 1):
        lines.fetch(str(number))
    log(access, b"/x")
    assert [fetched(lines, str(number)) for number in (0, MOST_WATCHERS)] == [1, 0]


def test_two_watch_and_one_leaves(access: AccessLog) -> None:
    one: list[list[str]] = []
    other: list[list[str]] = []
    leave: Callable[[], None] = access.watch(one.append)
    access.watch(other.append)
    log(access, b"/x")
    leave()
    log(access, b"/y")
    assert (len(one), len(other)) == (1, 2)
