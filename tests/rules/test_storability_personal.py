"""How private answers, roles, cookies and the default lifetime meet section 4 of the caching rules."""

from __future__ import annotations

import attrs
import pytest
from support.judged import DEFAULT, ETAG, FRESH, MODIFIED, NOW, PLAIN, cc, verdict

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field
from caching_proxy.rules.entry import Flag
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.policy import CachePolicy


@pytest.mark.parametrize("value", [b"private, max-age=900", b'private="", s-maxage=9', b'private="a", public, private'])
def test_B9_unqualified_private(value: bytes) -> None:
    assert verdict(cc(value)).refusal is Refusal.PRIVATE


def test_B10_qualified_private() -> None:
    found = verdict(cc(b'private="X-U, X-V", max-age=900'))
    assert found.storable
    assert found.drop == {b"x-u", b"x-v"}


BASIC = ((b"Authorization", b"x"),)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (b"max-age=900", Refusal.AUTHORIZATION),
        (b"max-age=900, proxy-revalidate", Refusal.AUTHORIZATION),
        (b"", Refusal.AUTHORIZATION),
        (b"max-age=900, public", None),
        (b"max-age=900, must-revalidate", None),
        (b"s-maxage=900", None),
        (b"public", Refusal.NO_FRESHNESS),
        (b"private, public, max-age=9", Refusal.PRIVATE),
    ],
)
def test_B13_authorization(value: bytes, refusal: Refusal | None) -> None:
    assert verdict(cc(value), sent=BASIC, established=False).refusal is refusal


def test_B13_targeted_control_counts() -> None:
    targeted = (b"CDN-Cache-Control", b"max-age=900, public")
    assert verdict(targeted, FRESH, sent=BASIC, established=False).storable
    hidden = (b"CDN-Cache-Control", b"max-age=900")
    assert verdict(hidden, cc(b"public"), sent=BASIC, established=False).refusal is Refusal.AUTHORIZATION


def test_Z2_an_established_role_stands_for_authorization() -> None:
    assert verdict(FRESH, sent=BASIC).storable
    assert verdict(policy=DEFAULT, sent=BASIC).storable
    assert verdict(cc(b"private, max-age=9"), sent=BASIC).refusal is Refusal.PRIVATE
    assert verdict(cc(b"no-store"), sent=BASIC).refusal is Refusal.NO_STORE


COOKIE = ((b"Cookie", b"session=1"),)
SET_COOKIE = (b"Set-Cookie", b"a=b")


def test_B14_cookies_are_no_obstacle() -> None:
    disposition = (b"Content-Disposition", b"attachment")
    assert verdict(FRESH, SET_COOKIE, disposition, sent=COOKIE).storable


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (b"max-age=900", Refusal.SET_COOKIE),
        (b"", Refusal.SET_COOKIE),
        (b"max-age=900, public", None),
        (b"public", None),
        (b"s-maxage=900", None),
        (b'max-age=900, private="Set-Cookie"', None),
        (b'private="Set-Cookie"', Refusal.NO_FRESHNESS),
    ],
)
def test_Z3_set_cookie_where_it_may_be_stored(value: bytes, refusal: Refusal | None) -> None:
    storing = attrs.evolve(DEFAULT, store_set_cookie=True)
    assert verdict(cc(value), SET_COOKIE, policy=storing).refusal is refusal


@pytest.mark.parametrize("value", [b"max-age=900", b"", b"max-age=900, public", b"public", b"s-maxage=900, immutable"])
def test_Z3_set_cookie_is_not_stored_by_default(value: bytes) -> None:
    for name in (b"Set-Cookie", b"set-cookie2"):
        assert verdict(cc(value), ETAG, (name, b"a=b"), policy=DEFAULT).refusal is Refusal.SET_COOKIE
    told = cc(b'max-age=900, private="Set-Cookie"')
    assert verdict(told, SET_COOKIE, policy=DEFAULT).storable, "the backend keeps the cookie out itself"


MISSPELT = [
    *(b"no-store; max-age=0", b"private;max-age=60", b"no-cache max-age=0", b"no-store;", b"No-Store\tmax-age=0"),
    *(b"no_store", b"no store", b"nostore", b"'no-store'", b'"no-store"', b"no-store: 1", b"x=no-cache", b"no--cache"),
    *(b'foo="private"', b"private|public", b"private/no-cache", b'"private', b"public; max-age=0", b"max-age:60"),
    *(b"max_age=0", b"maxage=60", b"s-max-age=1", b"public;no-cache;no-store", b"(no-store)", b"no-store\xa0"),
]


@pytest.mark.parametrize("value", MISSPELT)
def test_Z1_nothing_is_guessed_where_a_restriction_was_meant(value: bytes) -> None:
    for more in ((), (MODIFIED,)):
        for policy in (DEFAULT, PLAIN):
            found = verdict(cc(value), *more, policy=policy)
            assert found.freshness.lifetime == 0
            assert found.refusal is (None if more else Refusal.MALFORMED)
            assert not found.storable or Flag.STRICT in found.flags, "never shown without asking"
    stated = verdict(cc(value), (b"Expires", format_date(NOW + 60)), policy=DEFAULT)
    assert stated.freshness.lifetime == 60, "by the letter it says nothing"


@pytest.mark.parametrize("value", [b"no-cache max-age=0", b"No-Store", b"no-store=1", b"private, &&&", b"no_store;"])
def test_T3_nothing_is_guessed_beside_a_discarded_restriction(value: bytes) -> None:
    field = (b"CDN-Cache-Control", value)
    assert verdict(field, policy=DEFAULT).refusal is Refusal.MALFORMED
    assert verdict(field, cc(b"max-age=900"), policy=DEFAULT).freshness.lifetime == 900
    untargeted = attrs.evolve(DEFAULT, targets=())
    assert verdict(field, policy=untargeted).freshness.lifetime == 1800


@pytest.mark.parametrize(
    "value", [b"zebra", b"public", b"privateer", b"x=nothing", b"must-revalidate", b"foo; bar", b"damage=3", b"public;"]
)
def test_P5_a_guess_is_made_beside_unknown_directives(value: bytes) -> None:
    assert verdict(cc(value), policy=DEFAULT).freshness.lifetime == 1800


@pytest.mark.parametrize("value", [b"max-age=900", b"public", b"s-maxage=900"])
def test_Z3_session_cookies_pass_by(value: bytes) -> None:
    assert verdict(cc(value), sent=COOKIE, policy=DEFAULT).refusal is Refusal.COOKIE
    ignoring = attrs.evolve(DEFAULT, ignored_cookies=(b"sess*",))
    assert verdict(cc(value), sent=COOKIE, policy=ignoring).storable


IGNORING = CachePolicy(cookie_bypass=False)


@pytest.mark.parametrize(
    ("pairs", "sent", "lifetime"),
    [
        ((), COOKIE, 1800),
        ((SET_COOKIE,), (), 0),
        ((SET_COOKIE, cc(b"public")), (), 1800),
        ((), ((b"Range", b"bytes=0-"),), 0),
        ((FRESH,), ((b"Range", b"bytes=0-"),), 900),
    ],
    ids=["cookie", "set-cookie", "public", "range", "range-stated"],
)
def test_Z1_default_never_for_what_may_be_personal(
    pairs: tuple[Field, ...], sent: tuple[Field, ...], lifetime: int
) -> None:
    found = verdict(*pairs, sent=sent, policy=IGNORING)
    assert found.freshness.lifetime == lifetime
    assert found.storable is (lifetime > 0)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_Z1_default_makes_successes_storable(status: int) -> None:
    found = verdict(status=status, policy=DEFAULT)
    assert found.storable
    assert found.freshness.lifetime == 1800


@pytest.mark.parametrize("status", [206, 301, 404, 500])
def test_Z1_default_is_for_nothing_else(status: int) -> None:
    part = (b"Content-Range", b"bytes 0-1/5")
    assert verdict(part, status=status, policy=DEFAULT).refusal is Refusal.NO_FRESHNESS
