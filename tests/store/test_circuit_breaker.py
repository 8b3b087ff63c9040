"""The breaker around a store: what it lets through, what it counts, how it recovers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError, StoreUnavailable, Unreadable
from caching_proxy.store.breaker import Breaker, Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.errors import CommandRefused, ConnectionGone, Sick, TimedOut


class FakeStore:
    """Every method hands out a Deferred that the test fires."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Deferred[object]]] = []
        self.stopped = False

    def __getattr__(self, name: str) -> Callable[..., Deferred[object]]:
        def call(*args: object) -> Deferred[object]:
            answer: Deferred[object] = Deferred()
            self.calls.append((name, answer))
            return answer

        return call


class Rig:
    def __init__(self, threshold: int = 3, recovery: float = 5.0) -> None:
        self.clock = Clock()
        self.inner = FakeStore()
        self.phases: list[Phase] = []
        self.store = CircuitBreakerStore(self.inner, Breaker(threshold, recovery), self.clock, self.phases.append)  # type: ignore[arg-type]

    def lookup(self) -> list[object]:
        results: list[object] = []
        self.store.lookup(b"k").addBoth(
            lambda result: results.append(result.value if isinstance(result, Failure) else result)
        )
        return results

    def fail(self, error: Exception | None = None) -> None:
        self.inner.calls.pop()[1].errback(Failure(error or TimedOut("late")))

    def answer(self) -> None:
        self.inner.calls.pop()[1].callback(None)

    def open(self) -> None:
        while self.store.phase is not Phase.OPEN:
            self.lookup()
            self.fail()


def test_opens_after_the_threshold_and_asks_no_more() -> None:
    rig = Rig()
    rig.open()
    assert rig.phases == [Phase.OPEN]
    (error,) = rig.lookup()
    assert isinstance(error, StoreUnavailable)
    assert rig.inner.calls == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.lookup(b"k"),
        lambda store: store.put(b"k", b"f", b"v", 1),
        lambda store: store.discard(b"k", b"f"),
        lambda store: store.delete([b"k"]),
        lambda store: store.delete_target(b"/"),
        lambda store: store.scan(b"0"),
        lambda store: store.held([b"k"]),
        lambda store: store.ping(),
    ],
    ids=["lookup", "put", "discard", "delete", "delete_target", "scan", "held", "ping"],
)
def test_every_method_is_guarded(call: Callable[[CircuitBreakerStore], Deferred[object]]) -> None:
    rig = Rig(threshold=1)
    call(rig.store).addErrback(lambda failure: failure.trap(StoreError))
    rig.fail()
    assert rig.store.phase is Phase.OPEN
    failures: list[object] = []
    call(rig.store).addErrback(lambda failure: failures.append(failure.check(StoreUnavailable)))
    assert failures == [StoreUnavailable]
    assert rig.inner.calls == []


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (TimedOut("x"), True),
        (ConnectionGone("x"), True),
        (Sick("OOM"), True),
        (StoreError("x"), True),
        (CommandRefused("ERR"), False),
        (Unreadable("WRONGTYPE"), False),
        (StoreUnavailable("queue full"), False),
        (CancelledError(), False),
        (ValueError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_counts_as_failure(error: Exception, counts: bool) -> None:
    rig = Rig(threshold=1)
    results = rig.lookup()
    rig.fail(error)
    assert results == [error]
    assert (rig.store.phase is Phase.OPEN) is counts


def test_a_success_between_failures_keeps_it_closed() -> None:
    rig = Rig()
    for _ in range(4):
        for _ in range(2):
            rig.lookup()
            rig.fail()
        rig.lookup()
        rig.answer()
    assert rig.phases == []


def test_recovers_by_itself_without_traffic() -> None:
    rig = Rig()
    rig.open()
    rig.clock.advance(4.9)
    assert rig.inner.calls == []
    rig.clock.advance(0.1)
    assert [name for name, _ in rig.inner.calls] == ["ping"]
    rig.answer()
    assert rig.phases == [Phase.OPEN, Phase.HALF_OPEN, Phase.CLOSED]
    rig.clock.advance(60)
    assert rig.inner.calls == []
    assert rig.clock.getDelayedCalls() == []


def test_probes_until_the_store_is_back() -> None:
    rig = Rig()
    rig.open()
    for _ in range(3):
        rig.clock.advance(5)
        rig.fail()
        assert rig.store.phase is Phase.OPEN
    rig.clock.advance(5)
    rig.answer()
    assert rig.store.phase is Phase.CLOSED


def test_one_probe_at_a_time() -> None:
    rig = Rig()
    rig.open()
    rig.clock.advance(5)
    assert isinstance(rig.lookup()[0], StoreUnavailable)
    assert len(rig.inner.calls) == 1
    rig.answer()
    assert rig.lookup() == []
    assert len(rig.inner.calls) == 1


def test_a_cancelled_probe_leaves_the_place_to_the_next() -> None:
    rig = Rig()
    rig.open()
    rig.store._probe_timer.cancel()  # type: ignore[union-attr]
    rig.store._probe_timer = None
    rig.clock.advance(5)
    probe = rig.store.lookup(b"k")
    probe.addErrback(lambda failure: failure.trap(CancelledError))
    probe.cancel()
    rig.inner.calls.clear()
    assert rig.lookup() == []
    rig.answer()
    assert rig.phases == [Phase.OPEN, Phase.HALF_OPEN, Phase.CLOSED]


def test_stop_cancels_the_probe() -> None:
    rig = Rig()
    rig.open()
    rig.store.stop()
    assert rig.clock.getDelayedCalls() == []


def test_news_of_the_store_bring_the_probe_forward() -> None:
    rig = Rig()
    rig.store.look_again()
    assert rig.inner.calls == [], "it is closed"
    rig.open()
    rig.store.look_again()
    assert [name for name, _ in rig.inner.calls] == ["ping"]
    rig.answer()
    assert rig.phases == [Phase.OPEN, Phase.HALF_OPEN, Phase.CLOSED]
    assert rig.clock.getDelayedCalls() == []


def test_news_that_were_wrong_leave_it_open_for_the_usual_time() -> None:
    rig = Rig(recovery=5)
    rig.open()
    rig.store.look_again()
    rig.fail()
    assert rig.store.phase is Phase.OPEN
    rig.clock.advance(4.9)
    assert rig.inner.calls == []
    rig.clock.advance(0.1)
    assert [name for name, _ in rig.inner.calls] == ["ping"]
    rig.answer()


def test_what_is_done_with_the_store_itself_is_guarded_too() -> None:
    rig = Rig(threshold=1)
    answer = rig.store.through(lambda store: store.lookup(b"k"))
    answer.addErrback(lambda failure: failure.trap(TimedOut))
    rig.fail()
    assert rig.phases == [Phase.OPEN]
    refused: list[object] = []
    rig.store.through(lambda store: store.lookup(b"k")).addErrback(lambda failure: refused.append(failure.type))
    assert refused == [StoreUnavailable]
    rig.store.stop()
