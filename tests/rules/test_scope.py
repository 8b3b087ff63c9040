"""What tells requests apart beside key and ``Vary``: the slash, and what trusted proxies say (SPEC section 5)."""

from __future__ import annotations

import pytest

from caching_proxy.http.messages import Fields
from caching_proxy.rules.scope import PLAIN_VIEW, scope_of, view_of


def fields(*lines: str) -> Fields:
    pairs = (line.partition(": ") for line in lines)
    return Fields((name.encode(), value.encode()) for name, _, value in pairs)


@pytest.mark.parametrize("target", [b"/", b"/x", b"/x?a=/", b"/x?", b"/?a/", b"*", b""])
def test_B18_most_targets_have_no_scope(target: bytes) -> None:
    assert scope_of(target, Fields()) == b""


@pytest.mark.parametrize("target", [b"/x/", b"/x/?a", b"//", b"/x//", b"/x/?"])
def test_B18_a_slash_that_the_key_leaves_out_is_told_apart(target: bytes) -> None:
    assert scope_of(target, Fields()) == b"/"


ORDINARY = [
    fields(),
    fields("X-Forwarded-For: 192.0.2.1"),
    fields("X-Forwarded-Proto: http"),
    fields("X-Forwarded-Proto: http", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "CF-Connecting-IP: ::1"),
    fields("Forwarded: for=192.0.2.1"),
]


@pytest.mark.parametrize("given", ORDINARY)
def test_B18_the_address_of_a_client_tells_nothing_apart(given: Fields) -> None:
    assert scope_of(b"/x", given, trusted=True) == b""


TOLD = [
    fields("X-Forwarded-Proto: https"),
    fields("X-Forwarded-Host: a.test"),
    fields("X-Forwarded-Host: b.test"),
    fields("X-Forwarded-Host: a.test", "X-Forwarded-Proto: https"),
    fields("X-Forwarded-Port: 8443"),
    fields("X-Forwarded-Prefix: /p"),
    fields("X-Forwarded-User: alice"),
    fields("X-Forwarded-User: bob"),
    fields("X-Original-URL: /admin"),
    fields("X-HTTP-Method-Override: DELETE"),
    fields("Front-End-Https: on"),
    fields("Forwarded: for=192.0.2.1;proto=https"),
    fields("Forwarded: for=192.0.2.1;host=a.test"),
    fields('Forwarded: host="a.test:8443";proto=https'),
    fields("Forwarded: proto=https, proto=http"),
    fields("Forwarded: proto=http, proto=https"),
    fields("X-Forwarded-Host: " + "h" * 500),
    fields("X-Forwarded-Host: " + "h" * 501),
]


def test_B18_what_a_trusted_proxy_tells_is_told_apart() -> None:
    scopes = [scope_of(b"/x", given, trusted=True) for given in TOLD]
    assert len({b"", *scopes}) == len(TOLD) + 1
    assert max(map(len, scopes)) <= 64
    assert {scope_of(b"/x/", given, trusted=True) for given in TOLD}.isdisjoint(scopes)


@pytest.mark.parametrize("given", TOLD)
def test_nobody_else_is_believed(given: Fields) -> None:
    assert scope_of(b"/x", given) == b""


def test_B18_https_of_our_own_is_told_apart() -> None:
    assert scope_of(b"/x", Fields(), b"https") == scope_of(b"/x", TOLD[0], trusted=True) != b""
    assert scope_of(b"/x", fields("X-Forwarded-Proto: http"), b"https", trusted=True) == b""


def test_forwarded_is_compared_without_case() -> None:
    one, other = fields("Forwarded: Proto=HTTPS;for=x"), fields("forwarded: proto=https")
    assert scope_of(b"/x", one, trusted=True) == scope_of(b"/x", other, trusted=True)


def test_most_views_are_one_object() -> None:
    assert view_of(b"", False) is PLAIN_VIEW
    assert view_of(b"", True) is view_of(b"", True) != PLAIN_VIEW
    assert (view_of(b"/", True).scope, view_of(b"/", True).credentials) == (b"/", True)
