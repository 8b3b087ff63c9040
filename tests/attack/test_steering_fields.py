"""Fields that steer a backend, through the composed proxy: dropped, or believed from trusted proxies alone."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

from caching_proxy.rules.steering import TABLE
from caching_proxy.settings.parsers import SettingsError

NAMES = sorted(name.replace(b"*", b"anything") for name in TABLE)
TRUSTED = "10.1.2.3"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
WRITTEN_ANEW = {b"x-forwarded-for", b"x-forwarded-proto"}


def varying(message):
    """A backend that tells caches that one of these fields selects its answer."""
    names = b", ".join([*NAMES[:20], b"X-Forwarded-Host", b"X-Forwarded-Proto", b"Accept_Language", b"X-Tenant"])
    host = message.get("x-forwarded-host") or b"none"
    return ok(host, b"Cache-Control: max-age=60", b"Vary: " + names)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.decode())
def test_the_backend_sees_them_from_trusted_proxies_only(make_whole, name):
    whole = make_whole(TRUSTED_PROXIES="10.0.0.0/8")
    line = b"%b: evil" % name
    whole.get("/a", line)
    whole.get("/a", line, b"Cookie: id=1")
    whole.get("/a", line, *UPGRADE)
    whole.get("/a", line, method=b"HEAD")
    whole.get("/a", line, method=b"PUT")
    whole.get("/a", line, method=b"POST")
    seen = [message.get(name.decode()) for message in whole.backend.requests]
    assert seen == [None] * len(seen)
    for extra in ((), (b"Cookie: id=1",), UPGRADE):
        whole.get(f"/b{len(extra)}", line, *extra, host=TRUSTED)
        assert whole.backend.requests[-1].get(name.decode()) == b"evil"


@pytest.mark.parametrize("more", [(), UPGRADE, (b"Cookie: id=1",)], ids=["shared", "upgrade", "cookie"])
def test_names_with_an_underscore_pass_only_where_they_may(make_whole, more):
    line = b"Accept_Language: de"
    for host in ("192.0.2.1", TRUSTED):
        whole = make_whole(TRUSTED_PROXIES="10.0.0.0/8")
        whole.get("/a", line, *more, host=host)
        assert b"Accept_Language" not in whole.backend.bytes
        passing = make_whole(TRUSTED_PROXIES="10.0.0.0/8", UNDERSCORES_IN_HEADERS="on")
        passing.get("/a", line, *more, host=host)
        assert passing.backend.requests[-1].get("accept_language") == b"de"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_field_that_the_backend_never_saw_selects_nothing(make_whole, method):
    whole = make_whole(varying, TRUSTED_PROXIES="10.0.0.0/8", STEERING_FIELDS="X-Tenant")
    whole.get("/x", b"X-Forwarded-Host: evil.test", b"X-Forwarded-Proto: https", b"X-Tenant: 7", b"Accept_Language: de")
    assert whole.get("/x", method=method).cache == "HOT_HIT"
    assert whole.get("/x", b"X-Forwarded-Host: other.test", b"Accept_Language: fr", method=method).cache == "HOT_HIT"
    assert len(whole.backend.requests) == 1
    told = whole.get("/x", b"X-Forwarded-Host: evil.test", b"X-Forwarded-Proto: https", host=TRUSTED)
    assert (told.cache, told.body) == ("MISS", b"evil.test"), "what a stranger said is not what was stored"
    assert whole.get("/x", b"X-Forwarded-Host: evil.test").body == b"none"


def test_the_list_can_be_extended(make_whole):
    whole = make_whole(STEERING_FIELDS="X-Shop-*, x_tenant", TRUSTED_PROXIES="10.0.0.0/8", UNDERSCORES_IN_HEADERS="on")
    lines = (b"X-Shop-Id: 1", b"X-Tenant: 1", b"X_Shop_Id: 1", b"X-Other: 1")
    whole.get("/a", *lines)
    whole.get("/b", *lines, host=TRUSTED)
    names = ("x-shop-id", "x-tenant", "x_shop_id", "x-other")
    seen = [[message.get(name) is not None for name in names] for message in whole.backend.requests]
    assert seen == [[False, False, False, True], [True, True, False, True]]


def test_what_a_trusted_proxy_says_in_a_field_of_the_list_tells_answers_apart(make_whole):
    whole = make_whole(
        lambda message: ok(message.get("x-tenant") or b"none", b"Cache-Control: max-age=60"),
        STEERING_FIELDS="X-Tenant",
        TRUSTED_PROXIES="10.0.0.0/8",
    )
    for _ in range(3):
        for tenant in (b"1", b"2"):
            assert whole.get("/a", b"X-Tenant: " + tenant, host=TRUSTED).body == tenant
        assert whole.get("/a", host=TRUSTED).body == whole.get("/a", b"X-Tenant: 1").body == b"none"
    assert len(whole.backend.requests) == 3
    assert whole.get("/a", b"X-Tenant: 2", host=TRUSTED).cache == "HOT_HIT"


@pytest.mark.parametrize("value", ["*", "Host", "h?st", "Auth*", "X Y", "X:Y", "co*"])
def test_a_list_that_would_take_what_requests_need_stops_the_start(make_whole, value):
    with pytest.raises(SettingsError, match="STEERING_FIELDS"):
        make_whole(STEERING_FIELDS=value)
