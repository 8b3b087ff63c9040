"""Fetching once in a fleet, as one proxy sees it: whose claim it is, and what happens meanwhile."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from caching_proxy.cache.backend.fleet import POLL_SECONDS, RENEW_SECONDS, STORED_SECONDS
from caching_proxy.interfaces import Claim, IClaims

FRESH = "Cache-Control: max-age=600"


@implementer(IClaims)
class Claims:
    """Says whose it is, as a test wants; remembers what is given up."""

    def __init__(self) -> None:
        self.whose: Claim | None = Claim.OURS
        self.names: list[bytes] = []
        self.given_up: list[bool] = []

    @property
    def asked(self) -> int:
        return len(self.names)

    def claim(self, name: bytes) -> Deferred[Claim]:
        self.names.append(name)
        return Deferred() if self.whose is None else succeed(self.whose)

    def give_up(self, name: bytes, alone: bool = False) -> None:
        self.given_up.append(alone)

    def stop(self) -> Deferred[None]:
        return succeed(None)


@pytest.fixture
def claims() -> Claims:
    return Claims()


@pytest.fixture
def proxy(claims: Claims) -> MemoryProxy:
    return MemoryProxy(claims=claims)


def test_a_claim_is_kept_until_the_answer_is_stored(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"
    assert claims.given_up == []
    proxy.clock.advance(STORED_SECONDS)
    assert (claims.asked, claims.given_up) == (1, [False])
    assert proxy.get().cache == "HOT_HIT"
    proxy.clock.advance(3 * RENEW_SECONDS)
    assert claims.asked == 1, "nothing is renewed that is over"


def test_what_nobody_may_share_is_said_at_once(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says("Cache-Control: no-store")
    proxy.get()
    assert claims.given_up == [True]


@pytest.mark.parametrize("whose", [None, Claim.THEIRS])
def test_who_leaves_while_waiting_leaves_nothing_behind(
    proxy: MemoryProxy, claims: Claims, whose: Claim | None
) -> None:
    claims.whose = whose
    waiting = proxy.start("GET", "/x")
    waiting.leave()
    assert (len(proxy.key_state), claims.given_up, proxy.count) == (0, [False], 0)
    claims.whose = Claim.OURS
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"


def test_what_was_invalidated_meanwhile_is_fetched_and_stored(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says(FRESH)
    claims.whose = Claim.THEIRS
    waiting = proxy.start("GET", "/x")
    proxy.invalidate("cache:GET:*:/x")
    claims.whose = Claim.OURS
    proxy.clock.advance(POLL_SECONDS)
    assert (waiting.answer and waiting.answer.cache, proxy.count) == ("MISS", 1)
    assert proxy.get().cache == "HOT_HIT"


def test_a_claim_for_the_next_fetch_outlives_the_end_of_the_last(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.invalidate("cache:GET:*:/x")
    proxy.backend.hold()
    waiting = proxy.start("GET", "/x")
    proxy.clock.advance(STORED_SECONDS)
    assert claims.given_up == [], "others would fetch beside it"
    proxy.clock.advance(RENEW_SECONDS)
    assert claims.asked == 2, "it is renewed as any"
    proxy.backend.release()
    proxy.clock.advance(STORED_SECONDS)
    assert (waiting.answer and waiting.answer.cache, claims.given_up) == ("MISS", [False])


def test_a_claim_ends_with_the_last_of_two_fetches(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x")]
    proxy.invalidate("cache:GET:*:/x")
    waiting.append(proxy.start("GET", "/x"))
    assert proxy.count == 2
    proxy.backend.release_one()
    proxy.clock.advance(2 * STORED_SECONDS)
    assert claims.given_up == []
    proxy.backend.release()
    proxy.clock.advance(STORED_SECONDS)
    assert claims.given_up == [False]
    assert all(one.answer is not None for one in waiting)


def test_variants_of_a_page_that_varies_are_claimed_apart(proxy: MemoryProxy, claims: Claims) -> None:
    proxy.says(FRESH, "Vary: Foo")
    for value in "1212":
        proxy.get("/x", f"Foo: {value}")
        proxy.invalidate("cache:GET:*:/x")
        proxy.clock.advance(STORED_SECONDS)
    first, *others = claims.names
    assert first == b"cache:GET:anonymous:/x"
    assert len(set(others)) == 2
    assert others[0] == others[2]


def test_who_waited_for_another_variant_looks_whether_a_proxy_has_stored_its_own(
    proxy: MemoryProxy, claims: Claims
) -> None:
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, "Vary: Foo", body=head.fields.first(b"foo") or b"")
    other = MemoryProxy(beside=proxy, claims=Claims())
    other.backend.script = proxy.backend.script
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x", f"Foo: {value}") for value in "12"]
    assert other.get("/x", "Foo: 2").cache == "MISS"
    proxy.backend.release()
    assert [(one.answer.cache, one.answer.body) for one in waiting if one.answer] == [("MISS", b"1"), ("HIT", b"2")]
    assert (proxy.count, other.count) == (1, 1)
