"""The admin endpoints through in-memory requests."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from caching_proxy.body import Body
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.messages import Fields, RequestHead
from caching_proxy.interfaces import StoreUnavailable
from caching_proxy.metrics import Metrics
from caching_proxy.web.admin import AdminServices, ReadyReport, admin_children
from caching_proxy.web.replies import not_found

NOW = 1_700_000_000.5
TOKEN = b"correct horse"
BEARER = (b"Authorization", b"Bearer " + TOKEN)
JSON = (b"Content-Type", b"application/json")
GUARDED = [(b"POST", b"/invalidate"), (b"GET", b"/keys"), (b"POST", b"/key")]


OPENAPI = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())


def check_described(request):
    """Fail unless openapi.json describes this answer."""
    path = request.head.target.partition(b"?")[0].decode()
    method = {b"GET": "get", b"HEAD": "get", b"POST": "post"}.get(request.head.method)
    operation = OPENAPI["paths"].get(path, {}).get(method)
    if operation is None:
        assert request.status in (404, 405)
        return
    response = operation["responses"][str(request.status)]
    if "$ref" in response:
        response = OPENAPI["components"]["responses"][response["$ref"].rpartition("/")[2]]
    assert {name.lower().encode() for name in response.get("headers", {})} <= set(request.fields)
    media_type = request.fields[b"content-type"].partition(b";")[0].decode()
    schema = response["content"][media_type]["schema"]
    if media_type == "application/json" and request.head.method != b"HEAD":
        Draft202012Validator({**OPENAPI, **schema}).validate(json.loads(request.written))


class Request:
    """What the endpoints use of the real thing."""

    answered = []

    def __init__(self, method, target, fields=(), body=b"", peer=b"192.0.2.1"):
        self.head = RequestHead(method, target, Fields(fields))
        self.body = body if isinstance(body, Body) else Body.of(body)
        self.client_ip = peer
        self.status, self.fields, self.written, self.finished = None, {}, b"", 0
        self.continued = 0
        self._finishing = Deferred()

    def setResponseCode(self, code, message=None):
        self.status = code

    def setHeader(self, name, value):
        self.fields[name.lower()] = value

    def write(self, data):
        self.written += data

    def finish(self):
        self.finished += 1
        Request.answered.append(self)
        self._finishing.callback(None)

    def notifyFinish(self):
        return self._finishing

    def send_continue(self):
        self.continued += 1

    def leave(self):
        self._finishing.errback(Failure(ConnectionDone()))

    @property
    def json(self):
        assert self.fields[b"content-type"] == b"application/json; charset=utf-8"
        return json.loads(self.written)


@pytest.fixture(autouse=True)
def _only_described_answers():
    Request.answered.clear()
    yield
    for request in Request.answered:
        check_described(request)


class Cache:
    """Stands for the rest of the program."""

    def __init__(self):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.calls = []
        self.answer = succeed(3)
        self.report = succeed(ReadyReport())
        self.listed = []
        self.held = []
        self.metrics = Metrics()

    def invalidate(self, pattern):
        self.calls.append(pattern)
        return self.answer

    def keys(self, match, limit):
        self.calls.append((match, limit))
        return self.listed if isinstance(self.listed, Deferred) else succeed(self.listed)

    def entries(self, key):
        self.calls.append(key)
        return self.held if isinstance(self.held, Deferred) else succeed(self.held)

    def services(self, token=TOKEN, open_=False, **more):
        return AdminServices(
            token=token,
            open_=open_,
            ready=lambda: self.report,
            metrics=self.metrics,
            invalidate=self.invalidate,
            keys=self.keys,
            entries=self.entries,
            clock=self.clock,
            **more,
        )


class Site:
    def __init__(self, **services):
        self.cache = Cache()
        self.children = admin_children(self.cache.services(**services))

    def ask(self, method, target, fields=(), body=b"", **more):
        return self.begin(Request(method, target, fields, body, **more))

    def begin(self, request):
        assert self.children[request.head.target.partition(b"?")[0][1:]].render(request) == NOT_DONE_YET
        return request

    def post(self, target, value, *fields):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask(b"POST", target, [BEARER, JSON, *fields], body)


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


def test_health():
    request = Site().ask(b"GET", b"/health")
    assert (request.status, request.json) == (200, {"status": "ok", "timestamp": "2023-11-14T22:13:20.500Z"})
    assert request.fields[b"cache-control"] == b"no-store"
    assert request.fields[b"x-content-type-options"] == b"nosniff"
    assert request.finished == 1


@pytest.mark.parametrize(
    ("report", "status", "text"),
    [
        (ReadyReport(), 200, "ok"),
        (ReadyReport(store="unreachable"), 200, "degraded"),
        (ReadyReport(breaker="open"), 200, "degraded"),
        (ReadyReport(backend="unreachable"), 503, "unavailable"),
        (ReadyReport(draining=True), 503, "draining"),
    ],
    ids=["ok", "no-store", "breaker", "no-backend", "draining"],
)
def test_ready(report, status, text):
    site = Site()
    site.cache.report = succeed(report)
    request = site.ask(b"GET", b"/ready")
    expected = {"status": text, "backend": report.backend, "store": report.store, "breaker": report.breaker}
    assert (request.status, request.json) == (status, expected)


def test_ready_is_bounded_in_time():
    site = Site()
    site.cache.report = Deferred()
    request = site.ask(b"GET", b"/ready")
    site.cache.clock.advance(4.9)
    assert request.status is None
    site.cache.clock.advance(0.1)
    assert (request.status, request.json["status"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        (None, b"text/plain; version=0.0.4; charset=utf-8", b"\n"),
        (b"application/openmetrics-text", b"application/openmetrics-text; version=1.0.0; charset=utf-8", b"# EOF\n"),
    ],
    ids=["text", "openmetrics"],
)
def test_metrics(accept, content_type, end):
    request = Site().ask(b"GET", b"/metrics", [(b"Accept", accept)] if accept else [])
    assert (request.status, request.fields[b"content-type"]) == (200, content_type)
    assert b"\n# TYPE http_request_duration_seconds histogram\n" in request.written
    assert request.written.endswith(end)


@pytest.mark.parametrize("target", [b"/health", b"/ready", b"/metrics", b"/keys"])
def test_head_is_a_get_without_the_body(target):
    request = Site().ask(b"HEAD", target, [BEARER])
    assert (request.status, request.written, request.finished) == (200, b"", 1)
    assert int(request.fields[b"content-length"]) > 0


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        (b"POST", b"/health", b"GET, HEAD"),
        (b"DELETE", b"/ready", b"GET, HEAD"),
        (b"OPTIONS", b"/metrics", b"GET, HEAD"),
        (b"X-FROB", b"/keys", b"GET, HEAD"),
        (b"GET", b"/invalidate", b"POST"),
        (b"HEAD", b"/key", b"POST"),
        (b"OPTIONS", b"/invalidate", b"POST"),
    ],
)
def test_other_methods(method, target, allow):
    request = Site().ask(method, target)
    assert (request.status, request.fields[b"allow"]) == (405, allow)
    assert method == b"HEAD" or "error" in request.json


def test_unknown_paths_are_json_too():
    request = Request(b"GET", b"/nothing")
    assert not_found(request) == NOT_DONE_YET
    assert (request.status, list(request.json)) == (404, ["error"])


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


def test_invalidate():
    site = Site()
    request = site.post(b"/invalidate", {"pattern": "cache:GET:*:/api/é*"})
    assert (request.status, request.json["deletedCount"]) == (200, 3)
    assert isinstance(request.json["message"], str)
    assert site.cache.calls == ["cache:GET:*:/api/é*".encode()]


@pytest.mark.parametrize("target", [b"/invalidate", b"/key"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff",
        b"[" * 60_000,
        b"9" * 60_000,
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"pattern": "", "key": ""}',
        b'{"pattern": 1, "key": 1}',
        b'{"pattern": null, "key": null}',
        b'{"pattern": ["a"], "key": ["a"]}',
        b'{"pattern": "\\ud800", "key": "\\ud800"}',
    ],
    ids=lambda body: repr(body)[:24],
)
def test_bodies_that_are_refused(target, body):
    site = Site()
    request = site.post(target, body)
    assert (request.status, list(request.json)) == (400, ["error"])
    assert site.cache.calls == []


@pytest.mark.parametrize(
    "asked",
    [
        {"pattern": "x" * 4097},
        {"tags": ["a"]},
        {"pattern": "x", "soft": True},
        {"pattern": "x", "soft": "yes"},
        {"pattern": "x", "tags": ["a"]},
    ],
    ids=["long", "tags", "soft", "soft-text", "both"],
)
def test_invalidations_that_are_refused(asked):
    site = Site()
    assert site.post(b"/invalidate", asked).status == 400
    assert site.cache.calls == []


@pytest.mark.parametrize(
    ("asked", "call"),
    [
        ({"tags": ["a", "b"]}, [b"a", b"b"]),
        ({"pattern": "x", "soft": True}, b"x"),
        ({"pattern": "y", "soft": False}, b"y"),
    ],
    ids=["tags", "soft", "hard"],
)
def test_tags_and_soft_where_supported(asked, call):
    calls = []
    take = lambda value: calls.append(value) or succeed(1)  # noqa: E731
    site = Site(invalidate_tags=take, invalidate_softly=take)
    assert site.post(b"/invalidate", asked).json["deletedCount"] in (1, 3)
    assert calls + site.cache.calls == [call]


@pytest.mark.parametrize("tags", [[], "a", [""], [1], None, ["a"] * 1001], ids=lambda tags: repr(tags)[:12])
def test_tags_that_are_refused(tags):
    assert Site(invalidate_tags=lambda tags: succeed(1)).post(b"/invalidate", {"tags": tags}).status == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/json", 200),
        (b"Application/JSON; charset=utf-8", 200),
        (b"text/plain", 415),
        (b"application/x-www-form-urlencoded", 415),
        (b"application/jsonp", 415),
        (None, 415),
    ],
)
def test_posts_must_say_that_they_are_json(content_type, status):
    fields = [BEARER, *([(b"Content-Type", content_type)] if content_type else [])]
    assert Site().ask(b"POST", b"/invalidate", fields, b'{"pattern": "x"}').status == status


def test_large_bodies_are_refused_unread():
    body = Body(65_537)
    assert Site().ask(b"POST", b"/key", [BEARER, JSON], body).status == 413
    assert body.complete is False


def test_large_bodies_without_a_length_are_refused_while_they_arrive():
    body = Body(None)
    request = Site().ask(b"POST", b"/key", [BEARER, JSON], body)
    body.feed(b" " * 65_536)
    assert request.status is None
    body.feed(b" ")
    assert request.status == 413


def test_a_body_that_arrives_later_and_its_100_continue():
    body = Body(16)
    request = Site().ask(b"POST", b"/invalidate", [BEARER, JSON, (b"Expect", b"100-Continue")], body)
    assert (request.status, request.continued) == (None, 1)
    body.feed(b'{"pattern": "x"}')
    body.end()
    assert request.status == 200


def test_a_body_that_breaks_off():
    body = Body(16)
    request = Site().ask(b"POST", b"/invalidate", [BEARER, JSON], body)
    body.fail(Failure(ConnectionDone()))
    assert request.status == 400


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
        (b"", (None, None)),
        (b"?match=cache:GET:*", (b"cache:GET:*", None)),
        (b"?match=%2Fa%20b+c%ff", (b"/a b c\xff", None)),
        (b"?limit=5&match=x", (b"x", 5)),
        (b"?other=1", (None, None)),
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
    ],
    ids=lambda query: query[:16].decode(),
)
def test_keys_with_bad_parameters(query):
    assert Site().ask(b"GET", b"/keys?" + query, [BEARER]).status == 400


def test_a_partial_listing_does_not_count_the_keys():
    site = Site()
    site.cache.listed = list(KEYS)
    site.ask(b"GET", b"/keys?limit=9", [BEARER])
    assert b"\ncache_keys_total 0" in site.ask(b"GET", b"/metrics").written


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


def test_a_key_that_is_absent():
    request = Site().post(b"/key", {"key": "cache:GET:anonymous:/x"})
    assert (request.status, list(request.json)) == (404, ["error"])


@pytest.mark.parametrize(("method", "target"), GUARDED)
def test_a_store_that_fails(method, target):
    site = Site()
    site.cache.answer = fail(StoreUnavailable("breaker open"))
    site.cache.listed = site.cache.held = site.cache.answer
    request = site.ask(method, target, [BEARER, JSON], b'{"pattern": "x", "key": "x"}')
    assert (request.status, list(request.json)) == (503, ["error"])
    assert ("memory was cleared" in request.json["error"]) is (target == b"/invalidate")


def test_a_fault_is_a_500_without_details(monkeypatch):
    failures = []
    monkeypatch.setattr("caching_proxy.web.replies._log.failure", lambda *args: failures.append(args))
    site = Site()
    site.cache.answer = fail(RuntimeError("secret details"))
    request = site.post(b"/invalidate", {"pattern": "x"})
    assert (request.status, request.json) == (500, {"error": "internal error"})
    assert len(failures) == 1


def test_a_client_that_leaves_stops_a_listing_but_not_an_invalidation():
    site = Site()
    site.cache.listed, site.cache.answer = Deferred(), Deferred()
    listing = site.begin(Request(b"GET", b"/keys", [BEARER]))
    removing = site.begin(Request(b"POST", b"/invalidate", [BEARER, JSON], b'{"pattern": "x"}'))
    listing.leave()
    removing.leave()
    assert (site.cache.listed.called, site.cache.answer.called) == (True, False)
    site.cache.answer.callback(1)
    assert listing.finished == removing.finished == 0


def test_every_endpoint_has_a_child():
    assert set(admin_children(Cache().services())) == {b"health", b"ready", b"metrics", b"invalidate", b"keys", b"key"}


def test_the_token_is_in_no_representation():
    assert TOKEN.decode() not in repr(Cache().services())
