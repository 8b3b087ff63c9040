"""The proxy as a resource: a client's request into the pipeline, the pipeline's reply onto the wire.

A client that disconnects cancels what was done for it alone. Bodies stream with back-pressure from the client's
connection to whatever the reply's body comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.rules.error_response import error_response
from caching_proxy.rules.locations import client_origin, for_client, is_marked
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.steering import DEFAULT, Steering
from caching_proxy.server.refusal import CLIENT_LEFT
from caching_proxy.server.request import ProxyRequest
from caching_proxy.web.front import Front, NotAdmitted
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.recorder import Recorder
from caching_proxy.web.tunnel import join

_REFUSALS = {
    NotAdmitted.CLIMBS: (400, b"Bad Request", "The path leads out of what is served here"),
    NotAdmitted.HOST: (421, b"Misdirected Request", "This host is not served here"),
}


class Handler(Protocol):
    """What answers requests: the pipeline, or what stands around it."""

    def handle(self, client_request: ClientRequest) -> CacheResponse | Deferred[CacheResponse]: ...


class ProxyResource(Resource):
    """Hands every request to ``pipeline``. ``new_request_id`` gives printable ASCII that is unlikely to recur."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        pipeline: Handler,
        peers: TrustedPeers,
        hosts: HostPolicy,
        recorder: Recorder,
        new_request_id: Callable[[], bytes],
        steering: Steering = DEFAULT,
        rewrite: bool = True,
    ) -> None:
        Resource.__init__(self)
        self._pipeline = pipeline
        self._recorder = recorder
        self.front = Front(peers, hosts, steering, new_request_id)
        self._rewrite = rewrite

    def render(self, request: ProxyRequest) -> int:
        client_request = self.front.admitted(
            request.head, request.body, request.client_ip, request.scheme, request.write_interim, request.plan
        )
        if not isinstance(client_request, ClientRequest):
            self._refuse(request, *_REFUSALS[client_request])
            return NOT_DONE_YET
        try:
            reply = self._pipeline.handle(client_request)
        except Exception:  # noqa: BLE001 a bug; it is logged and answered
            self.broken(Failure(), request, client_request)
            return NOT_DONE_YET
        self.deliver(reply, request, client_request)
        return NOT_DONE_YET

    def deliver(
        self, reply: CacheResponse | Deferred[CacheResponse], request: ProxyRequest, client_request: ClientRequest
    ) -> None:
        """Answer ``request`` with ``reply``, now or when it is there."""
        if isinstance(reply, Deferred):
            request.on_lost = reply.cancel
            reply.addCallback(self._send, request, client_request).addErrback(self.broken, request, client_request)
        else:
            self._send(reply, request, client_request)

    def _send(self, reply: CacheResponse, request: ProxyRequest, client_request: ClientRequest) -> None:
        if request.disconnected:
            reply.discard()
            self._recorder.refused(CLIENT_LEFT, request)
            return
        if reply.tunnel is not None:
            join(request, reply.head, reply.tunnel)
            self._recorder.record(request, client_request, reply)
            return
        if self._rewrite and is_marked(reply.head.fields):
            reply = _located(reply, request, client_request)
        body = reply.body
        if not isinstance(body, Body):
            head = reply.head if reply.framed else request.dated(reply.head)
            request.respond(head, body, reply.framed)
            self._recorder.record(request, client_request, reply)
            return
        sending = Sending(request, body, lambda: self._recorder.record(request, client_request, reply))
        sending.start(reply)

    def broken(self, failure: Failure, request: ProxyRequest, client_request: ClientRequest) -> None:
        """Answer after a bug, unless the client left: nothing else fails."""
        if failure.check(CancelledError) and request.disconnected:
            self._recorder.refused(CLIENT_LEFT, request)
            return
        self._log.failure("request {id} failed", failure, id=client_request.request_id.decode("latin-1"))
        if request.startedWriting:
            request.abort()
        elif not request.disconnected:
            self._refuse(request, 500, b"Internal Server Error", "Internal error")

    def _refuse(self, request: ProxyRequest, code: int, reason: bytes, text: str) -> None:
        head, body = error_response(code, reason, text, CacheStatus.ERROR)
        request.respond(request.dated(head), body)
        self._recorder.refused(code, request)


def _located(reply: CacheResponse, request: ProxyRequest, client_request: ClientRequest) -> CacheResponse:
    """``reply`` naming the origin by which this client came where the backend named itself."""
    scheme, host = client_origin(
        request.head.fields, client_request.scheme, client_request.trusted
    )  # with Host as it was sent
    head = reply.head
    fields = for_client(head.fields, scheme, host)
    return attrs.evolve(reply, head=ResponseHead(head.status, head.reason, fields, head.minor))


@implementer(IPushProducer)
class Sending:
    """A reply's body on its way to the client: the sink of the body, the producer of the request."""

    def __init__(self, request: ProxyRequest, body: Body, done: Callable[[], None]) -> None:
        self._request = request
        self._body = body
        self._done = done
        self._over = False

    def start(self, reply: CacheResponse) -> None:
        """Send the head, then whatever comes."""
        self._request.on_lost = self._client_left
        self._request.start_response(self._request.dated(reply.head), reply.length)
        self._request.registerProducer(self, True)
        self._body.attach(self)

    def received(self, data: bytes) -> None:
        self._request.write(data)

    def ended(self, trailers: Fields) -> None:
        if not self._over:
            self._over = True
            self._request.unregisterProducer()
            self._request.finish()
            self._done()

    def failed(self, reason: Failure) -> None:
        """The body broke off: so must the client's, or it would take a part for the whole (RFC 9112 §8)."""
        if not self._over:
            self._over = True
            self._request.unregisterProducer()
            self._request.abort()
            self._done()

    def pauseProducing(self) -> None:
        self._body.pause()

    def resumeProducing(self) -> None:
        self._body.resume()

    def stopProducing(self) -> None:
        self._client_left()

    def _client_left(self) -> None:
        if not self._over:
            self._over = True
            self._body.cancel()
            self._done()
