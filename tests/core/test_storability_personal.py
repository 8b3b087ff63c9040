"""How private answers, roles, cookies and the default lifetime meet section 4 of the caching rules."""

from __future__ import annotations

import attrs
import pytest
from plugins.judged import DEFAULT, FRESH, cc, verdict

from caching_proxy.core.messages import Field
from caching_proxy.core.outcome import Refusal
from caching_proxy.core.policy import CachePolicy


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
def test_Z3_set_cookie_under_bypass(value: bytes, refusal: Refusal | None) -> None:
    assert verdict(cc(value), SET_COOKIE, policy=DEFAULT).refusal is refusal


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
