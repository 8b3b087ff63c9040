"""The admin endpoints on the real channel: what goes over the wire."""

from __future__ import annotations

import json

import pytest
from support.admin_site import Cache
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from caching_proxy.rules.listing import Page
from caching_proxy.server.site import ProxySite
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.web.admin.endpoints import AdminServices, ReadyReport, admin_children
from caching_proxy.web.admin.json_answers import not_found


class Dispatch(Resource):
    isLeaf = True

    def __init__(self, children):
        Resource.__init__(self)
        self.endpoints = children

    def render(self, request):
        endpoint = self.endpoints.get(request.path[1:])
        return not_found(request) if endpoint is None else endpoint.render(request)


def exchange(data):
    clock = Clock()
    services = AdminServices(
        token=b"t",
        open_=False,
        ready=lambda: succeed(ReadyReport()),
        metrics=Metrics(),
        invalidate=lambda pattern, soft: succeed(len(pattern)),
        invalidate_tags=lambda tags, soft: succeed(len(tags)),
        tagged=lambda tags: succeed(set(tags)),
        keys=lambda match, limit, cursor: succeed(Page([b"cache:GET:admin:/x"])),
        entries=lambda key: succeed([]),
        clock=clock,
        insight=Cache().insight,
    )
    channel = ProxySite(Dispatch(admin_children(services)), clock).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    for piece in data if isinstance(data, list) else [data]:
        channel.dataReceived(piece)
    clock.advance(0)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {line.partition(b": ")[0].lower(): line.partition(b": ")[2] for line in lines}
    assert len(fields) == len(lines)
    return status, fields, body


def test_get():
    status, fields, body = exchange(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status == b"HTTP/1.1 200 OK"
    assert json.loads(body)["status"] == "ok"
    assert int(fields[b"content-length"]) == len(body)
    assert fields[b"content-type"] == b"application/json; charset=utf-8"
    assert fields[b"cache-control"] == b"no-store"


def test_head():
    status, fields, body = exchange(b"HEAD /keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n\r\n")
    assert (status, body) == (b"HTTP/1.1 200 OK", b"")
    assert int(fields[b"content-length"]) > 10


POST = b"POST /invalidate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "data",
    [
        POST + b'Content-Length: 16\r\n\r\n{"pattern": "x"}',
        [POST + b"Content-Length: 16\r\n\r\n", b'{"pattern"', b': "x"}'],
        [POST + b"Transfer-Encoding: chunked\r\n\r\n", b'10\r\n{"pattern": "x"}\r\n', b"0\r\n\r\n"],
    ],
    ids=["at-once", "later", "chunked"],
)
def test_post(data):
    status, _, body = exchange(data)
    assert status == b"HTTP/1.1 200 OK"
    assert json.loads(body)["deletedCount"] == 1


def test_continue_is_sent_when_the_body_is_wanted():
    status, fields, body = exchange(POST + b"Content-Length: 16\r\nExpect: 100-continue\r\n\r\n")
    assert (status, fields, body) == (b"HTTP/1.1 100 Continue", {}, b"")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n", b"404 Not Found"),
        (b"GET /keys HTTP/1.1\r\n", b"401 Unauthorized"),
        (b"DELETE /keys HTTP/1.1\r\n", b"405 Method Not Allowed"),
        (b"X-FROB /health HTTP/1.1\r\n", b"405 Method Not Allowed"),
        (b"OPTIONS /key HTTP/1.0\r\n", b"405 Method Not Allowed"),
    ],
)
def test_refusals_are_json(head, status):
    line, fields, body = exchange(head + b"Host: a\r\n\r\n")
    assert line == b"HTTP/1.1 " + status
    assert fields[b"content-type"] == b"application/json; charset=utf-8"
    assert list(json.loads(body)) == ["error"]


def test_too_large_a_body_is_refused_before_it_arrives():
    status, _, body = exchange(POST + b"Content-Length: 70000\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 413 ")
    assert list(json.loads(body)) == ["error"]
