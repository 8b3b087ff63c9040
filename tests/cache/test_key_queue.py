"""Operations on one key, one after another."""

from __future__ import annotations

from caching_proxy.cache.key_queue import Turns

A, B = b"a", b"b"


def test_those_on_one_key_wait_for_each_other() -> None:
    turns, begun = Turns(), []  # type: ignore[var-annotated]
    for number in range(3):
        turns.take(A, begun.append, number)
    turns.take(B, begun.append, 9)
    assert (begun, len(turns)) == ([0, 9], 2)
    turns.over(A)
    assert begun == [0, 9, 1]
    turns.over(B)
    turns.over(A)
    assert (begun, len(turns)) == ([0, 9, 1, 2], 1)
    turns.over(A)
    assert len(turns) == 0
    turns.take(A, begun.append, 3)
    assert begun[-1] == 3


def test_thousands_that_end_as_they_begin_do_not_nest() -> None:
    turns, begun = Turns(), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        turns.over(A)

    turns.take(A, begun.append, 0)
    for number in range(1, 5000):
        turns.take(A, operation, number)
    turns.over(A)
    assert (begun, len(turns)) == (list(range(5000)), 0)


def test_one_that_ends_as_it_begins_may_start_another() -> None:
    turns, begun = Turns(), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        if number < 3:
            turns.take(A, operation, number + 1)
        turns.over(A)

    turns.take(A, operation, 0)
    assert (begun, len(turns)) == ([0, 1, 2, 3], 0)


def test_drained_when_what_was_there_is_over() -> None:
    turns, drained = Turns(), []  # type: ignore[var-annotated]
    turns.drain().addCallback(lambda _: drained.append("at once"))
    assert drained == ["at once"]
    for key in (A, A, B):
        turns.take(key, drained.append, key)
    turns.drain().addCallback(lambda _: drained.append("later"))
    turns.take(A, drained.append, b"behind")
    turns.over(A)
    turns.over(B)
    assert "later" not in drained
    turns.over(A)
    assert drained[-2:] == ["later", b"behind"]
