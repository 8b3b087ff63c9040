"""The lives of workers, with processes that only pretend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest
from twisted.internet.task import Clock

from caching_proxy.telemetry.metrics.snapshot import Snapshot
from caching_proxy.workers.archive import Archive
from caching_proxy.workers.backoff import SHORT_SECONDS
from caching_proxy.workers.frames import WorkerFrame
from caching_proxy.workers.health import KILL_SECONDS
from caching_proxy.workers.supervisor import HOPELESS, START_SECONDS, Supervisor, Worker

LONG = SHORT_SECONDS + 1


class LoggedErrors(Protocol):
    def flush(self) -> list[str]: ...


class FakeProcess:
    """What a worker was told, and the way to let it speak and end. It answers pings."""

    def __init__(
        self, worker: Worker, sources: object, say: Callable[[WorkerFrame], object], end: Callable[[str], object]
    ):
        self.worker, self.sources, self._say, self._end = worker, sources, say, end
        self.pid = 1000 + worker.number
        self.told: list[dict[str, Any]] = []
        self.killed = False
        self.ended = False
        self.deaf = False

    def send(self, words: dict[str, Any], blob: bytes = b"") -> None:
        if words["do"] == "ping":
            if not self.deaf:
                self.say("pong")
        elif words["do"] != "count":
            self.told.append(words)

    def kill(self) -> None:
        self.killed = True
        self.end("killed by SIGKILL")

    def say(self, what: str, **words: object) -> None:
        self._say(WorkerFrame({"say": what, **words}))

    def serve(self) -> None:
        self.say("ready")
        assert self.told[-1] == {"do": "serve"}
        self.say("serving")

    def end(self, how: str = "exit status 1") -> None:
        if not self.ended:
            self.ended = True
            self._end(how)


class Stage:
    """A supervisor of two workers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.processes: list[FakeProcess] = []
        self.given_up: list[str] = []
        self.cannot_start = False
        archive = Archive(lambda: Snapshot("supervisor", 0, {}))
        self.settled = 0
        self.supervisor = Supervisor(self.clock, 2, self._spawn, self.given_up.append, archive, self._settle)

    def _settle(self) -> None:
        self.settled += 1

    def _spawn(self, *arguments: Any) -> FakeProcess:
        if self.cannot_start:
            raise OSError(11, "Resource temporarily unavailable")
        self.processes.append(FakeProcess(*arguments))
        return self.processes[-1]

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.processes if not process.ended]

    def start(self, sources: object = "first") -> None:
        self.supervisor.start(sources)
        for process in self.running:
            process.serve()

    def live(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def slots(processes: list[FakeProcess]) -> list[int]:
    return [process.worker.slot for process in processes]


def test_one_for_each_slot(stage: Stage) -> None:
    stage.start()
    assert slots(stage.running) == [0, 1]


def test_a_death_after_a_long_life_is_replaced_at_once_and_its_slot_is_served_meanwhile(stage: Stage) -> None:
    stage.start()
    stage.live(LONG)
    first, second = stage.processes
    first.end()
    assert second.told[-1] == {"do": "adopt", "slot": 0}
    stage.clock.advance(0)
    third = stage.processes[2]
    assert (third.worker.slot, third.worker.number, third.sources) == (0, 3, "first")
    third.serve()
    assert second.told[-1] == {"do": "release", "slot": 0}


def test_short_lives_wait_longer_each_time(stage: Stage) -> None:
    stage.start()
    waits = []
    for _ in range(5):
        [process] = [each for each in stage.running if each.worker.slot == 0]
        begun = len(stage.processes)
        process.end()
        before = stage.clock.seconds()
        while len(stage.processes) == begun:
            stage.clock.advance(0.05)
        stage.processes[-1].serve()
        waits.append(round(stage.clock.seconds() - before, 1))
    assert waits == pytest.approx([0, 0.25, 0.5, 1, 2], abs=0.1)


def test_who_takes_over_may_die_too(stage: Stage) -> None:
    stage.start()
    stage.live(LONG)
    first, second = stage.processes
    first.end()
    stage.clock.advance(0)
    third = stage.processes[2]
    second.end()
    third.serve()
    assert third.told == [{"do": "serve"}, {"do": "adopt", "slot": 1}]


def test_settings_that_no_worker_can_use_end_the_program(stage: Stage) -> None:
    stage.supervisor.start("wrong")
    stage.processes[0].say("failed", why="X: 'y' is not allowed")
    stage.processes[0].end()
    assert stage.given_up == ["X: 'y' is not allowed"]


def test_workers_that_never_serve_end_the_program(stage: Stage) -> None:
    stage.supervisor.start("wrong")
    while not stage.given_up:
        stage.running[0].end("exit status 3")
        stage.live(5)
        assert len(stage.processes) < 2 * HOPELESS + 2
    assert "exit status 3" in stage.given_up[0]


def test_once_one_has_served_nothing_ends_the_program(stage: Stage) -> None:
    stage.start()
    for _ in range(3 * HOPELESS):
        stage.running[0].end()
        stage.clock.advance(0)
        while len(stage.running) < 2:
            stage.clock.advance(1)
        stage.running[-1].serve()
    assert stage.given_up == []


def test_a_worker_that_does_not_begin_to_serve_is_killed(stage: Stage, logged_errors: LoggedErrors) -> None:
    stage.start()
    stage.processes[0].end()
    stage.clock.advance(0)
    slow = stage.processes[2]
    stage.live(START_SECONDS)
    assert slow.killed
    assert logged_errors.flush()


def test_a_worker_that_hangs_is_killed_and_replaced(stage: Stage, logged_errors: LoggedErrors) -> None:
    stage.start()
    stage.processes[0].deaf = True
    stage.live(KILL_SECONDS + 2)
    assert stage.processes[0].killed
    assert slots(stage.running) == [1, 0]
    assert logged_errors.flush()


def test_what_cannot_be_started_is_tried_again(stage: Stage, logged_errors: LoggedErrors) -> None:
    stage.start()
    stage.cannot_start = True
    stage.processes[0].end()
    stage.live(3)
    stage.cannot_start = False
    stage.live(10)
    assert sorted(slots(stage.running)) == [0, 1]
    assert logged_errors.flush()


def test_the_end(stage: Stage, logged_errors: LoggedErrors) -> None:
    stage.start()
    ended: list[None] = []
    stage.supervisor.stop(10).addCallback(ended.append)
    assert [process.told[-1] for process in stage.processes] == [{"do": "stop"}] * 2
    stage.processes[0].end("exit status 0")
    assert ended == []
    stage.live(10)
    assert stage.processes[1].killed
    assert ended == [None]
    stage.live(60)
    assert len(stage.processes) == 2
    assert not stage.clock.getDelayedCalls()
    assert logged_errors.flush()


def test_the_end_before_the_beginning(stage: Stage) -> None:
    stage.supervisor.start("first")
    ended: list[None] = []
    stage.supervisor.stop(10).addCallback(ended.append)
    assert [process.killed for process in stage.processes] == [True, True]
    assert ended == [None]


def test_all_let_go_of_the_others_sockets_before_the_end(stage: Stage) -> None:
    stage.start()
    done: list[None] = []
    stage.supervisor.expect_no_more()
    stage.supervisor.concentrate().addCallback(done.append)
    stage.processes[0].say("concentrated")
    assert done == []
    stage.processes[1].end()
    assert done == [None]


def test_nobody_is_waited_for_too_long_before_the_end(stage: Stage) -> None:
    stage.start()
    done: list[None] = []
    stage.supervisor.concentrate().addCallback(done.append)
    stage.live(2)
    assert done == [None]


def test_a_reload_replaces_all_when_all_serve(stage: Stage) -> None:
    stage.start()
    stage.supervisor.reload("second", 8)
    old, new = stage.processes[:2], stage.processes[2:]
    new[0].serve()
    assert not any("stop" in words.values() for process in old for words in process.told)
    new[1].serve()
    assert all(process.told[-1] == {"do": "stop", "reload": True} for process in old)
    for process in old:
        process.end("exit status 0")
    new[0].end()
    stage.live(1)
    assert stage.processes[-1].sources == "second"
    assert sorted(slots(stage.running)) == [0, 1]


@pytest.mark.parametrize("how", ["failed", "ended", "slow", "again"])
def test_a_reload_that_fails_leaves_the_old(stage: Stage, logged_errors: LoggedErrors, how: str) -> None:
    stage.start()
    stage.supervisor.reload("second", 8)
    old, new = stage.processes[:2], stage.processes[2:]
    new[0].serve()
    if how == "slow":
        stage.live(START_SECONDS + 1)
    elif how == "again":
        stage.supervisor.reload("third", 8)
    else:
        if how == "failed":
            new[1].say("failed", why="no")
        new[1].end()
    assert new[0].told[-1] == {"do": "stop", "reload": True}
    assert new[1].ended
    new[0].end("exit status 0")
    assert not any("stop" in words.values() for process in old for words in process.told)
    old[0].end()
    stage.live(1)
    assert "first" in [process.sources for process in stage.running if process.worker.slot == 0]
    assert logged_errors.flush()


def test_a_death_during_a_reload_is_replaced_by_the_old_and_that_by_the_new(stage: Stage) -> None:
    stage.start()
    stage.supervisor.reload("second", 8)
    new = stage.processes[2:]
    stage.processes[0].end()
    stage.live(0.5)
    between = stage.processes[-1]
    assert between.sources == "first"
    for process in new:
        process.serve()
    assert between.killed, "it had not begun"
    assert [process.sources for process in stage.running if not process.worker.leaving] == ["second"] * 2


def test_it_says_when_all_serve_and_how_each_reload_is_over(stage: Stage, logged_errors: LoggedErrors) -> None:
    stage.supervisor.start("first")
    first, second = stage.processes
    first.serve()
    assert stage.settled == 0
    second.serve()
    assert stage.settled == 1
    stage.supervisor.reload("second", 8)
    third, fourth = stage.processes[2:]
    third.serve()
    assert stage.settled == 1
    fourth.serve()
    assert stage.settled == 2
    stage.supervisor.reload("third", 8)
    stage.processes[-1].end()
    assert stage.settled == 3
    assert logged_errors.flush()


def test_no_reload_at_the_end(stage: Stage) -> None:
    stage.start()
    stage.supervisor.stop(10)
    stage.supervisor.reload("second", 8)
    assert len(stage.processes) == 2
    for process in stage.processes:
        process.end("exit status 0")
    assert not stage.clock.getDelayedCalls()
