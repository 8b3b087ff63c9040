"""Reading and writing the store."""

from __future__ import annotations

from typing import Any

import pytest
from support.memory_proxy import MemoryProxy, down
from support.stored import KEY, entry, put
from twisted.internet.defer import Deferred, succeed

from caching_proxy.cache.tiers import writer as module
from caching_proxy.cache.tiers.store_reader import Found, StoreReader
from caching_proxy.cache.tiers.variants import field_name
from caching_proxy.interfaces import Overtaken, StoreError, StoreUnavailable, Unreadable
from caching_proxy.rules.codec import MAGIC, encode
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import Trouble

FRESH = "Cache-Control: max-age=900"


def reader(proxy: MemoryProxy) -> StoreReader:
    return proxy.pipeline._p.reader


def begin(proxy: MemoryProxy) -> list[Found]:
    """Begin a read; the list gets what it finds."""
    found: list[Found] = []
    at_once = reader(proxy).read(KEY, (b"-",), found.append)
    return found if at_once is None else [at_once]


def read(proxy: MemoryProxy) -> Found:
    (found,) = begin(proxy)
    return found


def told(found: Found) -> object:
    return tuple(found.entries), found.trouble


# -- reading


def test_concurrent_reads_share_a_round_trip(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy)))
    proxy.store.hold("lookup")
    begun = [begin(proxy) for _ in range(5)]
    assert begun == [[]] * 5
    proxy.store.release()
    assert (sum(map(len, begun)), proxy.store.calls.count("lookup"), proxy.burst.shared_reads) == (5, 1, 4)
    assert read(proxy).entries[0].body == b"one"
    assert proxy.store.calls.count("lookup") == 1, "the burst tier has it now"
    proxy.advance(10)
    read(proxy)
    assert proxy.store.calls.count("lookup") == 2


def test_absence_is_not_remembered(proxy: MemoryProxy) -> None:
    assert told(read(proxy)) == ((), None)
    put(proxy, b"-", encode(entry(proxy)))
    assert len(read(proxy).entries) == 1


def test_who_leaves_a_shared_read(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy)))
    proxy.store.hold("lookup")
    first, second = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    first.leave()
    proxy.store.release()
    assert first.failure is not None
    assert second.answer is not None
    assert (second.answer.cache, proxy.quiet) == ("HIT", True)


def test_who_is_answered_makes_another_leave(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy)))
    proxy.store.hold("lookup")
    first, second = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    first.work.addCallback(lambda _: second.leave())
    proxy.store.release()
    assert first.answer is not None
    assert (second.answer, second.failure is None, proxy.quiet) == (None, False, True)


@pytest.mark.parametrize("event", ["invalidated", "written", "discarded"])
def test_read_after_an_event_is_not_shared_with_one_from_before(proxy: MemoryProxy, event: str) -> None:
    proxy.store.delay("lookup")
    begin(proxy)
    if event == "invalidated":
        proxy.invalidate("cache:*")
    elif event == "written":
        proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    else:
        proxy.writer.discard(entry(proxy))
    found = begin(proxy)
    assert proxy.store.waiting("lookup") == 2
    proxy.store.release()
    assert len(found[0].entries) == (event == "written")


def test_unreadable_variant_is_dropped_and_the_others_used(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy)))
    put(proxy, b"bad", b"junk")
    put(proxy, b"moved", encode(CacheEntry(b"other", 200, b"OK", b"", b"", proxy.clock.seconds(), keep=9)))
    found = read(proxy)
    assert (found.trouble, [each.body for each in found.entries]) == (Trouble.UNREADABLE, [b"one"])
    assert proxy.store.fields_of(KEY) == [b"-"]
    assert read(proxy).trouble is None


def test_other_versions_are_left_alone(proxy: MemoryProxy) -> None:
    put(proxy, b"-", MAGIC + b"\xff" + b"x" * 40)
    assert read(proxy).trouble is Trouble.UNREADABLE
    assert proxy.store.fields_of(KEY) == [b"-"]


@pytest.mark.parametrize(
    ("failure", "trouble"),
    [(down(), Trouble.FAILED), (StoreUnavailable("open"), Trouble.OPEN), (Unreadable("a string"), Trouble.UNREADABLE)],
    ids=["down", "open", "foreign"],
)
def test_trouble_is_part_of_the_answer(proxy: MemoryProxy, failure: Exception, trouble: Trouble) -> None:
    proxy.store.failing = failure
    assert told(read(proxy)) == ((), trouble)
    assert ("delete" in proxy.store.calls) is (trouble is Trouble.UNREADABLE)


def test_bug_in_the_store_is_logged(proxy: MemoryProxy, logged_errors) -> None:  # type: ignore[no-untyped-def]
    proxy.store.failing = ZeroDivisionError("bug")
    assert told(read(proxy)) == ((), Trouble.FAILED)
    assert len(logged_errors.flush()) == 1


@pytest.mark.parametrize(
    ("failure", "cache"), [(down(), "ERROR"), (StoreUnavailable("open"), "CIRCUIT_OPEN"), (Unreadable("x"), "ERROR")]
)
def test_trouble_shows_in_the_answer(proxy: MemoryProxy, failure: Exception, cache: str) -> None:
    proxy.store.failing = failure
    answer = proxy.get()
    assert (answer.status, answer.cache) == (200, cache)


def test_entries_past_their_end_are_not_given_out(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy, keep=5)))
    other = entry(proxy, foo=b"1")
    put(proxy, field_name(other), encode(other))
    proxy.advance(5)
    assert list(map(field_name, read(proxy).entries)) == [field_name(other)]


# -- writing


def test_kept_in_both_tiers(proxy: MemoryProxy) -> None:
    proxy.writer.keep([entry(proxy), entry(proxy, foo=b"1")], proxy.key_state.open(KEY))
    assert len(proxy.store.fields_of(KEY)) == proxy.hot.entries == 2


def test_void_ticket_keeps_nothing(proxy: MemoryProxy) -> None:
    lease = proxy.key_state.open(KEY)
    proxy.invalidate("cache:*")
    proxy.writer.keep([entry(proxy)], lease)
    assert (proxy.store.fields_of(KEY), proxy.hot.entries) == ([], 0)


def test_outdated_ticket_does_not_fill_an_empty_hot_tier(proxy: MemoryProxy) -> None:
    """The variants that it knows of may be gone."""
    known, lease = entry(proxy, foo=b"1"), proxy.key_state.open(KEY)
    proxy.writer.discard(known)
    proxy.writer.keep([entry(proxy)], lease, [known])
    assert (proxy.hot.entries, proxy.store.fields_of(KEY)) == (0, [b"-"])


def test_entry_whose_time_is_over_removes_what_it_replaces(proxy: MemoryProxy) -> None:
    put(proxy, b"-", encode(entry(proxy)))
    proxy.advance(1)
    proxy.writer.keep([entry(proxy, keep=0)], proxy.key_state.open(KEY))
    assert (proxy.store.fields_of(KEY), proxy.hot.entries) == ([], 0)


def test_a_clock_that_is_set_back_before_a_write_does_not_lengthen_it(proxy: MemoryProxy) -> None:
    response = entry(proxy, keep=900)
    proxy.clock.rightNow -= 3600
    proxy.writer.keep([response], proxy.key_state.open(KEY))
    stored: Any = proxy.store.inner.lookup(KEY, (b"-",)).result
    assert 0 < stored.ttl_ms <= 900_000


def test_writes_under_way_are_bounded(proxy: MemoryProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_BYTES", 2000)
    put(proxy, b"-", encode(entry(proxy, b"older")))
    proxy.store.hold("put")
    proxy.writer.keep([entry(proxy, b"x" * 1500, foo=b"1")], proxy.key_state.open(KEY))
    proxy.writer.keep([entry(proxy, b"y" * 1500)], proxy.key_state.open(KEY))
    assert (proxy.writer.dropped, proxy.hot.entries) == (1, 2)
    proxy.store.release()
    assert len(proxy.store.fields_of(KEY)) == 1, "and what it replaces is gone"
    assert proxy.writer._pending_bytes == 0
    proxy.writer.keep([entry(proxy, b"y" * 1500)], proxy.key_state.open(KEY))
    assert len(proxy.store.fields_of(KEY)) == 2


def test_failed_writes_free_what_they_held(proxy: MemoryProxy) -> None:
    proxy.store.failing = down()
    proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    assert (proxy.writer._pending_bytes, len(proxy.key_state), proxy.quiet) == (0, 0, True)


def keep(proxy: MemoryProxy, failing: Exception | None, seconds: float = 1) -> None:
    """A write ``seconds`` after what was before it."""
    proxy.advance(seconds)
    proxy.store.failing = failing
    proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    proxy.store.failing = None


def test_store_that_refuses_writes_is_logged_when_it_begins_and_when_it_is_over(
    proxy: MemoryProxy, logged_lines: list[tuple[str, str]]
) -> None:
    keep(proxy, None)
    assert (proxy.writer.failed, logged_lines) == (0, [])
    for failure in (StoreError("OOM"), StoreError("OOM"), StoreUnavailable("the circuit breaker is open")):
        keep(proxy, failure)
    assert proxy.writer.failed == 3
    assert logged_lines == [("warn", "writes to the store fail, answers are kept in memory only: OOM")]
    keep(proxy, None, module.CALM_SECONDS)
    keep(proxy, None)
    over = ("info", "writes to the store work again; 3 have failed since the start")
    assert logged_lines[1:] == [over]
    keep(proxy, StoreError("READONLY"))
    assert logged_lines[2:] == [("warn", "writes to the store fail, answers are kept in memory only: READONLY")]


class KeptUp:
    """A bus that has always applied all there was, until a moment later."""

    seen = b"1:a"

    def catch_up(self) -> Deferred[None]:
        return succeed(None)


def test_invalidations_that_come_faster_than_a_write_are_no_failure_of_the_store(
    proxy: MemoryProxy, logged_lines: list[tuple[str, str]]
) -> None:
    proxy.writer._bus = KeptUp()  # type: ignore[assignment]
    keep(proxy, Overtaken("there was another"))
    assert (proxy.writer.overtaken, proxy.writer.failed, logged_lines) == (module.MAX_OVERTAKEN + 1, 0, [])
    assert proxy.quiet


def test_store_that_wavers_does_not_fill_the_log(proxy: MemoryProxy, logged_lines: list[tuple[str, str]]) -> None:
    for _ in range(10):
        keep(proxy, down())
        keep(proxy, None)
    assert proxy.writer.failed == 10
    assert [level for level, _ in logged_lines] == ["warn"]


def test_bug_while_writing_is_logged(proxy: MemoryProxy, logged_errors) -> None:  # type: ignore[no-untyped-def]
    proxy.store.failing = ZeroDivisionError("bug")
    proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    assert len(logged_errors.flush()) == 1
    assert proxy.quiet
    assert proxy.writer._pending_bytes == 0


def test_store_that_raises_does_not_hold_up_the_key(
    proxy: MemoryProxy, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    monkeypatch.setattr(proxy.store, "put", lambda *_: 1 // 0)
    monkeypatch.setattr(proxy.store, "discard", lambda *_: 1 // 0)
    proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    proxy.writer.discard(entry(proxy))
    assert len(logged_errors.flush()) == 2
    assert (proxy.writer._pending_bytes, proxy.quiet) == (0, True)


def test_entry_that_cannot_be_encoded_is_logged_and_kept_in_memory(proxy: MemoryProxy, logged_errors: Any) -> None:
    odd = entry(proxy)
    odd.status = 70_000
    proxy.writer.keep([odd], proxy.key_state.open(KEY))
    assert len(logged_errors.flush()) == 1
    assert (proxy.hot.entries, proxy.store.fields_of(KEY), proxy.quiet) == (1, [], True)


def test_ticket_is_closed_when_the_last_of_several_writes_is_over(proxy: MemoryProxy) -> None:
    proxy.store.hold("put", "discard")
    proxy.writer.keep([entry(proxy), entry(proxy, foo=b"1")], proxy.key_state.open(KEY), (), [entry(proxy, foo=b"2")])
    for name in ("discard", "put"):
        proxy.store.release_one(name)
        assert len(proxy.key_state) == 1
    proxy.store.release_one("put")
    assert proxy.quiet


def test_nothing_to_keep_closes_the_ticket(proxy: MemoryProxy) -> None:
    proxy.writer.keep([], proxy.key_state.open(KEY))
    assert (proxy.quiet, proxy.store.calls) == (True, [])


def test_many_writes_that_fail_one_after_another(proxy: MemoryProxy) -> None:
    """As when the breaker opens while they wait for their turn."""
    proxy.store.hold("put")
    for number in range(2000):
        proxy.writer.keep([entry(proxy, b"%d" % number)], proxy.key_state.open(KEY))
    proxy.store.failing = StoreUnavailable("open")
    proxy.store.release()
    assert (proxy.writer.failed, proxy.writer._pending_bytes, proxy.quiet) == (2000, 0, True)


def test_drain_waits_for_everything(proxy: MemoryProxy) -> None:
    proxy.store.hold("put", "discard")
    proxy.writer.keep([entry(proxy)], proxy.key_state.open(KEY))
    proxy.writer.discard(entry(proxy))
    drained: list[None] = []
    proxy.writer.drain().addCallback(drained.append)
    proxy.store.release("put")
    assert drained == []
    proxy.store.release()
    assert drained == [None]
    proxy.writer.drain().addCallback(drained.append)
    assert len(drained) == 2


def test_no_turn_is_left_behind(proxy: MemoryProxy) -> None:
    proxy.store.hold("put")
    for body in (b"1", b"2", b"3"):
        proxy.writer.keep([entry(proxy, body)], proxy.key_state.open(KEY))
    assert len(proxy.key_state) == 1
    proxy.store.release()
    assert len(proxy.key_state) == 0
