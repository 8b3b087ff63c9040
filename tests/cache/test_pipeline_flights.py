"""Many at once: single-flight, and clients that leave at every stage of a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy, down
from twisted.internet.defer import CancelledError, Deferred

from caching_proxy.interfaces import Identity, UpstreamUnreachable

KEY = b"cache:GET:anonymous:/x"
FRESH = "Cache-Control: max-age=900"


def test_M9_fifty_misses_make_one_fetch(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"x" * 1000)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(50)]
    assert proxy.count == 1
    proxy.backend.release()
    assert [exchange.answer.body for exchange in waiting if exchange.answer] == [b"x" * 1000] * 50
    assert [exchange.answer.cache for exchange in waiting if exchange.answer] == ["MISS"] * 50
    assert proxy.count == 1
    assert proxy.key_state.collapsed == 49
    assert waiting[1].answer is not None
    assert waiting[1].answer.why == "fwd=uri-miss; ttl=900; collapsed"


def test_M9_while_the_store_is_read(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.store.hold("lookup")
    waiting = [proxy.start("GET", "/x") for _ in range(5)]
    assert proxy.store.waiting("lookup") == 1
    proxy.store.release()
    assert all(exchange.answer is not None for exchange in waiting)
    assert proxy.count == 1


def test_posts_are_never_merged(proxy: MemoryProxy) -> None:
    proxy.backend.hold()
    waiting = [proxy.start("POST", "/x", body=b"%d" % n) for n in range(10)]
    assert proxy.count == 10
    proxy.backend.release()
    assert all(exchange.answer is not None for exchange in waiting)


def test_roles_are_never_merged(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    for role in ("a", "b", "c"):
        proxy.start("GET", "/x", f"Authorization: role {role}")
    assert proxy.count == 3
    proxy.backend.release()


def test_uncacheable_keys_skip_waiting(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: no-store")
    proxy.get()
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(5)]
    assert proxy.count == 6, "all at once"
    proxy.backend.release()
    assert [exchange.answer.why for exchange in waiting if exchange.answer] == ["fwd=uri-miss"] * 5
    proxy.says(FRESH)
    proxy.get()
    proxy.advance(901)
    proxy.backend.hold()
    count = proxy.count
    again = [proxy.start("GET", "/x") for _ in range(5)]
    assert proxy.count == count + 1, "and no longer once something was stored"
    proxy.backend.release()
    assert all(exchange.answer is not None for exchange in again)


def test_keys_that_must_be_validated_skip_waiting(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: no-cache", 'ETag: "a"')
    proxy.get()
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    assert proxy.count == 4
    proxy.says("Cache-Control: no-cache", 'ETag: "a"', status=304, body=b"")
    proxy.backend.release()
    assert [exchange.answer.cache for exchange in waiting if exchange.answer] == ["REVALIDATED"] * 3


def test_unshareable_answer_releases_everybody_at_its_head(proxy: MemoryProxy) -> None:
    response = proxy.open_response("Cache-Control: private")
    proxy.backend.script = lambda head, body: response if proxy.count == 1 else proxy.reply(body=b"own")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    proxy.backend.release()
    assert waiting[0].answer is None, "its body is still on the way"
    assert [exchange.answer.body for exchange in waiting[1:] if exchange.answer] == [b"own"] * 2
    response.body.end()


def test_waiters_of_another_variant_forward(proxy: MemoryProxy) -> None:
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, "Vary: Foo", body=head.fields.first(b"foo") or b"")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", f"Foo: {value}") for value in "1213"]
    assert proxy.count == 1
    proxy.backend.release()
    assert [exchange.answer.body for exchange in waiting if exchange.answer] == [b"1", b"2", b"1", b"3"]
    assert proxy.count == 3


def by_foo(proxy: MemoryProxy) -> None:
    """The backend answers with the value of Foo, by which the page varies."""
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, "Vary: Foo", body=head.fields.first(b"foo") or b"")


def test_waiters_of_another_variant_share_one_fetch_of_it(proxy: MemoryProxy) -> None:
    by_foo(proxy)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", f"Foo: {value}") for value in "12321323"]
    proxy.backend.release_one()
    assert proxy.count == 3, "one for each of the others, begun as soon as the first turned out to be another's"
    proxy.backend.release()
    assert [exchange.answer.body.decode() for exchange in waiting if exchange.answer] == list("12321323")
    assert (proxy.count, proxy.key_state.collapsed, len(proxy.key_state)) == (3, 5, 0)


def test_variants_of_a_key_that_is_known_to_vary_do_not_wait_for_one_another(proxy: MemoryProxy) -> None:
    by_foo(proxy)
    proxy.get("/x", "Foo: 1")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", f"Foo: {value}") for value in "2323"]
    assert proxy.count == 3
    proxy.backend.release()
    assert [exchange.answer.body.decode() for exchange in waiting if exchange.answer] == list("2323")
    assert proxy.count == 3


def test_variants_are_fetched_anew_after_an_invalidation(proxy: MemoryProxy) -> None:
    by_foo(proxy)
    proxy.get("/x", "Foo: 1")
    proxy.backend.hold()
    before = [proxy.start("GET", "/x", f"Foo: {value}") for value in "23"]
    proxy.invalidate("cache:GET:*:/x")
    after = [proxy.start("GET", "/x", f"Foo: {value}") for value in "23"]
    assert proxy.count == 5, "who comes after it joins nothing from before"
    proxy.backend.release()
    assert [exchange.answer.body.decode() for exchange in before + after if exchange.answer] == list("2323")
    assert len(proxy.key_state) == 0


def test_a_page_that_names_another_field_each_time_makes_nobody_wait_for_ever(proxy: MemoryProxy) -> None:
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, f"Vary: Foo, F{proxy.count}", body=b"x")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", f"Foo: {n}", *(f"F{each}: {n}" for each in range(9))) for n in range(5)]
    proxy.backend.release()
    assert all(exchange.answer is not None for exchange in waiting)
    assert proxy.count == 5


@pytest.mark.parametrize("control", ["no-cache", "max-age=0"])
def test_forced_refresh_never_joins(proxy: MemoryProxy, control: str) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    proxy.start("GET", "/x")
    refresh = proxy.start("GET", "/x", f"Cache-Control: {control}")
    assert proxy.count == 2
    proxy.backend.release()
    assert refresh.answer is not None


def test_leader_fails_and_all_learn_it(proxy: MemoryProxy) -> None:
    proxy.says_each(UpstreamUnreachable("refused"))
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(10)]
    proxy.backend.release()
    assert [exchange.answer.status for exchange in waiting if exchange.answer] == [502] * 10
    assert proxy.count == 1


def test_body_that_breaks_off_lets_another_lead(proxy: MemoryProxy) -> None:
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(4)]
    proxy.backend.requests[0].answer(proxy.reply(FRESH, length=9, cut=True))
    proxy.says(FRESH, body=b"whole")
    proxy.backend.release()
    assert waiting[0].answer is not None
    assert waiting[0].answer.error is not None
    assert [exchange.answer.body for exchange in waiting[1:] if exchange.answer] == [b"whole"] * 3
    assert proxy.count == 2


def test_bodies_that_always_break_off_do_not_queue_up(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, length=9, cut=True)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(10)]
    proxy.backend.release()
    assert all(exchange.answer is not None and exchange.answer.error for exchange in waiting)


def test_waiting_ends_for_all_at_once(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    leader = proxy.start("GET", "/x")
    proxy.advance(10)
    followers = [proxy.start("GET", "/x") for _ in range(4)]
    proxy.advance(60)
    assert [follower.answer.status for follower in followers if follower.answer] == [504] * 4
    assert proxy.count == 1, "nobody waits for a second timeout"
    again = proxy.start("GET", "/x")
    assert proxy.count == 2, "nobody joins what has kept others waiting for too long"
    proxy.backend.release()
    assert leader.answer is not None
    assert again.answer is not None


def test_ranges_wait_for_a_whole_under_way(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"abcdef")
    proxy.backend.hold()
    proxy.start("GET", "/x")
    part = proxy.start("GET", "/x", "Range: bytes=1-2")
    proxy.backend.release()
    assert part.answer is not None
    assert (part.answer.status, part.answer.body, proxy.count) == (206, b"bc", 1)


# -- clients that leave


def test_leaves_while_its_token_is_judged(proxy: MemoryProxy) -> None:
    judging: Deferred[Identity] = Deferred()
    proxy.verifier.identify = lambda request: judging  # type: ignore[method-assign]
    exchange = proxy.start("GET", "/x")
    exchange.leave()
    assert exchange.failure is not None
    assert exchange.failure.check(CancelledError)
    assert proxy.quiet


def test_leaves_while_the_store_is_read(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.store.hold("lookup")
    leaver, stayer = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    leaver.leave()
    assert len(proxy.key_state) == 1
    proxy.store.release()
    assert leaver.failure is not None
    assert stayer.answer is not None
    assert proxy.count == 1


def test_leaves_the_backend_alone(proxy: MemoryProxy) -> None:
    proxy.backend.hold()
    exchange = proxy.start("GET", "/x")
    exchange.leave()
    assert proxy.backend.requests[0].cancelled
    assert proxy.quiet
    proxy.backend.release()
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"


def test_leader_leaves_others_waiting(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    waiting[0].leave()
    assert waiting[0].failure is not None
    assert not proxy.backend.requests[0].cancelled
    proxy.backend.release()
    assert [exchange.answer.body for exchange in waiting[1:] if exchange.answer] == [b"one"] * 2
    assert (proxy.count, proxy.get().cache) == (1, "HOT_HIT")


def test_leader_leaves_others_with_what_cannot_be_shared(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: private")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    waiting[0].leave()
    proxy.backend.release()
    assert [exchange.answer.body for exchange in waiting[1:] if exchange.answer] == [b"one"] * 2


def test_follower_leaves(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    waiting[1].leave()
    assert len(proxy.key_state) == 1
    proxy.backend.release()
    assert [exchange.answer is not None for exchange in waiting] == [True, False, True]


def test_leaves_while_the_body_arrives_and_it_is_stored_all_the_same(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    exchange = proxy.start("GET", "/x", read=False)
    response.body.feed(b"on")
    exchange.leave()
    response.body.feed(b"e")
    response.body.end()
    assert (proxy.get().body, proxy.count) == (b"one", 1)


class Tap:
    """The connection behind an open body."""

    def __init__(self) -> None:
        self.cancelled = 0

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...

    def cancel_body(self) -> None:
        self.cancelled += 1


def test_leaves_a_body_that_nobody_stores(proxy: MemoryProxy) -> None:
    tap = Tap()
    response = proxy.open_response("Cache-Control: no-store", source=tap)
    proxy.backend.script = lambda head, body: response
    proxy.start("GET", "/x", read=False).leave()
    assert tap.cancelled == 1


def test_leaves_while_a_prefix_is_completed(proxy: MemoryProxy) -> None:
    tap = Tap()
    lines = (FRESH, 'ETag: "a"')
    response = proxy.open_response(*lines, "Content-Range: bytes 3-9/10", status=206, source=tap)
    proxy.says_each(proxy.reply(*lines, "Content-Range: bytes 0-2/10", status=206, body=b"abc"), response)  # type: ignore[arg-type]
    proxy.get("/x", "Range: bytes=0-2")
    exchange = proxy.start("GET", "/x")
    assert exchange.reply is None
    exchange.leave()
    assert tap.cancelled == 1
    assert proxy.quiet


def test_post_whose_client_leaves(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.backend.hold()
    exchange = proxy.start("POST", "/x")
    exchange.leave()
    assert proxy.backend.requests[-1].cancelled
    proxy.backend.release()
    assert proxy.get().cache == "HOT_HIT"


# -- a store in trouble costs nothing but misses


@pytest.mark.parametrize(
    ("operations", "cache"),
    [(["lookup"], "ERROR"), (["put"], "MISS")],
    ids=["reading", "writing"],
)
def test_store_fails(make_proxy: Callable[..., MemoryProxy], operations: list[str], cache: str) -> None:
    proxy = make_proxy()
    proxy.says(FRESH)
    proxy.store.hold(*operations)
    exchange = proxy.start("GET", "/x")
    proxy.store.failing = down()
    proxy.store.release()
    assert exchange.answer is not None
    assert (exchange.answer.status, exchange.answer.cache) == (200, cache)
    assert proxy.get().cache == "HOT_HIT"
    proxy.forget_memory()
    assert proxy.get().cache == "ERROR"
