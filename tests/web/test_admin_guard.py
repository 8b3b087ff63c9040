"""Who may use the guarded admin endpoints: tokens, guessing, and pages of other sites."""

from __future__ import annotations

import base64

import pytest
from support.admin_site import BEARER, GUARDED, TOKEN, Cache, Site


def test_no_answer_lets_other_origins_read():
    site = Site()
    origin = (b"Origin", b"https://evil.test")
    for request in (site.ask(b"OPTIONS", b"/keys", [origin]), site.ask(b"GET", b"/keys", [origin, BEARER])):
        assert not [name for name in request.fields if name.startswith(b"access-control")]


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ([], 401),
        ([b"Bearer wrong"], 401),
        ([b"Bearer"], 401),
        ([b""], 401),
        ([b"Basic " + base64.b64encode(b"x:" + TOKEN)], 401),
        ([b"Bearer " + TOKEN + b"x"], 401),
        ([b"Bearer " + TOKEN[:-1]], 401),
        ([b"Bearer " + TOKEN, b"Bearer " + TOKEN], 401),
        ([b"Bearer " + TOKEN], None),
        ([b"bearer  " + TOKEN], None),
    ],
    ids=["none", "wrong", "bare", "empty", "basic", "longer", "shorter", "twice", "right", "lower"],
)
def test_guarded_endpoints_need_the_token(method, target, credentials, status):
    site = Site()
    request = site.ask(method, target, [(b"Authorization", value) for value in credentials])
    if status is None:
        assert request.status in (200, 415)
    else:
        assert (request.status, request.fields[b"www-authenticate"]) == (401, b'Bearer realm="admin"')
        assert site.cache.calls == []


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("token", [None, b""], ids=["unset", "empty"])
def test_without_a_token_they_say_how_to_enable_them(method, target, token):
    request = Site(token=token).ask(method, target, [(b"Authorization", b"Bearer ")])
    assert request.status == 403
    assert "ADMIN_TOKEN" in request.json["error"]


def test_open_endpoints_need_none():
    assert Site(token=None, open_=True).ask(b"GET", b"/keys").status == 200


@pytest.mark.parametrize("site_", [b"cross-site", b"same-site"])
def test_pages_of_other_sites_are_refused_even_where_open(site_):
    site = Site(token=None, open_=True)
    assert site.ask(b"GET", b"/keys", [(b"Sec-Fetch-Site", site_)]).status == 403
    assert site.ask(b"GET", b"/keys", [(b"Sec-Fetch-Site", b"none")]).status == 200


def wrong(site, peer=b"192.0.2.1"):
    return site.ask(b"GET", b"/keys", [(b"Authorization", b"Bearer guess")], peer=peer).status


def test_guessing_is_slowed_down():
    site = Site()
    assert [wrong(site) for _ in range(11)] == [401] * 10 + [429]
    site.cache.clock.advance(20)
    request = site.ask(b"GET", b"/keys", [BEARER])
    assert (request.status, request.fields[b"retry-after"]) == (429, b"40")
    assert site.ask(b"GET", b"/keys", [BEARER], peer=b"192.0.2.2").status == 200
    site.cache.clock.advance(40)
    assert site.ask(b"GET", b"/keys", [BEARER]).status == 200


def test_ten_failures_count_across_the_guarded_endpoints():
    site = Site()
    for _ in range(5):
        for method, target in ((b"POST", b"/key"), (b"POST", b"/invalidate")):
            site.ask(method, target, [(b"Authorization", b"Bearer guess")])
    assert wrong(site) == 429


def test_slow_mistakes_and_missing_tokens_do_not_block():
    site = Site()
    for _ in range(30):
        assert site.ask(b"GET", b"/keys").status == 401
        assert wrong(site) == 401
        site.cache.clock.advance(7)


def test_an_ipv6_network_is_one_peer():
    site = Site()
    assert [wrong(site, b"2001:db8::%x" % n) for n in range(11)] == [401] * 10 + [429]
    assert wrong(site, b"2001:db8:0:1::1") == 401


def test_the_memory_of_peers_is_bounded():
    site = Site()
    for n in range(1100):
        wrong(site, b"10.0.%d.%d" % divmod(n, 256))
    guard = site.children[b"keys"]._guard
    assert len(guard._failures._times) == 1000


def test_the_token_is_in_no_representation():
    assert TOKEN.decode() not in repr(Cache().services())
