"""Workers in waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from caching_proxy.workers.spares import RETRY_SECONDS, Spares


class Started:
    """A process that was started; it ends when the test says so."""

    def __init__(self, pid: int, on_ended: Callable[[str], object]) -> None:
        self.pid = pid
        self.end = on_ended
        self.killed = False

    def kill(self) -> None:
        self.killed = True


class Rig:
    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.started: list[Started] = []
        self.refuses = False
        self.spares: Spares[Started] = Spares(self.clock, count, self._start)

    def _start(self, on_ended: Callable[[str], object]) -> Started:
        if self.refuses:
            raise OSError("no more processes")
        self.started.append(Started(len(self.started), on_ended))
        return self.started[-1]


def test_none_unless_wanted() -> None:
    rig = Rig(0)
    rig.spares.fill()
    assert rig.spares.take() is None
    assert rig.started == []


def test_what_was_taken_is_replaced_when_there_is_time() -> None:
    rig = Rig(2)
    assert rig.spares.take() is None
    rig.spares.fill()
    first, second = rig.started
    assert rig.spares.take() is first
    assert len(rig.started) == 2, "the one that was taken starts first"
    rig.spares.fill()
    assert len(rig.started) == 3
    assert [rig.spares.take(), rig.spares.take(), rig.spares.take()] == [second, rig.started[2], None]


def test_one_that_ends_is_started_again_later() -> None:
    rig = Rig(1)
    rig.spares.fill()
    rig.started[0].end("killed by SIGKILL")
    assert rig.spares.take() is None
    rig.clock.advance(RETRY_SECONDS)
    assert rig.spares.take() is rig.started[1]


def test_one_that_cannot_be_started_is_tried_again_later() -> None:
    rig = Rig(1)
    rig.refuses = True
    rig.spares.fill()
    rig.spares.fill()
    rig.refuses = False
    rig.clock.advance(RETRY_SECONDS)
    assert len(rig.started) == 1
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize("count", [0, 2])
def test_the_end_waits_for_theirs(count: int) -> None:
    rig = Rig(count)
    rig.spares.fill()
    stopped = rig.spares.stop()
    assert rig.spares.take() is None
    for spare in rig.started:
        assert spare.killed
        assert not stopped.called
        spare.end("killed by SIGKILL")
    assert stopped.called
    rig.spares.fill()
    assert len(rig.started) == count


def test_the_end_forgets_what_was_to_be_started() -> None:
    rig = Rig(1)
    rig.spares.fill()
    rig.started[0].end("exit status 1")
    assert rig.spares.stop().called
    assert rig.clock.getDelayedCalls() == []
