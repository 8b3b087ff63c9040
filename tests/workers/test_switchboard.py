"""Who has answered what, as the supervisor sees it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from caching_proxy.telemetry.metrics.snapshot import Snapshot
from caching_proxy.workers.archive import Archive
from caching_proxy.workers.frames import WorkerFrame
from caching_proxy.workers.switchboard import ASKED_SECONDS, Switchboard


class Sent:
    """A switchboard with workers 1, 2 and 3 in slots 0, 1 and 2, and what it sent."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sent: list[tuple[int, dict[str, Any], bytes]] = []
        self.archive = Archive(lambda: Snapshot("supervisor", 0, {}))
        self.board = Switchboard(self.clock, self._send, self.archive)
        self.board.slots.update({1: 0, 2: 1, 3: 2})

    def _send(self, number: int, words: dict[str, Any], blob: bytes) -> None:
        self.sent.append((number, words, blob))

    def ask(self, asker: int, *, slot: int | None = None, patient: bool = True) -> None:
        words = {"ask": 7, "what": "count", "with": {"a": 1}, "patient": patient, "slot": slot, "everyone": False}
        self.board.ask(asker, WorkerFrame(words, b"blob"))

    def reply(self, worker: int, call: int = 1, *, more: bool = False, **words: object) -> None:
        self.board.reply(worker, WorkerFrame({"call": call, "more": more, "with": words}, b""))

    def heard(self, number: int) -> list[str]:
        return [words["do"] for to, words, _ in self.sent if to == number]


@pytest.fixture
def board() -> Sent:
    return Sent()


def test_everybody_else_is_asked(board: Sent) -> None:
    board.ask(2)
    question = {"do": "call", "call": 1, "what": "count", "with": {"a": 1}}
    assert board.sent == [(1, question, b"blob"), (3, question, b"blob")]


def test_one_slot_is_asked(board: Sent) -> None:
    board.ask(2, slot=2)
    assert (board.heard(1), board.heard(3)) == ([], ["call"])


def test_nobody_else_means_answered(board: Sent) -> None:
    board.board.gone(2)
    board.board.gone(3)
    board.ask(1)
    assert board.heard(1) == ["reached", "answered"]


def test_first_parts_reach_and_last_ones_end(board: Sent) -> None:
    board.ask(1)
    board.reply(2, more=True)
    assert board.heard(1) == []
    board.reply(3, n=3)
    assert board.heard(1) == ["reply", "reached"]
    board.reply(2, n=2)
    assert board.heard(1) == ["reply", "reached", "reply", "answered"]
    assert board.sent[-1][1] == {"do": "answered", "ask": 7, "late": []}


def test_a_worker_that_dies_has_answered(board: Sent) -> None:
    board.ask(1)
    board.reply(2)
    board.board.gone(3)
    assert board.heard(1) == ["reached", "answered"]


def test_an_asker_that_dies_is_forgotten(board: Sent) -> None:
    board.ask(1)
    board.board.gone(1)
    board.reply(2)
    board.reply(3)
    assert board.heard(1) == []


def test_answers_that_nobody_asked_for_change_nothing(board: Sent) -> None:
    board.ask(1)
    board.reply(1)
    board.reply(2, call=9)
    board.reply(2)
    board.reply(2, n=1)  # after its last
    assert board.heard(1) == []


@pytest.mark.parametrize("patient", [True, False])
def test_who_does_not_answer_is_late_for_the_impatient(board: Sent, patient: bool) -> None:
    board.ask(1, patient=patient)
    board.reply(2)
    board.clock.advance(ASKED_SECONDS)
    if patient:
        assert board.heard(1) == []
        assert not board.clock.getDelayedCalls()
    else:
        assert board.sent[-1][1] == {"do": "answered", "ask": 7, "late": [2]}
