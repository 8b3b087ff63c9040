"""The supported fakes keep their word."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from caching_proxy.http.body import HIGH_WATER, Body
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.interfaces import IncompleteBody, IUpstream, UpstreamTimeout
from caching_proxy.testing import ByteRecorder, FakeUpstream, MemoryWire, Reply, ScriptedBackend

GET = RequestHead(b"GET", b"/a")


def result(deferred: Deferred[object]) -> object:
    """The result or the exception of a Deferred that has fired."""
    results: list[object] = []
    deferred.addCallbacks(results.append, lambda reason: results.append(reason.value))
    assert results, "it has not fired"
    return results[0]


def test_fake_upstream_answers_and_records() -> None:
    upstream = FakeUpstream(lambda head, body: Reply(201, [(b"X", b"y")], b"<" + body + b">"))
    assert verifyObject(IUpstream, upstream)
    response = result(upstream.fetch(RequestHead(b"PUT", b"/a"), Body.of(b"hi")))
    assert (response.head.status, list(response.head.fields), response.length) == (201, [(b"X", b"y")], 4)
    assert result(response.body.collect(10)) == b"<hi>"
    assert (upstream.targets, upstream.requests[0].body) == ([b"/a"], b"hi")


def test_fake_upstream_waits_for_the_request_body() -> None:
    upstream, body = FakeUpstream(), Body(2)
    fetched = upstream.fetch(RequestHead(b"PUT", b"/a"), body)
    assert upstream.requests == []
    body.feed(b"hi")
    body.end()
    assert result(fetched).head.status == 200
    assert upstream.requests[0].body == b"hi"


def test_fake_upstream_holds_and_releases() -> None:
    upstream = FakeUpstream(lambda head, body: Reply(interim=[ResponseHead(103)]))
    interim: list[ResponseHead] = []
    upstream.hold()
    first, second = upstream.fetch(GET, None, interim.append), upstream.fetch(GET)
    second.cancel()
    assert isinstance(result(second), CancelledError)
    assert upstream.pending == [upstream.requests[0]]
    upstream.release()
    assert [head.status for head in interim] == [103]
    assert result(first).head.status == 200
    assert upstream.requests[1].cancelled


@pytest.mark.parametrize("raises", [True, False])
def test_fake_upstream_fails_on_demand(raises: bool) -> None:
    error = UpstreamTimeout("too late")

    def script(head: RequestHead, body: bytes) -> UpstreamTimeout:
        if raises:
            raise error
        return error

    assert result(FakeUpstream(script).fetch(GET)) is error


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_replies_cut_short(method: bytes) -> None:
    response = Reply(body=b"half", length=8, cut=True).response(method)
    outcome = result(response.body.collect(10))
    assert outcome == b"" if method == b"HEAD" else isinstance(outcome, IncompleteBody)


class Pushing:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_memory_wire_carries_and_pushes_back() -> None:
    client, server, pushing = ByteRecorder(), ByteRecorder(), Pushing()
    wire = MemoryWire(client, server)
    wire.client.registerProducer(pushing, True)
    wire.server.pauseProducing()
    client.send(b"x" * HIGH_WATER)
    wire.pump()
    assert (len(server.data), pushing.calls) == (0, ["pause"])
    wire.server.resumeProducing()
    wire.pump(chunk=1000)
    assert (len(server.data), pushing.calls) == (HIGH_WATER, ["pause", "resume"])


def test_memory_wire_closes_after_what_was_written() -> None:
    client, server = ByteRecorder(), ByteRecorder()
    wire = MemoryWire(client, server)
    client.send(b"bye")
    client.close()
    wire.pump()
    assert bytes(server.data) == b"bye"
    assert client.lost is not None
    assert server.lost is not None
    assert server.lost.check(ConnectionDone)


def test_memory_wire_aborts() -> None:
    client, server = ByteRecorder(), ByteRecorder()
    wire = MemoryWire(client, server)
    client.send(b"never seen")
    wire.client.abortConnection()
    wire.pump()
    assert isinstance(server.lost, Failure)
    assert server.lost.check(ConnectionLost)
    assert server.data == b""


@pytest_twisted.ensureDeferred
async def test_scripted_backend_splits_requests() -> None:
    answered: Deferred[None] = Deferred()

    class Client(ByteRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            if self.data == b"ok" * 4:
                answered.callback(None)

    backend = ScriptedBackend(reactor, lambda request: b"ok")
    client = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", backend.port), Client())
    requests = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    client.send(b"".join(requests))
    await answered
    assert backend.requests == requests
    await backend.stop()
