"""The tee between a backend's body, one client, and the cache."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.cache.backend.tee import ABANDONED_SECONDS, NEARLY_HERE, NEARLY_HERE_SECONDS, Fills
from caching_proxy.http.body import HIGH_WATER, Body
from caching_proxy.http.messages import Fields
from caching_proxy.interfaces import IncompleteBody
from caching_proxy.rules.outcome import Refusal


class Backend:
    """The connection end behind the upstream body."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_body(self) -> None:
        self.calls.append("pause")

    def resume_body(self) -> None:
        self.calls.append("resume")

    def cancel_body(self) -> None:
        self.calls.append("cancel")


class Client:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[str] = []

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self, trailers: Fields) -> None:
        self.ends.append("ended")

    def failed(self, reason: Failure) -> None:
        self.ends.append("failed")


class TeeEnds:
    """A fill with both ends; ``join`` adds a reader."""

    def __init__(self, limit: int = 10, length: int | None = None, budget: int = 1 << 20) -> None:
        self.clock = Clock()
        self.backend, self.client = Backend(), Client()
        self.done: list[bytes | Refusal] = []
        self.upstream = Body(length, self.backend)
        self.fills = Fills(self.clock, limit, budget)
        begun = self.fills.begin(self.upstream, self.done.append)
        assert begun is not None
        self.fill, self.body = begun

    def join(self, slow: bool = False) -> tuple[Client, Body]:
        client, body = Client(), self.fill.reader()
        if slow:
            body.pause()
        body.attach(client)
        return client, body


def test_both_get_everything() -> None:
    tee = TeeEnds()
    tee.upstream.feed(b"before ")
    tee.body.attach(tee.client)
    tee.upstream.feed(b"it")
    assert tee.done == []
    tee.upstream.end()
    assert (tee.client.data, tee.client.ends, tee.done) == (b"before it", ["ended"], [b"before it"])


@pytest.mark.parametrize("attached", [True, False])
def test_break_off(attached: bool) -> None:
    tee = TeeEnds()
    if attached:
        tee.body.attach(tee.client)
    tee.upstream.feed(b"one")
    tee.upstream.fail(Failure(IncompleteBody("early")))
    if not attached:
        tee.body.attach(tee.client)
    assert (tee.client.data, tee.client.ends, tee.done) == (b"one", ["failed"], [Refusal.INCOMPLETE])


def test_slow_client_does_not_hold_the_cache_up() -> None:
    tee = TeeEnds(limit=1 << 20)
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"x" * HIGH_WATER * 2)
    assert tee.backend.calls == []
    tee.upstream.end()
    assert tee.done == [b"x" * HIGH_WATER * 2]


def test_past_the_limit_it_streams_at_the_clients_pace() -> None:
    tee = TeeEnds(limit=10)
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"x" * 11)
    assert (tee.done, tee.backend.calls) == ([Refusal.TOO_LARGE], ["pause"])
    tee.body.resume()
    assert tee.backend.calls == ["pause", "resume"]
    tee.upstream.feed(b"y" * 11)
    tee.body.pause()
    assert tee.backend.calls == ["pause", "resume", "pause"]
    tee.upstream.end()
    assert tee.client.ends == []
    tee.body.resume()
    assert (tee.client.data, tee.client.ends, tee.done) == (b"x" * 11 + b"y" * 11, ["ended"], [Refusal.TOO_LARGE])


def test_client_that_never_reads_is_not_buffered_for_past_the_limit() -> None:
    tee = TeeEnds(limit=10)
    tee.upstream.feed(b"x" * 11)
    tee.upstream.feed(b"y" * HIGH_WATER)
    assert tee.backend.calls == ["pause"]


def test_client_leaves_and_the_cache_still_gets_it() -> None:
    tee = TeeEnds()
    tee.body.attach(tee.client)
    tee.upstream.feed(b"on")
    tee.body.cancel()
    tee.upstream.feed(b"e")
    tee.upstream.end()
    assert (tee.done, tee.client.data, tee.client.ends) == ([b"one"], b"on", [])
    assert "cancel" not in tee.backend.calls


def test_client_leaves_what_the_cache_does_not_want() -> None:
    tee = TeeEnds(limit=10)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x" * 11)
    tee.body.cancel()
    assert tee.backend.calls == ["cancel"]


def test_client_has_left_when_it_turns_out_too_large() -> None:
    tee = TeeEnds(limit=10)
    tee.body.cancel()
    tee.upstream.feed(b"x" * 11)
    assert (tee.done, tee.backend.calls) == ([Refusal.TOO_LARGE], ["cancel"])


def test_client_has_left_when_it_breaks_off() -> None:
    tee = TeeEnds()
    tee.body.cancel()
    tee.upstream.feed(b"x")
    tee.upstream.fail(Failure(IncompleteBody("early")))
    assert (tee.done, tee.backend.calls) == ([Refusal.INCOMPLETE], [])


# -- many readers


def test_who_joins_gets_all_of_it_at_its_own_pace() -> None:
    tee = TeeEnds(limit=1 << 20)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"ab")
    quick, _ = tee.join()
    slow, slow_body = tee.join(slow=True)
    tee.upstream.feed(b"cd")
    assert (tee.client.data, quick.data) == (b"abcd", b"abcd")
    assert slow.data == b"ab", "what was here when it came"
    assert tee.backend.calls == []
    tee.upstream.end()
    assert (tee.client.ends, quick.ends, slow.ends) == (["ended"], ["ended"], [])
    slow_body.resume()
    assert (slow.data, slow.ends) == (b"abcd", ["ended"])
    assert tee.done == [b"abcd"]


def test_a_reader_takes_large_bodies_in_slices() -> None:
    tee = TeeEnds(limit=1 << 20)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x" * (HIGH_WATER * 4))
    late = tee.fill.reader()
    taken: list[int] = []

    class OneAtATime(Client):
        def received(self, data: bytes) -> None:
            taken.append(len(data))
            late.pause()

    late.attach(OneAtATime())
    assert taken == [HIGH_WATER]
    late.resume()
    assert taken == [HIGH_WATER] * 2


def test_one_reader_leaves_and_the_others_stay() -> None:
    tee = TeeEnds()
    tee.body.attach(tee.client)
    other, _ = tee.join()
    tee.upstream.feed(b"a")
    tee.body.cancel()
    tee.upstream.feed(b"b")
    tee.upstream.end()
    assert (other.data, other.ends, tee.client.ends) == (b"ab", ["ended"], [])
    assert tee.backend.calls == []


def test_all_readers_hear_of_a_break_off_after_what_there_was() -> None:
    tee = TeeEnds()
    tee.body.attach(tee.client)
    slow, slow_body = tee.join(slow=True)
    tee.upstream.feed(b"ab")
    tee.upstream.fail(Failure(IncompleteBody("early")))
    assert (tee.client.ends, slow.ends) == (["failed"], [])
    slow_body.resume()
    assert (slow.data, slow.ends) == (b"ab", ["failed"])


def test_past_the_limit_nobody_joins_and_who_falls_behind_is_cut_off() -> None:
    tee = TeeEnds(limit=100)
    tee.body.attach(tee.client)
    slow, _ = tee.join(slow=True)
    tee.upstream.feed(b"x" * 101)
    assert not tee.fill.open
    assert (tee.done, slow.ends) == ([Refusal.TOO_LARGE], [])
    tee.upstream.feed(b"y" * HIGH_WATER)
    assert slow.ends == ["failed"], "it does not make the others wait"
    assert tee.backend.calls == []
    tee.upstream.end()
    assert (len(tee.client.data), tee.client.ends) == (101 + HIGH_WATER, ["ended"])


def test_past_the_limit_a_slow_reader_gets_what_it_missed_in_order() -> None:
    tee = TeeEnds(limit=100)
    tee.body.attach(tee.client)
    slow, body = tee.join(slow=True)
    for n in range(60):
        tee.upstream.feed(b"%03d" % n)
    body.resume()
    tee.upstream.feed(b"end")
    tee.upstream.end()
    assert slow.data == tee.client.data == b"".join(b"%03d" % n for n in range(60)) + b"end"


# -- nobody left


@pytest.mark.parametrize(
    ("length", "arrived", "seconds"),
    [
        (None, 5, ABANDONED_SECONDS),
        (NEARLY_HERE * 3, 5, ABANDONED_SECONDS),
        (NEARLY_HERE, 5, NEARLY_HERE_SECONDS),
    ],
)
def test_nobody_left_and_it_goes_on_for_a_moment(length: int | None, arrived: int, seconds: float) -> None:
    tee = TeeEnds(limit=1 << 20, length=length)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x" * arrived)
    tee.body.cancel()
    tee.clock.advance(seconds - 0.1)
    assert tee.backend.calls == []
    tee.clock.advance(0.1)
    assert (tee.backend.calls, tee.done) == (["cancel"], [Refusal.INCOMPLETE])


def test_who_comes_in_that_moment_keeps_it_alive() -> None:
    tee = TeeEnds()
    tee.body.cancel()
    tee.clock.advance(ABANDONED_SECONDS / 2)
    other, _ = tee.join()
    tee.clock.advance(ABANDONED_SECONDS * 2)
    tee.upstream.feed(b"x")
    tee.upstream.end()
    assert (other.data, tee.done) == (b"x", [b"x"])
    assert tee.clock.getDelayedCalls() == []


def test_what_the_cache_wants_goes_on_without_a_reader() -> None:
    tee = TeeEnds()
    tee.fill.unattended = True
    tee.body.cancel()
    tee.clock.advance(tee.fills.patience - 1)
    tee.upstream.feed(b"x")
    assert tee.backend.calls == []
    tee.clock.advance(1)
    assert tee.backend.calls == ["cancel"], "but not for ever"


# -- what all of them hold


def test_a_known_length_is_reserved_and_returned() -> None:
    tee = TeeEnds(limit=100, length=60, budget=100)
    room = tee.fills.left
    assert tee.fills.begin(Body(room + 1, Backend()), tee.done.append) is None
    tee.upstream.feed(b"x" * 60)
    tee.upstream.end()
    assert tee.fills.left == room + 60


@pytest.mark.parametrize("end", ["end", "fail", "leave", "outgrow"])
def test_whatever_the_end_nothing_stays_reserved(end: str) -> None:
    tee = TeeEnds(limit=HIGH_WATER * 2)
    full = tee.fills.left
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x")
    assert tee.fills.left < full
    if end == "end":
        tee.upstream.end()
    elif end == "fail":
        tee.upstream.fail(Failure(IncompleteBody("early")))
    elif end == "leave":
        tee.body.cancel()
        tee.clock.advance(ABANDONED_SECONDS)
    else:
        tee.upstream.feed(b"x" * HIGH_WATER * 2)
    assert tee.fills.left == full


def test_without_room_it_streams_uncollected() -> None:
    tee = TeeEnds(limit=HIGH_WATER, budget=0)
    assert tee.fills.take(tee.fills.left, 0)
    tee.body.attach(tee.client)
    tee.upstream.feed(b"x")
    assert tee.done == [Refusal.MEMORY]
    tee.upstream.feed(b"y")
    tee.upstream.end()
    assert (tee.client.data, tee.client.ends) == (b"xy", ["ended"])


# -- readers that are slower than the backend


def behind(size: int, most: int) -> TeeEnds:
    """A whole body of ``size`` bytes of which its reader takes nothing by itself, where ``most`` may be kept."""
    tee = TeeEnds(limit=size, length=size, budget=size)
    tee.fills.most_behind = most
    tee.client.received = lambda data: tee.body.pause()  # type: ignore[method-assign]
    tee.body.attach(tee.client)
    tee.body.pause()
    tee.upstream.feed(b"x" * size)
    tee.upstream.end()
    return tee


SIZE = 100 * HIGH_WATER


@pytest.mark.parametrize(("most", "dropped"), [(SIZE, False), (SIZE - 1, True)])
def test_who_takes_nothing_is_dropped_where_too_much_is_kept(most: int, dropped: bool) -> None:
    tee = behind(SIZE, most)
    tee.clock.pump([1] * 9)
    assert (tee.fills.behind, tee.client.ends) == (SIZE, []), "the average of some seconds counts"
    tee.clock.pump([1] * 3)
    assert (tee.fills.behind, tee.client.ends) == ((0, ["failed"]) if dropped else (SIZE, []))


def test_who_is_fast_enough_stays() -> None:
    tee = behind(SIZE, SIZE - 1)
    for _ in range(30):
        tee.body.resume()
        tee.clock.advance(1)
    assert (tee.fills.behind, tee.client.ends) == (SIZE, [])
    while not tee.client.ends:
        tee.body.resume()
    assert (tee.fills.behind, tee.client.ends) == (0, ["ended"])
    assert tee.clock.getDelayedCalls() == []


def test_nothing_large_is_collected_while_too_much_is_kept() -> None:
    tee = behind(SIZE, SIZE - 1)
    tee.fills.give(SIZE)
    for size, begun in ((HIGH_WATER, True), (HIGH_WATER + 1, False)):
        assert (tee.fills.begin(Body(size, Backend()), tee.done.append) is not None) is begun
    unknown = Body(None, Backend())
    assert tee.fills.begin(unknown, tee.done.append) is not None
    unknown.feed(b"x" * HIGH_WATER)
    assert tee.done[1:] == []
    unknown.feed(b"x")
    assert tee.done[1:] == [Refusal.MEMORY]
    tee.body.cancel()
    assert tee.fills.begin(Body(HIGH_WATER + 1, Backend()), tee.done.append) is not None


def test_what_outgrew_the_cache_counts_as_far_as_somebody_is_behind() -> None:
    tee = TeeEnds(limit=2 * HIGH_WATER)
    tee.body.attach(tee.client)
    slow, _ = tee.join(slow=True)
    for _ in range(3):
        tee.upstream.feed(b"x" * HIGH_WATER)
    assert tee.fills.behind == 3 * HIGH_WATER
    tee.fills.most_behind = HIGH_WATER
    tee.clock.pump([1] * 12)
    assert (slow.ends, tee.client.ends, tee.fills.behind) == (["failed"], [], 0)
    tee.upstream.end()
    assert tee.client.ends == ["ended"]
    assert tee.clock.getDelayedCalls() == []
