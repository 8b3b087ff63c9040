"""Invalidations between workers that talk through a switchboard: everybody hears each of them once, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from caching_proxy.rules.bus_message import EVERYTHING, Invalidation
from caching_proxy.telemetry.metrics.snapshot import Snapshot
from caching_proxy.workers.announcer import MAX_TOGETHER, Announcer, answer_drops, in_pieces
from caching_proxy.workers.archive import Archive
from caching_proxy.workers.frames import PIECE_BYTES, WorkerFrame
from caching_proxy.workers.siblings import Siblings
from caching_proxy.workers.switchboard import Switchboard

Removed = Callable[[set[bytes]], object]


class Net:
    """Workers 1 to ``count``, whose frames travel when :meth:`deliver` is called.

    ``holds`` are the keys that each has; a key goes when its own name is invalidated.
    """

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.wires: list[Callable[[], object]] = []
        self.heard: dict[int, list[Invalidation]] = {}
        self.held_back: dict[int, list[Callable[[], object]]] = {}
        self.slow: set[int] = set()
        self.siblings: dict[int, Siblings] = {}
        self.announcers: dict[int, Announcer] = {}
        self.board = Switchboard(self.clock, self._to_worker, Archive(lambda: Snapshot("", 0, {})))
        for number in range(1, count + 1):
            self._join(number)

    def _join(self, number: int) -> None:
        siblings = Siblings(
            lambda words, blob: self.wires.append(lambda: self._to_board(number, WorkerFrame(words, blob)))
        )
        self.heard[number] = []
        answer_drops(siblings, lambda invalidations, removed: self._hear(number, invalidations, removed))
        self.siblings[number] = siblings
        self.announcers[number] = Announcer(siblings, self.wires.append)
        self.board.slots[number] = number - 1

    def _to_board(self, number: int, frame: WorkerFrame) -> None:
        (self.board.ask if frame.words["say"] == "ask" else self.board.reply)(number, frame)

    def _to_worker(self, number: int, words: dict[str, Any], blob: bytes) -> None:
        frame = next(iter([WorkerFrame(words, blob)]))
        self.wires.append(lambda: self.siblings[number].told(frame) if number in self.siblings else None)

    def _hear(self, number: int, invalidations: list[Invalidation], removed: Removed) -> None:
        self.heard[number] += invalidations
        keys = {b"%d:%b" % (number, key) for each in invalidations for key in each.keys}
        if number in self.slow:
            self.held_back.setdefault(number, []).append(lambda: removed(keys))
        else:
            removed(keys)

    def deliver(self) -> None:
        while self.wires:
            self.wires.pop(0)()

    def die(self, number: int) -> None:
        del self.siblings[number]
        self.board.gone(number)


def key(n: int) -> Invalidation:
    return Invalidation(keys=(b"key%d" % n,))


def test_everybody_else_hears_and_what_they_removed_comes_back() -> None:
    net, removed = Net(3), list[set[bytes]]()
    net.announcers[1].announce(key(7), removed.append)
    net.deliver()
    assert net.heard == {1: [], 2: [key(7)], 3: [key(7)]}
    assert removed == [{b"2:key7", b"3:key7"}]


def test_alone_it_is_over_at_once() -> None:
    net, removed = Net(1), list[set[bytes]]()
    net.announcers[1].announce(key(7), removed.append)
    reached: list[None] = []
    net.announcers[1].reached().addCallback(reached.append)
    net.deliver()
    assert (removed, reached) == ([set()], [None])


def test_reached_is_when_all_have_heard_not_when_all_are_done() -> None:
    net, removed, reached = Net(3), list[set[bytes]](), list[None]()
    net.slow.add(3)
    net.announcers[1].announce(key(1), removed.append)
    net.announcers[1].reached().addCallback(reached.append)
    assert reached == []
    net.deliver()
    assert (removed, reached) == ([], [None])
    net.held_back[3][0]()
    net.deliver()
    assert removed == [{b"2:key1", b"3:key1"}]


def test_who_dies_holds_nobody_up() -> None:
    net, removed, reached = Net(3), list[set[bytes]](), list[None]()
    net.slow.add(3)
    net.announcers[1].announce(key(1), removed.append)
    net.announcers[1].reached().addCallback(reached.append)
    net.deliver()
    net.die(3)
    net.deliver()
    assert (removed, reached) == ([{b"2:key1"}], [None])


def test_without_a_supervisor_nobody_waits() -> None:
    net, removed, reached = Net(2), list[set[bytes]](), list[None]()
    net.announcers[1].announce(key(1), removed.append)
    net.wires.pop(0)()  # it is on its way
    net.announcers[1].announce(key(2), removed.append)
    net.announcers[1].reached().addCallback(reached.append)
    net.wires.clear()
    net.siblings[1].supervisor_gone()
    net.deliver()
    assert (removed, reached) == ([set(), set()], [None])


def test_what_comes_meanwhile_goes_together() -> None:
    net = Net(2)
    asked = 0
    for n in range(2 * MAX_TOGETHER):
        net.announcers[1].announce(key(n), lambda keys: None)
        if n == 0:
            net.wires.pop(0)()  # the first is on its way
    while net.wires:
        before = len(net.heard[2])
        net.wires.pop(0)()
        asked += len(net.heard[2]) > before
    assert net.heard[2] == [key(n) for n in range(2 * MAX_TOGETHER)]
    assert asked <= 4


def test_what_fits_no_message_becomes_everything() -> None:
    net = Net(2)
    net.announcers[1].announce(Invalidation(keys=tuple(b"x" * 1000 for _ in range(200))), lambda keys: None)
    net.deliver()
    assert net.heard[2] == [EVERYTHING]


def test_cancelling_who_waits_disturbs_nobody() -> None:
    net, reached = Net(2), list[None]()
    net.announcers[1].announce(key(1), lambda keys: None)
    left = net.announcers[1].reached()
    left.addErrback(lambda failure: None)
    net.announcers[1].reached().addCallback(reached.append)
    left.cancel()
    net.deliver()
    assert reached == [None]


@given(st.data())
def test_any_mixture(data: st.DataObject) -> None:
    """Whoever announces, whenever frames travel: each hears all of the others', in their order, once."""
    count = data.draw(st.integers(2, 4))
    net = Net(count)
    said: dict[int, list[Invalidation]] = {number: [] for number in net.heard}
    over: list[int] = []
    for n in range(data.draw(st.integers(1, 25))):
        number = data.draw(st.integers(1, count))
        said[number].append(key(n))
        net.announcers[number].announce(key(n), lambda keys, n=n: over.append(n))  # type: ignore[misc]
        for _ in range(data.draw(st.integers(0, 6))):
            if net.wires:
                net.wires.pop(0)()
    net.deliver()
    assert sorted(over) == list(range(len(over)))
    assert len(over) == sum(map(len, said.values()))
    for hearer, heard in net.heard.items():
        for sayer, words in said.items():
            expected = [] if sayer == hearer else words
            assert [each for each in heard if each in words] == expected


@pytest.mark.parametrize("keys", [[], [b"a"], [b"%d" % n * 100 for n in range(10_000)], [b"x" * PIECE_BYTES] * 3])
def test_pieces_hold_all_keys(keys: list[bytes]) -> None:
    pieces = in_pieces(keys)
    assert [key for piece in pieces for key in piece.split(b"\n")] == keys
    assert all(len(piece) <= 3 * PIECE_BYTES for piece in pieces)
