"""Ordinary resources of twisted.web on our connections."""

from __future__ import annotations

import pytest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from caching_proxy.http.messages import ResponseHead
from caching_proxy.server.site import ProxySite

OK = ResponseHead(200, b"OK")


def get(*fields: bytes, method: bytes = b"GET", target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/%b" % (method, target, version), b"Host: a", *fields, b"", b""])


class Page(Resource):
    def render_GET(self, request):
        request.setHeader(b"X-Tree", b"/".join(request.prepath))
        return b"page"

    def render_POST(self, request):
        request.setResponseCode(201)
        request.setHeader(b"Content-Type", b"text/plain")

        def done(body: bytes) -> None:
            request.write(body.upper())
            request.finish()

        request.body.collect(100).addCallback(done)
        return NOT_DONE_YET


class Broken(Resource):
    isLeaf = True

    def render(self, request):
        if request.args:
            request.write(b"partial")
        raise RuntimeError("a secret")


@pytest.fixture
def tree(wire):
    def build():
        line = wire()
        root = Resource()
        root.putChild(b"page", Page())
        root.putChild(b"broken", Broken())
        line.site = ProxySite(root, line.clock)
        line.connect()
        return line

    return build


DATE = b"Date: Sun, 17 Mar 2030 17:46:40 GMT\r\n"


def test_a_resource_that_returns_bytes(tree):
    line = tree()
    data = line.send(get(target=b"/page?x"))
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"page"
    assert set(head.split(b"\r\n")) == {
        b"HTTP/1.1 200 OK",
        DATE.strip(),
        b"X-Tree: page",
        b"Content-Length: 4",
        b"Content-Type: text/html",
    }
    assert line.send(get(target=b"/page")).endswith(b"page")


def test_a_resource_that_answers_later_is_chunked(tree):
    data = tree().send(get(b"Content-Length: 2", method=b"POST", target=b"/page") + b"hi")
    assert data.startswith(b"HTTP/1.1 201 Created\r\n" + DATE)
    assert data.endswith(b"Transfer-Encoding: chunked\r\n\r\n2\r\nHI\r\n0\r\n\r\n")


def test_a_resource_for_http10_ends_with_the_connection(tree):
    line = tree()
    data = line.send(
        get(b"Content-Length: 2", b"Connection: keep-alive", method=b"POST", target=b"/page", version=b"1.0") + b"hi"
    )
    assert data.endswith(b"Connection: close\r\n\r\nHI")
    assert line.closed


def test_head_of_a_resource(tree):
    line = tree()
    data = line.send(get(method=b"HEAD", target=b"/page"))
    assert b"Content-Length: 4\r\n" in data
    assert data.endswith(b"\r\n\r\n")
    assert line.send(get(target=b"/page")).endswith(b"page")


def test_a_resource_that_raises(tree, monkeypatch):
    logged = []
    monkeypatch.setattr(
        "caching_proxy.server.request.ProxyRequest._log", type("Log", (), {"failure": lambda *a, **k: logged.append(k)})
    )
    line = tree()
    data = line.send(get(target=b"/broken"))
    assert data.startswith(b"HTTP/1.1 500 ")
    assert data.endswith(b'{"error": "internal error"}')
    assert b"secret" not in data
    line.send(get(target=b"/broken?x"))
    assert line.transport.aborted
    assert [entry["failure"].type for entry in logged] == [RuntimeError, RuntimeError]
