"""Misses as connections bring them: looked for first, then fetched as one object (:mod:`caching_proxy.web.fast_miss`).

What the hot path and a visit do before is done here in their order, on a connection that is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.cache.plan import resolve
from caching_proxy.cache.requests import CacheResponse, ClientRequest, Plan
from caching_proxy.interfaces import UpstreamError
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.request_traits import traits_under
from caching_proxy.rules.steering import Steering
from caching_proxy.server.request_head import HeadParser
from caching_proxy.upstream.response_head import parse_response_head
from caching_proxy.web.fast_miss import FastMiss
from caching_proxy.web.fast_pass import FastPass
from caching_proxy.web.front import Front
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers

if TYPE_CHECKING:
    from simulation.process import Process

    from caching_proxy.cache.tiers.store_reader import Found


class _UnderWay:
    """What ends an exchange; the receiver hears nothing more."""

    def __init__(self, result: Deferred[Any], receiver: Any) -> None:
        self.over = False
        self._result = result
        self._receiver = receiver
        result.addCallbacks(self._responded, self._failed)

    def cancel(self) -> None:
        self.over = True
        self._receiver = None
        self._result.cancel()

    def _responded(self, response: Any) -> None:
        self.over = True
        if self._receiver is not None:
            self._receiver.responded(response)

    def _failed(self, failure: Failure) -> None:
        self.over = True
        if self._receiver is not None:
            failure.trap(UpstreamError)
            self._receiver.failed(failure.value)


@attrs.define
class _Direct:
    """The backend for who wants no Deferred."""

    backend: Any

    def send(self, request: Any, content: bytes, receiver: Any, peer: bytes) -> _UnderWay:
        return _UnderWay(self.backend.fetch(request, None, receiver.interim, peer), receiver)


class _Unheard:
    """In place of a recorder."""

    def missed(self, *_: object) -> None:
        """Nothing is counted."""

    refused = missed


class _Request:
    """In place of a request, where one is made after all."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.on_lost: Any = None


class _Resource:
    """In place of the general way's end."""

    def __init__(self, front: Front) -> None:
        self.front = front

    def deliver(self, reply: CacheResponse, request: _Request, _: ClientRequest) -> None:
        request.on_lost = None
        request.asked.answer.callback(reply)

    def broken(self, failure: Failure, request: _Request, _: ClientRequest) -> None:
        request.asked.answer.errback(failure)


class ShortWay:
    """The way of one process."""

    def __init__(self, process: Process) -> None:
        cache = process.cache
        self.cache = cache
        self.clock = process.clock
        self.number = b""
        front = Front(TrustedPeers(()), HostPolicy(), Steering(), lambda: self.number)
        parts: Any = cache.pipeline.parts
        ends: Any = _Direct(process.backend), _Resource(front), _Unheard(), ()
        self.misses = FastMiss(FastPass(parts, *ends))
        self.heads: HeadParser[Any, Any] = HeadParser()
        self.traits = traits_under(cache.policy)

    def handle(self, client_request: ClientRequest) -> CacheResponse | Deferred[CacheResponse]:
        """As the pipeline does it."""
        head, pipeline = client_request.head, self.cache.pipeline
        identity: Any = pipeline.parts.verifier.identify(head)
        traits = self.traits(head.fields)
        plan = resolve(client_request, identity, traits, pipeline.parts.terms)
        if not isinstance(plan, Plan) or not traits.plain or traits.control.refresh or head.method != b"GET":
            return pipeline.handle(client_request)
        if self.cache.hot.get(plan.key, self.clock.seconds()) is not None:
            return pipeline.handle(client_request)
        asked = Asked(self, client_request, plan)
        asked.start()
        return asked.answer


class Asked:
    """One request: the visit, then the channel of whatever comes of it."""

    peer_host, scheme = b"192.0.2.7", b"http"

    def __init__(self, way: ShortWay, client_request: ClientRequest, plan: Plan) -> None:
        self._way = way
        self._client_request = client_request
        self._plan = plan
        self._look_up: Any = None
        self._request: _Request | None = None
        self._work: Deferred[CacheResponse] | None = None
        self.answer: Deferred[CacheResponse] = Deferred(self._leave)
        self.clock = way.clock
        self.site = self.connections = self
        self.draining = False

    def start(self) -> None:
        cache, plan = self._way.cache, self._plan
        plan.wanted = cache.varying.guess(plan.key, self._client_request.head.fields, plan.view.scope)
        found = cache.reader.read(plan.key, plan.wanted, self._found)
        if found is not None:
            self._found(found)

    def _found(self, found: Found) -> None:
        if self.answer.called:
            return
        way, asked, plan = self._way, self._client_request, self._plan
        if not found.entries and found.trouble is None and found.current:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in asked.head.fields)
            parsed = way.heads.parse(b"GET %b HTTP/1.1\r\n%b\r\n" % (asked.head.target, lines))
            way.number = asked.request_id
            if way.misses(self, parsed, plan, self.clock.seconds()):  # type: ignore[arg-type]
                return
        plan.found = found
        reply = way.cache.pipeline.handle(attrs.evolve(asked, plan=plan))
        if isinstance(reply, Deferred):
            self._work = reply
            reply.addBoth(self._worked)
        else:
            self.answer.callback(reply)

    def _worked(self, result: Any) -> None:
        self._work = None
        if not self.answer.called:
            self.answer.callback(result)
        elif isinstance(result, CacheResponse):
            result.discard()

    def _leave(self, _: object) -> None:
        look_up, self._look_up = self._look_up, None
        if look_up is not None:
            look_up.client_left()
        elif self._request is not None and self._request.on_lost is not None:
            self._request.on_lost()
        elif self._work is not None:
            self._work.cancel()

    # -- a channel -------------------------------------------------------------------------------

    def goes_on(self, look_up: Any) -> None:
        self._look_up = look_up

    def answered(self, data: bytes) -> None:
        self._look_up = None
        start, _, body = data.partition(b"\r\n\r\n")
        head = parse_response_head(start + b"\r\n\r\n")
        self.answer.callback(CacheResponse(head, body, len(body), CacheStatus.MISS, ""))

    def requested(self, *_: object) -> _Request:
        self._look_up = None
        self._request = _Request(self)
        return self._request

    def abort(self) -> None:
        raise AssertionError("an answer could not be handed over")
