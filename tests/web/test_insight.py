"""Statistics, events and the description of the endpoints, of the whole proxy in memory."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from support.admin_site import OPENAPI
from support.whole_proxy import WholeProxy, ok

from caching_proxy.http.body import HIGH_WATER
from caching_proxy.rules.bus_message import Invalidation

BEARER = b"Authorization: Bearer s3cret"


def says(message):
    if message.target.startswith(b"/private"):
        return ok(b"p", b"Cache-Control: private")
    return ok(b"x", b"Cache-Control: max-age=60")


@pytest.fixture
def whole():
    proxy = WholeProxy(says, ADMIN_TOKEN="s3cret")
    yield proxy
    proxy.proxy.streams.close()
    proxy.stop()


def check(name, value):
    Draft202012Validator({**OPENAPI, "$ref": f"#/components/schemas/{name}"}).validate(value)


def stats(whole):
    answer = whole.get("/_cache/stats", BEARER)
    assert answer.status == 200
    check("Stats", answer.json())
    return answer.json()


def events(client, whole):
    text = client.take().decode()
    blocks = [block.split("\ndata: ") for block in text.replace("\r\n", "").split("event: ") if "\ndata: " in block]
    return [(name, json.loads(data.partition("\n")[0])) for name, data in blocks]


def test_statistics_say_what_happened(whole):
    assert stats(whole)["requests"]["hitRatio"] is None
    for target in ("/a", "/a", "/a", "/private"):
        whole.get(target)
    whole.get("/a", method=b"PUT")
    found = stats(whole)
    assert found["requests"]["byStatus"] == {"MISS": 2, "HOT_HIT": 2, "N/A": 1}
    assert (found["requests"]["total"], found["requests"]["hitRatio"]) == (5, 0.5)
    assert found["tiers"]["hot"]["hits"] == 2
    assert found["savedBackendSeconds"]["answersFromCache"] == 2
    assert found["topPaths"][0] == {"path": "/a", "requests": 4, "hitRatio": 0.5}
    assert found["store"] == {"kind": "embedded", "breaker": "closed", "breakerTrips": 0, "pool": None}
    assert found["memory"]["residentBytes"] > 1 << 20


def test_looking_does_not_count(whole):
    whole.get("/a")
    before = stats(whole)
    for _ in range(3):
        after = stats(whole)
    assert before["requests"]["byStatus"] == after["requests"]["byStatus"]
    assert before["tiers"] == after["tiers"]


@pytest.mark.parametrize("target", ["/_cache/stats", "/_cache/events"])
def test_guarded(whole, target):
    assert whole.get(target).status == 401
    assert whole.get(target, BEARER, b"Sec-Fetch-Site: cross-site").status == 403


def test_without_a_token_the_answer_says_how_to_enable_them():
    closed = WholeProxy()
    answer = closed.get("/_cache/stats")
    closed.stop()
    assert (answer.status, "ADMIN_TOKEN" in answer.json()["error"]) == (403, True)


def test_the_description_is_for_everybody(whole):
    answer = whole.get("/_cache/openapi.json")
    assert (answer.status, answer.json()) == (200, OPENAPI)
    moved = whole.get("/_cache")
    assert (moved.status, moved.get("location")) == (308, b"/_cache/")


def test_events_come_as_things_happen(whole):
    watcher = whole.client("192.0.2.9")
    watcher.send(b"GET /_cache/events HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n\r\n")
    whole.get("/private?token=abc&x=1")
    whole.get("/a", b"Cookie: sid=1")
    whole.get("/a")
    whole.get("/a", method=b"DELETE")
    asked = b'{"pattern": "cache:GET:*"}'
    head = b"POST /invalidate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n\r\n"
    whole.ask(head % (len(asked), BEARER) + asked)
    found = events(watcher, whole)
    uncached = [data for name, data in found if name == "uncached"]
    for data in uncached:
        check("UncachedEvent", data)
    assert [(data["path"], data["cacheStatus"], data["reason"]["rule"]) for data in uncached] == [
        ("/private?token=***&x=1", "MISS", "B9"),
        ("/a", "BYPASS", "Z3"),
    ]
    invalidated = [data for name, data in found if name == "invalidation"]
    for data in invalidated:
        check("InvalidationEvent", data)
    assert [(data["what"], data["who"], data["count"]) for data in invalidated] == [
        ("/a", "DELETE /a from 192.0.2.1", 1),
        ("cache:GET:*", "admin at 192.0.2.1", 0),
    ]
    whole.pass_time(2)
    later = events(watcher, whole)
    assert [name for name, _ in later] == ["stats", "stats"]
    check("Stats", later[0][1])
    whole.proxy.streams.close()
    assert watcher.take().endswith(b"0\r\n\r\n")


def test_a_304_to_the_clients_own_conditions_is_explained():
    whole = WholeProxy(lambda message: ok(status=b"304 Not Modified"), ADMIN_TOKEN="s3cret")
    assert whole.get("/a", b'If-None-Match: "a"').status == 304
    [told] = whole.proxy.streams._happenings.recent()
    assert (told.data["status"], told.data["reason"]["rule"]) == (304, "V13")
    whole.stop()


def test_an_answer_that_turns_out_too_long_is_explained():
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"400\r\n" + bytes(1024) + b"\r\n"
    whole = WholeProxy(lambda message: head + piece, MAX_CACHEABLE_BYTES="2KiB")
    client = whole.client()
    client.send(b"GET /a?token=x HTTP/1.1\r\nHost: x\r\n\r\n")
    [backend] = whole.backend.ends
    for _ in range(3):
        assert whole.proxy.streams._happenings.recent() == []
        backend.transport.write(piece)
        whole.pump()
        if whole.proxy.streams._happenings.recent():
            break
    [told] = whole.proxy.streams._happenings.recent()
    assert (told.data["path"], told.data["cacheStatus"]) == ("/a?token=***", "MISS")
    assert "MAX_CACHEABLE_BYTES" in told.data["reason"]["text"]
    backend.transport.write(b"0\r\n\r\n")
    whole.pump()
    assert len(whole.proxy.streams._happenings.recent()) == 1
    whole.stop()


@pytest.mark.slow
def test_a_watcher_that_reads_nothing_costs_no_memory(whole):
    watcher = whole.client()
    watcher.end.send(b"GET /_cache/events HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n\r\n")
    watcher.wire.client.reading = False
    whole.pump()
    for second in range(50):
        for n in range(30):
            whole.get(f"/private/{second}/{n}")
        whole.pass_time(1)
    assert watcher.wire.server.peak < HIGH_WATER + 20_000
    watcher.wire.client.reading = True
    assert b" events were dropped" in watcher.take()


def why(whole, asked, *fields, method=b"POST"):
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    head = b"%b /_cache/why HTTP/1.1\r\nHost: proxy.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    lines = b"".join(line + b"\r\n" for line in (BEARER, *fields))
    [answer] = whole.ask(head % (method, len(body)) + lines + b"\r\n" + body)
    if answer.status == 200:
        check("Why", answer.json())
    return answer


def verdict(whole, url, headers=None, method="GET"):
    answer = why(whole, {"method": method, "url": url, "headers": headers or {}})
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.mark.slow
def test_why_says_what_then_happens(whole):
    headers = {"Accept-Language": "de", "Authorization": "Basic eDp5", "Cookie": "sid=1"}
    for url in ("/a", "/a", "/private", "/a/", "/a?x=1", "/a", "http://proxy.test/a", "/../x"):
        for chosen in ((), ("Accept-Language",), ("Cookie",), ("Authorization",)):
            for method in ("GET", "HEAD", "PUT"):
                given = {name: headers[name] for name in chosen}
                told = verdict(whole, url, given, method)
                lines = [f"{name}: {value}".encode() for name, value in given.items()]
                assert whole.get(url, *lines, method=method.encode()).cache == told["verdict"], (url, chosen, method)


def test_an_explanation_in_full(whole):
    whole.get("/a")
    whole.clock.advance(10)
    told = verdict(whole, "/a")
    assert told["identity"] == {"role": "anonymous", "how": "no Authorization field"}
    assert (told["key"], told["verdict"], told["advice"]) == ("cache:GET:anonymous:/a", "HOT_HIT", [])
    assert told["reasons"][0]["rule"] == "F1"
    assert told["freshness"] == {
        "age": 10,
        "lifetime": 60,
        "expiresIn": 50,
        "staleWhileRevalidate": 0,
        "staleIfError": 0,
        "goneIn": 650,
        "flags": [],
    }
    held = {
        "variants": 1,
        "variant": {"status": 200, "selecting": {}, "expiresIn": 50, "size": told["tiers"]["hot"]["variant"]["size"]},
    }
    assert told["tiers"] == {"hot": held, "burst": None, "store": held}


def test_why_of_what_is_our_own(whole):
    for url in ("/health", "/_cache/x", "/%5fcache/"):
        assert (verdict(whole, url)["verdict"], whole.get(url).cache) == ("N/A", None)


def test_why_of_another_host():
    whole = WholeProxy(says, ADMIN_TOKEN="s3cret", ALLOWED_HOSTS="proxy.test")
    assert verdict(whole, "http://other.test/a")["verdict"] == whole.get("/a", b"Host: other.test").cache == "ERROR"
    whole.stop()


@pytest.mark.parametrize(
    "asked",
    [
        b"[]",
        b"{",
        {},
        {"url": ""},
        {"url": 1},
        {"url": "/", "header": {"Cookie": "a=b"}},
        {"url": "/a b"},
        {"url": "/a\r\nX: y"},
        {"url": "x"},
        {"url": "/", "method": "G T"},
        {"url": "/", "method": "CONNECT"},
        {"url": "/", "method": ""},
        {"url": "/", "headers": []},
        {"url": "/", "headers": {"X": 1}},
        {"url": "/", "headers": {"X": "a\nb"}},
        {"url": "/", "headers": {"X\r\nY": "a"}},
        {"url": "/", "headers": {"X Y": "a"}},
        {"url": "/", "headers": {"": "a"}},
        {"url": "/", "headers": {"X": "\ud800"}},
        {"url": "/", "headers": {"Content-Length": ["1", "2"]}},
        {"url": "/ä"},
        {"url": "/\ud800"},
        {"url": "/", "headers": {"X": ["a"] * 5000}},
    ],
)
def test_why_refuses_what_is_no_request(whole, asked):
    answer = why(whole, asked)
    assert answer.status in (400, 413)
    assert set(answer.json()) == {"error"}


def test_why_needs_the_token_and_the_method(whole):
    assert why(whole, {"url": "/"}, method=b"PUT").get("allow") == b"POST"
    assert whole.get("/_cache/why", method=b"POST").status == 401


def test_what_another_proxy_invalidated_is_told(whole):
    whole.proxy.heard(Invalidation(targets=(b"/t",), keys=(b"cache:GET:a:/k",), patterns=(b"cache:*",), tags=(b"t",)))
    told = [(each.data["what"], each.data["who"]) for each in whole.proxy.streams._happenings.recent()]
    assert told == [(what, "another proxy") for what in ("cache:GET:a:/k", "cache:*", "tag t")]
