"""Who reads when many connections bring much at once: all in turns, none twice before another once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from caching_proxy.transport.read_turns import RESUMED, TOGETHER_BYTES, ReadTurns


class Loop:
    """The part of an event loop that is used."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()


class Connection:
    def __init__(self) -> None:
        self.reads = True

    def yield_reading(self) -> None:
        self.reads = False

    def read_on(self) -> None:
        self.reads = True


def test_who_brings_little_is_never_held() -> None:
    loop, one = Loop(), Connection()
    turns = ReadTurns(loop)  # type: ignore[arg-type]
    for _ in range(5):
        turns.took(one, TOGETHER_BYTES - 1)
        assert one.reads
        loop.turn()
    assert not loop.soon, "nothing goes on by itself"


def test_past_the_share_of_a_turn_each_waits_for_one_of_the_next() -> None:
    loop = Loop()
    turns = ReadTurns(loop)  # type: ignore[arg-type]
    crowd = [Connection() for _ in range(2 * RESUMED + 1)]
    for each in crowd:
        turns.took(each, TOGETHER_BYTES)
    assert not any(each.reads for each in crowd)
    for reading in (RESUMED, 2 * RESUMED, 2 * RESUMED + 1):
        loop.turn()
        assert [each.reads for each in crowd] == [True] * reading + [False] * (len(crowd) - reading)
    assert not loop.soon


def test_who_reads_again_queues_behind_those_who_wait() -> None:
    loop = Loop()
    turns = ReadTurns(loop)  # type: ignore[arg-type]
    crowd = [Connection() for _ in range(RESUMED + 1)]
    for each in crowd:
        turns.took(each, TOGETHER_BYTES)
    loop.turn()
    turns.took(crowd[0], TOGETHER_BYTES)
    assert not crowd[0].reads
    loop.turn()
    assert crowd[-1].reads
    assert crowd[0].reads
