"""Invariant 7: the admin endpoints of the composed proxy, as a stranger, a guesser and a foreign page meet them."""

from __future__ import annotations

import json
import time

import pytest
from support.whole_proxy import cacheable, ok

TOKEN = "0123456789abcdef"
BEARER = b"Authorization: Bearer " + TOKEN.encode()
JSON = b"Content-Type: application/json"
GUARDED = [(b"POST", b"/invalidate"), (b"GET", b"/keys"), (b"POST", b"/key")]
PATTERN = {"pattern": "cache:GET:*:/x*"}


def ask(whole, method, target, *fields, value=None, admin=False, host="192.0.2.1"):
    body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = b"".join(field + b"\r\n" for field in (*fields, b"Content-Length: %d" % len(body)))
    client = whole.client(host, admin)
    [answer] = client.ask(b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, target, lines, body))
    client.close()
    return answer


def invalidate(whole, *fields, value=PATTERN, **more):
    return ask(whole, b"POST", b"/invalidate", *fields, value=value, **more)


@pytest.fixture
def guarded(make_whole):
    return make_whole(cacheable, ADMIN_TOKEN=TOKEN)


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("environment", [{}, {"ADMIN_TOKEN": TOKEN}])
def test_strangers_get_nothing(make_whole, method, target, environment):
    whole = make_whole(cacheable, **environment)
    whole.get("/x")
    answer = ask(whole, method, target, JSON, value=PATTERN)
    assert answer.status == (401 if environment else 403)
    assert b"cache:GET" not in answer.body
    assert whole.get("/x").cache == "HOT_HIT"


@pytest.mark.parametrize(
    "fields",
    [
        [b"Authorization: Bearer " + TOKEN[:-1].encode()],
        [b"Authorization: Bearer " + TOKEN.upper().encode()],
        [b"Authorization: Bearer"],
        [b"Authorization: Basic " + TOKEN.encode()],
        [BEARER, BEARER],
        [b"Cookie: token=" + TOKEN.encode()],
        [b"X-Admin-Token: " + TOKEN.encode()],
        [b"Authorization: Bearer \xff"],
    ],
)
def test_only_the_token_in_its_place_opens(guarded, fields):
    assert invalidate(guarded, JSON, *fields).status == 401
    assert invalidate(guarded, JSON, BEARER).status == 200


def test_a_token_in_the_query_is_none(guarded):
    assert ask(guarded, b"GET", b"/keys?token=" + TOKEN.encode()).status == 401


def test_guessing_is_slowed_down_by_address(guarded):
    guess = b"Authorization: Bearer guess"
    statuses = [invalidate(guarded, JSON, guess, host="203.0.113.9").status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert invalidate(guarded, JSON, BEARER, host="203.0.113.9").status == 429, "right or wrong: it tells nothing"
    assert invalidate(guarded, JSON, BEARER, host="203.0.113.10").status == 200
    guarded.pass_time(61)
    assert invalidate(guarded, JSON, BEARER, host="203.0.113.9").status == 200


def test_a_spoofed_address_is_no_new_guesser(guarded):
    for number in range(10):
        invalidate(guarded, JSON, b"Authorization: Bearer guess", b"X-Forwarded-For: 10.0.0.%d" % number)
    assert invalidate(guarded, JSON, BEARER).status == 429


@pytest.mark.parametrize("environment", [{"ADMIN_TOKEN": TOKEN}, {"ADMIN_AUTH": "none"}], ids=["token", "open"])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([b"Content-Type: text/plain"], PATTERN),
        ([b"Content-Type: application/x-www-form-urlencoded"], b'{"pattern":"*","x":"=' + b'"}'),
        ([b"Content-Type: multipart/form-data; boundary=x"], PATTERN),
        ([], PATTERN),
        ([JSON, b"Sec-Fetch-Site: cross-site"], PATTERN),
        ([JSON, b"Sec-Fetch-Site: same-site", b"Origin: https://evil.test"], PATTERN),
    ],
)
def test_a_page_elsewhere_cannot_use_them(make_whole, environment, fields, body):
    """Forms cannot say JSON; scripts would need a preflight, and that is never granted."""
    whole = make_whole(cacheable, **environment)
    whole.get("/x")
    answer = invalidate(whole, BEARER, *fields, value=body)
    assert answer.status in (403, 415)
    assert not [name for name, _ in answer.fields if name.startswith(b"access-control")]
    assert whole.get("/x").cache == "HOT_HIT"


def test_a_preflight_is_not_granted(guarded):
    asked = (b"Origin: https://evil.test", b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: x")
    answer = ask(guarded, b"OPTIONS", b"/invalidate", *asked)
    assert answer.status == 405
    assert not [name for name, _ in answer.fields if name.startswith(b"access-control")]


@pytest.mark.parametrize(
    ("method", "target"), [*GUARDED, (b"GET", b"/metrics"), (b"GET", b"/health"), (b"GET", b"/ready")]
)
def test_with_a_port_of_their_own_they_are_the_backends_on_the_other(make_whole, method, target):
    whole = make_whole(lambda message: ok(b"backend"), ADMIN_PORT="0", ADMIN_TOKEN=TOKEN)
    answer = ask(whole, method, target, BEARER, JSON, value=PATTERN)
    assert answer.body == b"backend"
    assert whole.backend.targets == [target]


def test_the_admin_port_proxies_nothing(make_whole):
    whole = make_whole(lambda message: ok(b"backend"), ADMIN_PORT="0", ADMIN_TOKEN=TOKEN)
    for target in (b"/", b"/x", b"//invalidate", b"/invalidate/", b"/Invalidate", b"http://backend.test:8080/x"):
        assert ask(whole, b"GET", target, admin=True).status == 404
    assert invalidate(whole, JSON, BEARER, admin=True).status == 200
    assert whole.backend.requests == []


@pytest.mark.parametrize(
    "target",
    [b"/invalidate/", b"//invalidate", b"/%69nvalidate", b"/INVALIDATE", b"/invalidate;x", b"/x/../invalidate"],
)
def test_what_only_looks_like_an_endpoint_is_the_backends(make_whole, target):
    """One exact spelling each: a filter in front that guards ``/invalidate`` guards all of it."""
    whole = make_whole(lambda message: ok(b"backend"), ADMIN_AUTH="none")
    assert ask(whole, b"POST", target, JSON, value=PATTERN).body == b"backend"


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 2000 + "b",
        "[a-z]*" * 600 + "!",
        "*" * 4096,
        "?*" * 2000 + "!",
        "[" * 4096,
        "\\" * 4095,
        "*[^a]" * 800 + "b",
    ],
)
def test_no_pattern_costs_more_than_a_glance(guarded, pattern):
    long = b"/" + b"a" * 8000
    for number in range(5):
        guarded.get(long + b"%d" % number)
    began = time.process_time()
    assert invalidate(guarded, JSON, BEARER, value={"pattern": pattern}).status == 200
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern", ["*" * 4097, "ä" * 3000])
def test_patterns_are_bounded_in_length(guarded, pattern):
    assert invalidate(guarded, JSON, BEARER, value={"pattern": pattern}).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"pattern":' * 20_000,
        b'{"pattern": "' + b"x" * 100_000,
        b"\xff\xfe",
        b'{"pattern":"\\ud800"}',
        b"1e999",
        b"",
    ],
    ids=["deep", "deep-objects", "long", "no-utf8", "surrogate", "number", "empty"],
)
def test_odd_bodies_are_400_or_413(guarded, body):
    assert invalidate(guarded, JSON, BEARER, value=body).status in (400, 413)
    assert guarded.get("/x").status == 200


def test_captured_text_is_no_pattern(make_whole, tmp_path):
    """A POST whose path holds glob characters invalidates what it names, not everything."""
    rules = tmp_path / "rules.json"
    rules.write_text(
        json.dumps([{"post_path_regex": "^/items/(.+)$", "invalidate_patterns": ["cache:GET:*:/items/$1"]}])
    )
    whole = make_whole(cacheable, INVALIDATION_CONFIG=str(rules))
    for target in ("/items/1", "/items/2", "/items/*"):
        whole.get(target)
    ask(whole, b"POST", b"/items/*")
    assert [whole.get(target).cache for target in ("/items/1", "/items/2", "/items/*")] == [
        "HOT_HIT",
        "HOT_HIT",
        "MISS",
    ]
