"""The listing of keys, and what is shown of one."""

from __future__ import annotations

import base64

import pytest
from support.admin_site import BEARER, NOW, Request, Site

from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.listing import Cursor


def entry(**changes):
    values = {
        "key": b"cache:GET:anonymous:/x",
        "status": 200,
        "reason": b"OK",
        "head": Fields([(b"Content-Type", b"application/json"), (b"X-A", b"1"), (b"x-a", b"2")]).encoded(),
        "body": '{"é": 1}'.encode(),
        "received_at": NOW,
        "lifetime": 60,
    }
    return CacheEntry(**{**values, **changes})


KEYS = [b"cache:GET:b:/2", b"cache:GET:anonymous:/1", b"cache:GET:/old", b"cache:GET:b:/\xff"]


def test_keys():
    site = Site()
    site.cache.listed = list(KEYS)
    request = site.ask(b"GET", b"/keys", [BEARER])
    assert request.status == 200
    assert request.json == {
        "keyCount": 4,
        "keysByRole": {
            "legacy": ["cache:GET:/old"],
            "anonymous": ["cache:GET:anonymous:/1"],
            "b": ["cache:GET:b:/2", "cache:GET:b:/\udcff"],
        },
        "keys": ["cache:GET:/old", "cache:GET:anonymous:/1", "cache:GET:b:/2", "cache:GET:b:/\udcff"],
    }
    assert b"\ncache_keys_total 4" in site.ask(b"GET", b"/metrics").written


@pytest.mark.parametrize(
    ("query", "call"),
    [
        (b"", (None, None, None)),
        (b"?match=cache:GET:*", (b"cache:GET:*", None, None)),
        (b"?match=%2Fa%20b+c%ff", (b"/a b c\xff", None, None)),
        (b"?limit=5&match=x", (b"x", 5, None)),
        (b"?other=1", (None, None, None)),
        (b"?cursor=s17", (None, None, Cursor(b"s", b"17"))),
        (b"?cursor=m0.00112233aabbccdd", (None, None, Cursor(b"m", b"0", b"00112233aabbccdd"))),
    ],
)
def test_keys_by_pattern_and_number(query, call):
    site = Site()
    assert site.ask(b"GET", b"/keys" + query, [BEARER]).status == 200
    assert site.cache.calls == [call]


@pytest.mark.parametrize(
    "query",
    [
        b"match=",
        b"match=" + b"x" * 4097,
        b"limit=0",
        b"limit=-1",
        b"limit=x",
        b"limit=",
        b"limit=1e3",
        b"limit=" + b"9" * 5000,
        b"cursor=",
        b"cursor=17",
        b"cursor=s" + b"9" * 30,
        b"cursor=s1.zz",
    ],
    ids=lambda query: query[:16].decode(),
)
def test_keys_with_bad_parameters(query):
    assert Site().ask(b"GET", b"/keys?" + query, [BEARER]).status == 400


@pytest.mark.parametrize(("query", "cursor"), [(b"?match=x", None), (b"?cursor=s1", None), (b"?limit=9", b"s1")])
def test_a_partial_listing_does_not_count_the_keys(query, cursor):
    site = Site()
    site.cache.listed, site.cache.cursor = list(KEYS), cursor
    site.ask(b"GET", b"/keys" + query, [BEARER])
    assert b"\ncache_keys_total 0" in site.ask(b"GET", b"/metrics").written


def test_a_page_says_where_the_next_begins():
    site = Site()
    site.cache.listed, site.cache.cursor = list(KEYS), b"s17.00112233aabbccdd"
    for query in (b"?limit=4", b"?cursor=s1"):
        answer = site.ask(b"GET", b"/keys" + query, [BEARER]).json
        assert (answer["keyCount"], answer["cursor"]) == (4, "s17.00112233aabbccdd")


def test_a_long_listing_is_made_in_pieces():
    site = Site()
    site.cache.listed = [b"cache:GET:r%d:/%d" % (number % 3, number) for number in range(3500)]
    request = site.ask(b"GET", b"/keys", [BEARER])
    assert len(request.json["keys"]) == 3500
    sizes = {role: len(keys) for role, keys in request.json["keysByRole"].items()}
    assert sizes == {"r0": 1167, "r1": 1167, "r2": 1166}
    assert request.longest < len(request.written) / 5


def test_the_client_leaves_in_the_middle_of_a_listing():
    site = Site()
    site.cache.listed = [b"cache:GET:r:/%d" % number for number in range(3500)]
    request = Request(b"GET", b"/keys", [BEARER], patience=4)
    site.begin(request)
    request.producer.stopProducing()
    request.leave()
    assert request.finished == 0
    assert next(request.producer._pieces, None) is None


def test_key():
    site = Site()
    site.cache.held = [entry()]
    request = site.post(b"/key", {"key": "cache:GET:anonymous:/\udcff"})
    assert site.cache.calls == [b"cache:GET:anonymous:/\xff"]
    assert request.status == 200
    assert request.json["cacheEntry"] == {
        "status": 200,
        "headers": {"Content-Type": "application/json", "X-A": ["1", "2"]},
        "body": '{"é": 1}',
    }


@pytest.mark.parametrize(
    ("fields", "body", "text"),
    [
        ([(b"Content-Type", b"text/html; charset=utf-8")], b"<p>", True),
        ([(b"Content-Type", b"application/problem+JSON")], b"{}", True),
        ([(b"Content-Type", b"text/plain"), (b"Content-Encoding", b"identity")], b"x", True),
        ([(b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip")], b"x", False),
        ([(b"Content-Type", b"text/plain")], b"\xe9", False),
        ([(b"Content-Type", b"image/png")], b"x", False),
        ([], b"x", False),
    ],
    ids=["html", "json-suffix", "identity", "gzip", "not-utf8", "png", "untyped"],
)
def test_bodies_as_text_or_base64(fields, body, text):
    site = Site()
    site.cache.held = [entry(head=Fields(fields).encoded(), body=body)]
    shown = site.post(b"/key", {"key": "k"}).json["cacheEntry"]
    if text:
        assert (shown["body"], "encoding" in shown) == (body.decode(), False)
    else:
        assert (base64.b64decode(shown["body"]), shown["encoding"]) == (body, "base64")


def test_variants_of_a_key_newest_first():
    site = Site()
    english = entry(selecting=((b"accept-language", b"en"),), received_at=NOW - 10)
    plain = entry(selecting=((b"accept-language", None),), status=203)
    site.cache.held = [english, plain]
    shown = site.post(b"/key", {"key": "k"}).json["cacheEntry"]
    assert shown["status"] == 203
    assert shown["variants"] == [
        {"status": 203, "selecting": {"accept-language": None}, "expiresIn": 60, "size": plain.size},
        {"status": 200, "selecting": {"accept-language": "en"}, "expiresIn": 50, "size": english.size},
    ]


def test_variants_of_one_spelling_each():
    site = Site()
    site.cache.held = [entry(), entry(scope=b"/", received_at=NOW - 10)]
    shown = site.post(b"/key", {"key": "k"}).json["cacheEntry"]["variants"]
    assert [each.get("scope") for each in shown] == [None, "/"]


def test_tags_of_each_variant():
    site = Site()
    site.cache.held = [entry(tags=(b"item-1", b"\xc3\xa9", b"\xff")), entry(scope=b"/", received_at=NOW - 10)]
    shown = site.post(b"/key", {"key": "k"}).json["cacheEntry"]
    assert shown["tags"] == ["item-1", "é", "\udcff"]
    assert [each.get("tags") for each in shown["variants"]] == [shown["tags"], None]


def test_a_key_that_is_absent():
    request = Site().post(b"/key", {"key": "cache:GET:anonymous:/x"})
    assert (request.status, list(request.json)) == (404, ["error"])
