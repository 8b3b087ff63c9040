"""The admin endpoints with requests in memory, and what openapi.json says of their answers."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.listing import Page
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.web.admin.endpoints import AdminServices, ReadyReport, admin_children
from caching_proxy.web.admin.services import Insight
from caching_proxy.web.admin.streams import Seen, Streams

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
    scheme = b"http"

    def __init__(self, method, target, fields=(), body=b"", peer=b"192.0.2.1", patience=10**6):
        self.head = RequestHead(method, target, Fields(fields))
        self.body = body if isinstance(body, Body) else Body.of(body)
        self.client_ip = peer
        self.status, self.fields, self.written, self.finished = None, {}, b"", 0
        self.continued = 0
        self.longest, self.patience, self.producer = 0, patience, None
        self._finishing = Deferred()

    def setResponseCode(self, code, message=None):
        self.status = code

    def setHeader(self, name, value):
        self.fields[name.lower()] = value

    def write(self, data):
        self.written += data
        self.longest = max(self.longest, len(data))

    def registerProducer(self, producer, streaming):
        """A client that takes everything at once, up to so many pieces as it has ``patience``."""
        assert not streaming
        self.producer = producer
        while self.producer is not None and self.patience:
            self.patience -= 1
            producer.resumeProducing()

    def unregisterProducer(self):
        self.producer = None

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


class Cache:
    """Stands for the rest of the program."""

    def __init__(self):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.calls = []
        self.answer = succeed(3)
        self.report = succeed(ReadyReport())
        self.listed, self.cursor = [], None
        self.held = []
        self.metrics = Metrics()
        self.happenings = Happenings(self.clock.seconds)
        self.insight = Insight(self.look, Streams(self.clock, self.look, self.happenings), self.happenings, self.why)

    def look(self, since, lines):
        return succeed(Seen({}))

    async def why(self, question, client_ip):
        raise AssertionError("nothing is asked here")

    def invalidate(self, pattern, soft):
        self.calls.append((pattern, "soft") if soft else pattern)
        return self.answer

    def invalidate_tags(self, tags, soft):
        self.calls.append((tags, "soft") if soft else tags)
        return self.answer

    def tagged(self, tags):
        self.calls.append(("tagged", tags))
        return succeed({b"cache:GET:anonymous:/%d" % number for number in range(150)})

    def keys(self, match, limit, cursor):
        self.calls.append((match, limit, cursor))
        if isinstance(self.listed, Deferred):
            return self.listed
        return succeed(Page(sorted(self.listed), self.cursor))

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
            invalidate_tags=self.invalidate_tags,
            tagged=self.tagged,
            keys=self.keys,
            entries=self.entries,
            clock=self.clock,
            **{"insight": self.insight, **more},
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
