"""Two workers: what is invalidated at one is gone at the other before anybody hears that it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from support.memory_proxy import MemoryProxy, down
from twisted.internet.defer import Deferred, succeed

from caching_proxy.cache.shared_invalidator import LAST_SECONDS, PATIENCE_SECONDS, SharedInvalidator
from caching_proxy.rules.bus_message import Invalidation

FRESH = "Cache-Control: max-age=900"
Removed = Callable[[set[bytes]], object]


class Beside:
    """The siblings of one worker: the other one, which hears at once, or when :meth:`pass_on` is called."""

    def __init__(self) -> None:
        self.other: MemoryProxy
        self.said: list[Invalidation] = []
        self.holds = False
        self._held: list[tuple[Invalidation, Removed]] = []
        self._waiting: list[Deferred[None]] = []

    def announce(self, invalidation: Invalidation, on_removed: Removed) -> None:
        self.said.append(invalidation)
        self._held.append((invalidation, on_removed))
        if not self.holds:
            self.pass_on()

    def reached(self) -> Deferred[None]:
        if not self._held:
            return succeed(None)
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def pass_on(self) -> None:
        held, self._held = self._held, []
        assert isinstance(self.other.invalidator, SharedInvalidator)
        for invalidation, on_removed in held:
            self.other.invalidator.hear([invalidation], on_removed)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)


class Pair:
    def __init__(self, make: Callable[..., MemoryProxy], shared: bool) -> None:
        self.told = (Beside(), Beside())
        self.first = make(siblings=self.told[0])
        self.second = make(siblings=self.told[1], beside=self.first if shared else None)
        if shared:  # the first has to know that its store is not its own
            assert isinstance(self.first.invalidator, SharedInvalidator)
            self.first.invalidator._own_store = False
        self.told[0].other, self.told[1].other = self.second, self.first

    def fill(self, *targets: str) -> None:
        for proxy in (self.first, self.second):
            proxy.says(FRESH)
            for target in targets:
                proxy.get(target)


@pytest.fixture(params=[False, True], ids=["own stores", "one store"])
def pair(request: pytest.FixtureRequest, make_proxy: Callable[..., MemoryProxy]) -> Pair:
    return Pair(make_proxy, request.param)


def hot(proxy: MemoryProxy) -> Sequence[bytes]:
    return proxy.hot.keys(proxy.clock.seconds())


def test_an_unsafe_method_drops_both_copies(pair: Pair) -> None:
    pair.fill("/x", "/y")
    pair.first.ask("PUT", "/x", body=b"new")
    assert hot(pair.second) == [b"cache:GET:anonymous:/y"]
    assert pair.second.store.inner.entries == 1


def test_the_answer_waits_for_the_other(pair: Pair) -> None:
    pair.fill("/x")
    pair.told[0].holds = True
    exchange = pair.first.start("PUT", "/x", body=b"new")
    assert exchange.answer is None
    pair.told[0].pass_on()
    assert exchange.answer is not None
    assert exchange.answer.status == 200


def test_it_does_not_wait_for_ever(pair: Pair, logged_errors) -> None:
    pair.fill("/x")
    pair.told[0].holds = True
    exchange = pair.first.start("PUT", "/x", body=b"new")
    pair.first.advance(PATIENCE_SECONDS)
    pair.first.advance(LAST_SECONDS)
    assert exchange.answer is not None
    assert len(logged_errors.flush()) == 1
    pair.told[0].pass_on()


def test_a_client_that_leaves_meanwhile_frees_the_backend(pair: Pair) -> None:
    pair.told[0].holds = True
    cancelled: list[bool] = []

    class Source:
        def cancel_body(self) -> None:
            cancelled.append(True)

        def pause_body(self) -> None: ...

        def resume_body(self) -> None: ...

    pair.first.backend.script = lambda head, body: pair.first.open_response(source=Source())  # type: ignore[arg-type]
    exchange = pair.first.start("PUT", "/x", body=b"new")
    exchange.leave()
    assert cancelled == [True]
    pair.told[0].pass_on()


def test_nothing_comes_back(pair: Pair) -> None:
    """What is heard is not announced again."""
    pair.fill("/x")
    pair.first.ask("PUT", "/x", body=b"new")
    pair.first.invalidate("cache:*")
    assert pair.told[1].said == []
    assert pair.told[0].said


def test_a_shared_store_is_announced_again_when_it_has_carried_it_out(make_proxy: Callable[..., MemoryProxy]) -> None:
    pair = Pair(make_proxy, True)
    pair.fill("/x")
    pair.first.store.hold("delete_target")
    exchange = pair.first.start("PUT", "/x", body=b"new")
    assert hot(pair.second) == []
    assert pair.second.get("/x")["X-Cache-Status"] == "HIT", "from the store, which still has it"
    pair.first.store.release()
    assert exchange.answer is not None
    assert pair.second.get("/x")["X-Cache-Status"] == "MISS"


def test_keys_count_once(pair: Pair) -> None:
    pair.fill("/a", "/b")
    pair.second.get("/only-there")
    assert pair.first.invalidate("cache:*") == [3]
    assert pair.second.invalidate("cache:*") == [0]


def test_a_store_that_fails_holds_the_other_back_from_nothing(make_proxy: Callable[..., MemoryProxy]) -> None:
    pair = Pair(make_proxy, True)
    pair.fill("/x")
    pair.first.store.failing = down()
    pair.first.ask("PUT", "/x", body=b"new")
    assert hot(pair.second) == []
    pair.first.store.failing = None
    pair.first.advance(1)
    assert pair.first.invalidator.pending == 0
