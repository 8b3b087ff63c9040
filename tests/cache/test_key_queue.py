"""Operations on one key, one after another."""

from __future__ import annotations

from caching_proxy.cache.key_queue import KeyQueue

A, B = b"a", b"b"


def test_those_on_one_key_wait_for_each_other() -> None:
    key_queue, begun = KeyQueue(), []  # type: ignore[var-annotated]
    for number in range(3):
        key_queue.take(A, begun.append, number)
    key_queue.take(B, begun.append, 9)
    assert (begun, len(key_queue)) == ([0, 9], 2)
    key_queue.over(A)
    assert begun == [0, 9, 1]
    key_queue.over(B)
    key_queue.over(A)
    assert (begun, len(key_queue)) == ([0, 9, 1, 2], 1)
    key_queue.over(A)
    assert len(key_queue) == 0
    key_queue.take(A, begun.append, 3)
    assert begun[-1] == 3


def test_thousands_that_end_as_they_begin_do_not_nest() -> None:
    key_queue, begun = KeyQueue(), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        key_queue.over(A)

    key_queue.take(A, begun.append, 0)
    for number in range(1, 5000):
        key_queue.take(A, operation, number)
    key_queue.over(A)
    assert (begun, len(key_queue)) == (list(range(5000)), 0)


def test_one_that_ends_as_it_begins_may_start_another() -> None:
    key_queue, begun = KeyQueue(), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        if number < 3:
            key_queue.take(A, operation, number + 1)
        key_queue.over(A)

    key_queue.take(A, operation, 0)
    assert (begun, len(key_queue)) == ([0, 1, 2, 3], 0)


def test_drained_when_what_was_there_is_over() -> None:
    key_queue, drained = KeyQueue(), []  # type: ignore[var-annotated]
    key_queue.drain().addCallback(lambda _: drained.append("at once"))
    assert drained == ["at once"]
    for key in (A, A, B):
        key_queue.take(key, drained.append, key)
    key_queue.drain().addCallback(lambda _: drained.append("later"))
    key_queue.take(A, drained.append, b"behind")
    key_queue.over(A)
    key_queue.over(B)
    assert "later" not in drained
    key_queue.over(A)
    assert drained[-2:] == ["later", b"behind"]
