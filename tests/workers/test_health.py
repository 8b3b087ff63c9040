"""Workers that say nothing are reported, then killed."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from caching_proxy.workers.health import KILL_SECONDS, REPORT_SECONDS, TICK, Health


class Watch:
    """A health with what it did; workers in ``deaf`` say nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.deaf: set[int] = set()
        self.pinged: list[int] = []
        self.reported: list[tuple[int, float]] = []
        self.killed: list[tuple[int, float]] = []
        self.health = Health(
            self.clock,
            self._ping,
            lambda worker: self.reported.append((worker, self.clock.seconds())),
            lambda worker: self.killed.append((worker, self.clock.seconds())),
        )

    def _ping(self, worker: int) -> None:
        self.pinged.append(worker)
        if worker not in self.deaf:
            self.health.pong(worker)

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([TICK] * round(seconds / TICK))


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_who_answers_is_left_alone(watch: Watch) -> None:
    watch.health.watch(1)
    watch.pass_time(60)
    assert len(watch.pinged) == 60 / TICK
    assert watch.reported == watch.killed == []


def test_silence_is_reported_once_and_then_ended(watch: Watch) -> None:
    watch.health.watch(1)
    watch.health.watch(2)
    watch.deaf.add(2)
    watch.pass_time(TICK + KILL_SECONDS)
    assert watch.reported == [(2, TICK + REPORT_SECONDS)]
    assert watch.killed == [(2, TICK + KILL_SECONDS)]


def test_an_answer_in_between_begins_anew(watch: Watch) -> None:
    watch.health.watch(1)
    watch.deaf.add(1)
    for _ in range(3):
        watch.pass_time(KILL_SECONDS - TICK)
        watch.health.pong(1)
    assert watch.killed == []
    assert len(watch.reported) == 3


def test_a_supervisor_that_stood_still_blames_nobody(watch: Watch) -> None:
    watch.health.watch(1)
    watch.deaf.add(1)
    watch.pass_time(2 * TICK)
    watch.clock.advance(3600)
    watch.pass_time(REPORT_SECONDS - TICK)
    assert watch.reported == watch.killed == []


def test_nothing_is_left_behind(watch: Watch) -> None:
    watch.health.watch(1)
    watch.health.forget(1)
    watch.health.forget(1)
    watch.health.pong(1)
    assert not watch.clock.getDelayedCalls()
