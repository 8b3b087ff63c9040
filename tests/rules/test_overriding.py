"""Rules that beat what the backend says: what is stored, for how long, and what stays as the backend wants it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judged import NOW, PLAIN, cc, verdict

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field
from caching_proxy.rules.entry import Flag
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.policy import CachePolicy, Override

OVER = CachePolicy(default_ttl=9, cookie_bypass=True, override=Override(ttl=60))
PRIVATE = CachePolicy(default_ttl=9, override=Override(ttl=60, private=True))
EXPIRED = (b"Expires", format_date(NOW - 1000))
COOKIE = (b"Set-Cookie", b"a=1")


@pytest.mark.parametrize(
    ("pairs", "lifetime"),
    [
        ((), 60),
        ((cc(b"max-age=0"),), 60),
        ((cc(b"max-age=900"),), 60),
        ((cc(b"s-maxage=5"),), 60),
        ((cc(b"no-cache"),), 60),
        ((cc(b"no-cache, must-revalidate, max-age=0"), EXPIRED), 60),
        ((cc(b"max-age=banana"),), 60),
        ((EXPIRED,), 60),
        (((b"CDN-Cache-Control", b"max-age=5"),), 60),
        (((b"Age", b"500"), cc(b"max-age=1")), 560),
        ((COOKIE,), 60),
    ],
    ids=str,
)
def test_the_rule_says_how_long(pairs: tuple[Field, ...], lifetime: int) -> None:
    found = verdict(*pairs, policy=OVER)
    assert found.refusal is None
    assert found.freshness.lifetime == lifetime
    assert found.freshness.remaining == 60
    assert not found.flags & Flag.NO_CACHE


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (b"private", Refusal.PRIVATE),
        (b"no-store", Refusal.NO_STORE),
        (b"private, max-age=900", Refusal.PRIVATE),
        (b"no-store, no-cache", Refusal.NO_STORE),
        (b'private="', Refusal.PRIVATE),
        (b"no_store", Refusal.MALFORMED),
        (b"private; max-age=900", Refusal.MALFORMED),
        (b"max_age=5", Refusal.MALFORMED),
    ],
)
def test_private_and_no_store_and_what_may_mean_them_need_a_word_of_their_own(value: bytes, refusal: Refusal) -> None:
    assert verdict(cc(value), policy=OVER).refusal is refusal
    found = verdict(cc(value), policy=PRIVATE)
    assert (found.refusal, found.freshness.lifetime) == (None, 60)


@pytest.mark.parametrize(
    ("pairs", "sent", "refusal"),
    [
        (((b"Vary", b"*"),), (), Refusal.VARY_STAR),
        ((), ((b"Cookie", b"a=1"),), Refusal.COOKIE),
        (((b"Content-Type", b"text/event-stream"),), (), Refusal.NO_FRESHNESS),
        ((), ((b"Cache-Control", b"no-store"),), Refusal.REQUEST_NO_STORE),
    ],
    ids=["vary", "cookie", "endless", "no-store"],
)
def test_what_no_rule_overrides(pairs: tuple[Field, ...], sent: tuple[Field, ...], refusal: Refusal) -> None:
    assert verdict(*pairs, sent=sent, policy=PRIVATE).refusal is refusal


def test_credentials_without_a_role_still_need_the_backends_word() -> None:
    sent = ((b"Authorization", b"Basic x"),)
    assert verdict(sent=sent, established=False, policy=PRIVATE).refusal is Refusal.AUTHORIZATION
    assert verdict(cc(b"public"), sent=sent, established=False, policy=OVER).flags & Flag.SHARED


def test_cookies_that_are_set_are_never_stored() -> None:
    for policy in (OVER, PRIVATE):
        found = verdict(COOKIE, (b"Set-Cookie2", b"b=2"), cc(b'no-cache="x-a"'), policy=policy)
        assert found.storable
        assert found.drop == {b"set-cookie", b"set-cookie2", b"x-a"}


@pytest.mark.parametrize("value", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=5", b"no-cache"])
def test_what_must_not_be_stale_is_not_unless_the_rule_speaks_of_it(value: bytes) -> None:
    assert verdict(cc(value), policy=OVER).flags & Flag.STRICT
    stale = CachePolicy(override=Override(60, stale_while_revalidate=30))
    found = verdict(cc(value), policy=stale)
    assert not found.flags & Flag.STRICT
    assert found.freshness.stale_while_revalidate == 30


def test_stale_windows() -> None:
    backend = cc(b"max-age=1, stale-while-revalidate=7, stale-if-error=8")
    kept = verdict(backend, policy=OVER).freshness
    assert (kept.stale_while_revalidate, kept.stale_if_error) == (7, 8)
    given_ = verdict(backend, policy=CachePolicy(override=Override(60, stale_if_error=0))).freshness
    assert (given_.stale_while_revalidate, given_.stale_if_error) == (7, 0)


@pytest.mark.parametrize(
    ("status", "lifetime"), [(200, 60), (203, 60), (404, 10), (503, 5), (301, 900), (206, 900), (500, 900)]
)
def test_which_statuses(status: int, lifetime: int) -> None:
    policy = CachePolicy(override=Override(60, ((404, 10), (503, 5))))
    pairs = (cc(b"max-age=900"), (b"Content-Range", b"bytes 0-1/2"))
    assert verdict(*pairs, status=status, policy=policy).freshness.lifetime == lifetime


@pytest.mark.parametrize(
    ("status", "pairs", "lifetime", "refusal"),
    [
        (404, (), 10, None),
        (404, (cc(b"max-age=900"),), 900, None),
        (404, (cc(b"no-store"),), 0, Refusal.NO_STORE),
        (404, (COOKIE,), 0, Refusal.SET_COOKIE),
        (404, (cc(b"no_store"),), 0, Refusal.MALFORMED),
        (503, (), 5, None),
        (302, (), 20, None),
        (410, ((b"Last-Modified", format_date(NOW - 864_000)),), 0, Refusal.NO_FRESHNESS),
        (500, (), 0, Refusal.NO_FRESHNESS),
        (200, (), 9, None),
    ],
    ids=str,
)
def test_lifetimes_by_status_in_place_of_a_guess(
    status: int, pairs: tuple[Field, ...], lifetime: int, refusal: Refusal | None
) -> None:
    policy = CachePolicy(default_ttl=9, status_ttl=((404, 10), (503, 5), (302, 20), (410, 0)))
    found = verdict(*pairs, status=status, policy=policy)
    assert found.refusal is refusal
    assert refusal is not None or found.freshness.lifetime == lifetime


@pytest.mark.parametrize(
    ("pairs", "sent", "selecting"),
    [
        ((), (), ((b"x-a", None), (b"x-b", None))),
        (((b"Vary", b"X-C, x-b"),), ((b"X-B", b"1"),), ((b"x-a", None), (b"x-b", b"1"), (b"x-c", None))),
    ],
    ids=["alone", "with Vary"],
)
def test_fields_that_select_a_variant(
    pairs: tuple[Field, ...], sent: tuple[Field, ...], selecting: tuple[tuple[bytes, bytes | None], ...]
) -> None:
    policy = CachePolicy(vary=(b"x-a", b"x-b"))
    assert verdict(cc(b"max-age=9"), *pairs, sent=sent, policy=policy).selecting == selecting


words = st.sampled_from(
    (
        *(b"max-age=5", b"s-maxage=0", b"no-cache", b"must-revalidate", b"public", b"private", b"no-store"),
        *(b'no-cache="a"', b'private="b"', b"no_store", b"max-age", b"stale-if-error=3", b"immutable"),
        *(b"must-understand", b"x=1", b'"'),
    )
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(words, max_size=5), st.sampled_from([200, 404, 301, 206]))
def test_without_override_private_nothing_is_stored_that_was_not_meant_to_be(said: list[bytes], status: int) -> None:
    """What the backend kept back as private, or not to be stored, stays so; else a 200 is fresh for as long as the
    rule says and for nobody longer."""
    control = cc(b", ".join(said))
    plain, over = verdict(control, status=status, policy=PLAIN), verdict(control, status=status, policy=OVER)
    if plain.refusal in (Refusal.PRIVATE, Refusal.NO_STORE):
        assert over.refusal is plain.refusal
    if status in (301, 206, 404):
        assert (over.flags, over.drop) == (plain.flags, plain.drop)
    elif over.storable and over.freshness.lifetime != 60:
        assert over.flags == plain.flags
    assert over.drop >= plain.drop or not plain.storable
