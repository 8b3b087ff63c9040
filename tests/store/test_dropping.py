"""Targets that are dropped together: who goes with whom, and what becomes of each when it goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.store.redis.commands import SendAgain
from caching_proxy.store.redis.dropping import TOGETHER, TOGETHER_BYTES, Dropping
from caching_proxy.store.redis.errors import CommandRefused, TimedOut
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.scripts import ROLES_STEP, DropTarget, DropTargets


class Pool:
    """Calls wait until they are answered by hand."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Deferred[Any]]] = []

    def execute(self, call: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.calls.append((call, answer))
        return answer

    def targets(self) -> list[tuple[bytes, ...]]:
        return [(call._target,) if isinstance(call, DropTarget) else tuple(call._left) for call, _ in self.calls]

    def answer(self) -> None:
        """The oldest call finds one key of each target."""
        call, answer = self.calls.pop(0)
        if isinstance(call, DropTargets):
            answer.callback({target: {b"key " + target} for target in call._left})
        else:
            answer.callback({b"key " + call._target})

    def refuse(self, error: Exception) -> None:
        self.calls.pop(0)[1].errback(error)


class Asked:
    """Who asks for targets, and what each was told."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.dropping = Dropping(self.pool, None, lambda reply: None)  # type: ignore[arg-type]
        self.told: list[tuple[bytes, set[bytes] | str]] = []

    def ask(self, *targets: bytes) -> None:
        for target in targets:
            self.dropping.drop(target).addCallbacks(
                self._dropped, self._failed, callbackArgs=(target,), errbackArgs=(target,)
            )

    def _dropped(self, gone: set[bytes], target: bytes) -> None:
        self.told.append((target, gone))

    def _failed(self, failure: Failure, target: bytes) -> None:
        self.told.append((target, failure.getErrorMessage()))


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_the_first_goes_at_once_and_the_others_together(asked):
    asked.ask(b"/a", b"/b", b"/c")
    assert asked.pool.targets() == [(b"/a",)]
    asked.pool.answer()
    assert asked.pool.targets() == [(b"/b", b"/c")]
    asked.ask(b"/d")
    asked.pool.answer()
    assert asked.pool.targets() == [(b"/d",)]
    asked.pool.answer()
    assert asked.told == [(target, {b"key " + target}) for target in (b"/a", b"/b", b"/c", b"/d")]
    asked.ask(b"/e")
    assert asked.pool.targets() == [(b"/e",)]


def test_what_is_asked_for_again_is_dropped_by_a_call_that_begins_later(asked):
    asked.ask(b"/a", b"/a", b"/b", b"/b")
    asked.pool.answer()
    assert asked.told == [(b"/a", {b"key /a"})]
    assert asked.pool.targets() == [(b"/a", b"/b")]
    asked.pool.answer()
    assert [target for target, _ in asked.told[1:]] == [b"/a", b"/b", b"/b"]


def test_a_target_that_the_server_refuses_does_not_keep_others(asked):
    asked.ask(b"/a", b"/b", b"/c", b"/d")
    asked.pool.answer()
    asked.pool.refuse(CommandRefused("no"))
    assert asked.pool.targets() == [(b"/b",), (b"/c",), (b"/d",)]
    asked.pool.answer()
    asked.pool.refuse(CommandRefused("not this one"))
    asked.pool.answer()
    assert asked.told[1:] == [(b"/b", {b"key /b"}), (b"/c", "not this one"), (b"/d", {b"key /d"})]


@pytest.mark.parametrize("first", [True, False])
def test_after_a_failure_the_next_still_go(asked, first):
    asked.ask(b"/a", b"/b", b"/c")
    if not first:
        asked.pool.answer()
        asked.ask(b"/d", b"/e")
    asked.pool.refuse(TimedOut("late"))
    assert asked.pool.targets() == [(b"/b", b"/c") if first else (b"/d", b"/e")]
    asked.pool.answer()
    failed = [target for target, outcome in asked.told if outcome == "late"]
    assert failed == ([b"/a"] if first else [b"/b", b"/c"])
    assert len(asked.told) == (3 if first else 5)


@pytest.mark.parametrize(
    ("targets", "most"),
    [([b"/%d" % n for n in range(200)], TOGETHER), ([b"/%d" % n + b"x" * 1000 for n in range(20)], None)],
)
def test_no_call_takes_too_many(asked, targets, most):
    asked.ask(b"/first", *targets, b"/" + b"y" * (2 * TOGETHER_BYTES))
    sizes = []
    while asked.pool.calls:
        [together] = asked.pool.targets()
        sizes.append((len(together), sum(map(len, together))))
        asked.pool.answer()
    assert len(asked.told) == len(targets) + 2
    assert max(count for count, _ in sizes) == (most or TOGETHER_BYTES // 1002)
    assert all(count == 1 or size <= TOGETHER_BYTES for count, size in sizes)


def test_one_message_tells_of_all():
    pool = Pool()
    dropping = Dropping(pool, Words(b"me", 0), lambda reply: None)  # type: ignore[arg-type]
    for target in (b"/a", b"/b", b"/c"):
        dropping.drop(target)
    pool.answer()
    [(call, _)] = pool.calls
    assert call._arguments[2].count(b'"/') == 2


def test_targets_with_many_roles_are_dropped_step_by_step():
    told: list[Any] = []
    call = DropTargets((b"/a", b"/b", b"/c"), (), told.append)
    call.pool = type("Keeper", (), {"renew": lambda self, call: None})()  # type: ignore[assignment]
    with pytest.raises(SendAgain):
        call.told([0, [[b"k1"], [b"k2"]], []])  # type: ignore[list-item]
    parts = call.parts(None)  # type: ignore[arg-type]
    assert parts[1::2] == (b"cacheindex:/b", b"cacheindex:/c", b"%d" % ROLES_STEP, b"/b", b"/c")
    assert call.told([5, [[b"k3"], []], []]) == {b"/a": {b"k1"}, b"/b": {b"k2", b"k3"}, b"/c": set()}  # type: ignore[list-item]
    assert told == []
