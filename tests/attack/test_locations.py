"""Answers that name the backend: clients see the proxy, and no client another's name for it (REWRITE_LOCATION)."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

OWN = b"http://backend.test:8080"
FRESH = b"Cache-Control: max-age=60"


def moved(message):
    """A redirect to the backend's own name, for everybody."""
    return ok(b"", FRESH, b"Location: " + OWN + b"/base/there?x", status=b"301 Moved Permanently")


@pytest.fixture
def redirecting(make_whole):
    return make_whole(moved, BACKEND_URL="http://backend.test:8080/base", TRUSTED_PROXIES="10.0.0.0/8")


def test_each_client_is_told_its_own_name_for_the_proxy(redirecting):
    for expected in ("MISS", "HOT_HIT", "HOT_HIT"):
        for host in (b"one.test", b"two.test:3000", b"[::1]:3000"):
            answer = redirecting.get("/x", b"Host: " + host)
            assert answer.get("location") == b"http://%b/there?x" % host
            assert answer.cache == expected
            expected = "HOT_HIT"
    assert redirecting.get("/x", method=b"HEAD").get("location") == b"http://proxy.test/there?x"
    assert len(redirecting.backend.requests) == 1
    if not redirecting.over_h2:
        assert b"backend" not in redirecting.client().send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * 3)


def test_without_a_host_the_path_alone_says_it(redirecting):
    for _ in range(2):
        [answer] = redirecting.ask(b"GET /x HTTP/1.0\r\n\r\n")
        assert answer.get("location") == b"/there?x"


def test_scheme_and_host_are_believed_from_trusted_proxies_alone(redirecting):
    told = (b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.test")
    for _ in range(2):
        assert redirecting.get("/x", *told).get("location") == b"http://proxy.test/there?x"
        assert redirecting.get("/x", *told, host="10.1.2.3").get("location") == b"https://shop.test/there?x"
        assert redirecting.get("/x", told[0], host="10.1.2.3").get("location") == b"https://proxy.test/there?x"


@pytest.mark.parametrize(
    "more", [(), (b"Cookie: id=1",), (b"Cache-Control: no-store",)], ids=["miss", "cookie", "no-store"]
)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"PROPFIND"])
def test_it_is_so_however_the_answer_came(redirecting, method, more):
    answer = redirecting.get("/x", *more, method=method)
    assert answer.get("location") == b"http://proxy.test/there?x"


def test_a_validated_answer_keeps_it_too(make_whole):
    place = b"Content-Location: " + OWN + b"/x.en"

    def script(message):
        if message.get("if-none-match"):
            return ok(b"", FRESH, place, b'ETag: "a"', status=b"304 Not Modified")
        return ok(b"body", b"Cache-Control: max-age=0", place, b'ETag: "a"')

    whole = make_whole(script)
    seen = [whole.get("/x", b"Host: " + host) for host in (b"one.test", b"two.test", b"three.test")]
    assert [answer.cache for answer in seen] == ["MISS", "REVALIDATED", "HOT_HIT"]
    places = [answer.get("content-location") for answer in seen]
    assert places == [b"http://one.test/x.en", b"http://two.test/x.en", b"http://three.test/x.en"]
    part = whole.get("/x", b"Range: bytes=0-1")
    assert (part.status, part.get("content-location")) == (206, b"http://proxy.test/x.en")
    known = whole.get("/x", b'If-None-Match: "a"')
    assert (known.status, known.get("content-location")) == (304, b"http://proxy.test/x.en")


def test_what_a_post_names_is_invalidated_by_either_name(make_whole):
    def script(message):
        if message.method == b"POST":
            return ok(b"", b"Location: " + OWN + b"/base/item", status=b"201 Created")
        return ok(b"item", FRESH)

    whole = make_whole(script, BACKEND_URL="http://backend.test:8080/base")
    whole.get("/item")
    assert whole.get("/list", method=b"POST").get("location") == b"http://proxy.test/item"
    assert whole.get("/item").cache == "MISS"


def test_a_redirect_to_what_is_answered_by_the_same_entry_is_not_stored(make_whole):
    def strip(message):
        return ok(b"", FRESH, b"Location: " + OWN + b"/x?utm_a=2", status=b"301 Moved Permanently")

    whole = make_whole(strip, CACHE_KEY_IGNORE_PARAMS="utm_*")
    assert [whole.get("/x?utm_a=1").cache, whole.get("/x?utm_a=2").cache] == ["MISS", "MISS"]
    assert whole.get("/x").get("location") == b"http://proxy.test/x?utm_a=2"


def test_a_redirect_to_the_other_spelling_of_a_slash_answers_only_its_own(make_whole):
    def add_slash(message):
        if message.target.endswith(b"/"):
            return ok(b"page", FRESH)
        return ok(b"", FRESH, b"Location: " + OWN + b"/x/", status=b"301 Moved Permanently")

    whole = make_whole(add_slash)
    for _ in range(2):
        assert whole.get("/x").get("location") == b"http://proxy.test/x/"
        assert whole.get("/x/").body == b"page"
    assert (whole.get("/x/").cache, len(whole.backend.requests)) == ("HOT_HIT", 2)


def test_it_can_be_turned_off(make_whole):
    whole = make_whole(moved, REWRITE_LOCATION="off")
    for _ in range(2):
        assert whole.get("/x").get("location") == OWN + b"/base/there?x"


def test_relative_and_foreign_references_pass_byte_for_byte(make_whole):
    for value in (
        b"/b",
        b"b",
        b"//other.test/",
        b"http://other.test/x",
        b"https://backend.test:8080/x",
        OWN + b"/../x",
    ):
        whole = make_whole(lambda message, value=value: ok(b"", FRESH, b"Location: " + value, status=b"302 Found"))
        assert [whole.get("/x").get("location") for _ in range(3)] == [value] * 3


def test_nothing_in_host_can_break_out_of_the_field(redirecting):
    for host in (b"a/b", b"a?b", b"a@b", b'a"b', b"a b", b"a<b", b"a\\b"):
        for answer in redirecting.ask(b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % host):
            assert answer.status == 400 or answer.get("location") == b"/there?x"
