"""Changes that pass through and GETs that pass the cache by, answered from the channel as hits are.

Most POSTs are alike: all of the request is here, at once or after a while, nothing in it is for this hop, and the
backend's answer is an ordinary one that comes at once. Such a request is one object between channel and backend,
without a resource, a pipeline or a Deferred, and its lines go on as they came. Whatever is unusual about a request is
declined here; whatever is unusual about its answer goes on as in the general way, with a request made only then.
``tests/web/test_fast_pass_alike.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import partial

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.pass_through import status_of
from caching_proxy.cache.pipeline import Parts
from caching_proxy.cache.plan import Way
from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.hop_by_hop import HOP_BY_HOP, hop_by_hop, is_loop
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.pieces import SHARED_BYTES
from caching_proxy.interfaces import (
    DirectUpstream,
    Identity,
    UnderWay,
    UpstreamError,
    UpstreamResponse,
)
from caching_proxy.rules.climbing import climbs
from caching_proxy.rules.forwarding import FastForwarding, continued
from caching_proxy.rules.outcome import Bypass, Detour
from caching_proxy.rules.own_prefix import under_own_prefix
from caching_proxy.rules.reasons import why_not
from caching_proxy.rules.storability_checks import telling_of
from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.refusal import CLIENT_LEFT
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.request_head import AnyHead
from caching_proxy.web.hot_reading import request_id
from caching_proxy.web.proxy import ProxyResource
from caching_proxy.web.recorder import Recorder

METHODS = frozenset((b"POST", b"PUT", b"PATCH", b"DELETE"))

_METHOD = Detour.METHOD
_SAID = {way: (status_of(way).text, None if way is _METHOD else why_not(way)) for way in (*Bypass, *Detour)}
_SAID_OF_CHANGES = _SAID[_METHOD]

_DECIDING = (b"host", b"via", b"connection", b"authorization", b"x-request-id")
"""What is looked at here: an operator may have it taken away before anybody looks."""


@attrs.define(slots=True, eq=False)
class Manner:
    """What the lines that count decide for all requests that are told by the same.

    ``declined``: the general way has to deal with them. ``host`` is what the client says in Host, as it is passed on,
    ``ports`` has the port beside that where the backend gets to see it, by the scheme. ``via`` is Via, to be continued.
    ``identity`` is that of a request without credentials, None where there are some. ``scheme`` is what a trusted proxy
    says of the client's, None where it says nothing. ``telling`` is what the rules about storing look for in a request
    (:func:`~caching_proxy.rules.storability_checks.telling_of`).
    """

    declined: bool
    host: bytes = b""
    via: bytes = b""
    identity: Identity | None = None
    scheme: bytes | None = None
    ports: Mapping[bytes, bytes] = {}
    telling: frozenset[bytes] = frozenset()


class FastPass:
    """Called by the channel with a head and all of its content; what passes it on, or None to decline.

    ``parts`` are the pipeline's, ``resource`` the general way; ``own`` has the paths that are answered here.
    """

    def __init__(
        self,
        parts: Parts,
        upstream: DirectUpstream,
        resource: ProxyResource,
        recorder: Recorder,
        own: Container[bytes],
    ) -> None:
        front, passing = resource.front, parts.passing
        self.parts = parts
        self.passing = passing
        self.route = route = passing.route
        self.upstream = upstream
        self.resource = resource
        self.recorder = recorder
        self.unseen = {trusted: partial(front.steering.unseen, trusted=trusted) for trusted in (False, True)}
        self.forwarding = {
            trusted: FastForwarding(unseen, route.proxy_name, route.base_path, trusted)
            for trusted, unseen in self.unseen.items()
        }
        self.new_request_id = front.new_request_id
        self.now = parts.clock.seconds
        self._verifier = parts.verifier
        self._proxy_name = parts.policy.proxy_name
        self._hosts = front.hosts
        self.peers = front.peers
        self.trusting = front.peers.any
        self._own = own
        self._never = any(map(front.steering.unseen, _DECIDING))

    def __call__(
        self, parsed: AnyHead, channel: HTTPChannel, content: bytes | Body, early: ProxyRequest | None
    ) -> Passage | None:
        """A change."""
        if parsed.line.method not in METHODS:
            return None
        manner = self._admitted(parsed, channel)
        if manner is None:
            return None
        identity = manner.identity or self._verifier.remembered(_credentials(parsed))
        if identity is None:
            return None
        trusted = self.trusting and self.peers.trusts(channel.peer_host)
        return Passage(self, channel, parsed, content, early, manner, identity, _METHOD, trusted)

    def past(self, parsed: AnyHead, channel: HTTPChannel, identity: Identity, way: Way) -> Passage | None:
        """A GET or HEAD of ``identity``, without content, that passes the cache by."""
        manner = self._admitted(parsed, channel)
        if manner is None:
            return None
        trusted = self.trusting and self.peers.trusts(channel.peer_host)
        return Passage(self, channel, parsed, b"", None, manner, identity, way, trusted)

    def _admitted(self, parsed: AnyHead, channel: HTTPChannel) -> Manner | None:
        """What the lines decide; None to decline."""
        line = parsed.line
        target = line.target
        manner = parsed.meaning.manner or self.manner(parsed)
        if manner.declined or line.authority is not None or channel.site.connections.draining:
            return None
        if not line.minor or target[:1] != b"/" or target.partition(b"?")[0] in self._own:
            return None
        if b"%" in target or b".." in target or b"_cache" in target:
            return None if climbs(target) or under_own_prefix(target) else manner
        return manner

    def manner(self, parsed: AnyHead) -> Manner:
        """What the lines decide, the first time."""
        manner = parsed.meaning.manner = self._manner(parsed)
        return manner

    def _manner(self, parsed: AnyHead) -> Manner:
        fields = parsed.meaning.fields
        credentials = sum(name == b"authorization" for name, _ in parsed.own)
        declined = (
            self._never
            or not parsed.meaning.keep_alive
            or credentials > 1
            or b"expect" in fields
            or b"upgrade" in fields
            or hop_by_hop(fields) is not HOP_BY_HOP
            or not self._hosts.allows(fields)
            or is_loop(fields, self._proxy_name)
        )
        head = RequestHead(parsed.line.method, parsed.line.target, fields)
        identity = None if credentials else self._verifier.identify(head)
        if declined or not (credentials or isinstance(identity, Identity)):
            return Manner(True)
        known = identity if isinstance(identity, Identity) else None
        return Manner(
            False,
            self._hosts.settled(head).fields.first(b"host") or b"",
            continued(fields.joined(b"via")),
            known,
            fields.first(b"x-forwarded-proto"),
            {scheme: self._hosts.port(fields, scheme) for scheme in (b"http", b"https")},
            telling_of(parsed.head.fields),
        )


def _credentials(parsed: AnyHead) -> bytes:
    return next(value for name, value in parsed.own if name == b"authorization")


class Passage:
    """One request on its way to the backend and back; the channel's look-up and the receiver of the answer.

    ``early`` is the request that was made as its ``content`` came late; it is used where one is needed.
    """

    __slots__ = (
        "_asked_at", "_call", "_channel", "_content", "_early", "_fast", "_identity", "_manner", "_parsed", "_peer",
        "_request", "_said", "_trusted", "_waiting", "_way", "client_ip", "received_at", "request_id",
    )  # fmt: skip
    _log = Logger()

    def __init__(
        self,
        fast: FastPass,
        channel: HTTPChannel,
        parsed: AnyHead,
        content: bytes | Body,
        early: ProxyRequest | None,
        manner: Manner,
        identity: Identity,
        way: Way,
        trusted: bool,
    ) -> None:
        self.received_at = channel.clock.seconds() if early is None else early.received_at
        self.client_ip = self._peer = channel.peer_host
        self._trusted = trusted
        self._fast = fast
        self._channel = channel
        self._parsed = parsed
        self._content = content
        self._early = early
        self._manner = manner
        self._identity = identity
        self._way = way
        self._said = _SAID_OF_CHANGES if way is _METHOD else _SAID[way]
        self._call: UnderWay | None = None
        self._waiting: Deferred[None] | None = None  # for other workers
        self._request: ProxyRequest | None = None  # once something is not as usual

    def start(self) -> None:
        """Send it on; the channel hears of what comes of it."""
        try:
            self._send()
        except Exception:  # noqa: BLE001 a bug; it is logged and answered
            self._fast.resource.broken(Failure(), self._made(), self.client_request())

    def _send(self) -> None:
        fast, manner, parsed, forwarded_for = self._fast, self._manner, self._parsed, self.client_ip
        line, content, scheme, told = parsed.line, self._content, self._channel.scheme, None
        host = fast.route.host or manner.host + manner.ports[scheme]
        self._content = b""
        if isinstance(content, Body):
            content = content.take()
        self._asked_at = fast.now()
        if self._trusted:
            scheme, told, forwarded_for = manner.scheme or scheme, request_id(parsed), self._by_way_of()
        self.request_id = told or fast.new_request_id()
        sent = fast.forwarding[self._trusted].request(
            line.method, line.target, parsed.lines, host, manner.via, forwarded_for, scheme, self.request_id
        )
        call = fast.upstream.send(sent, content, self, self._peer)
        self._call = None if call.over else call  # each refers to the other, and it may have failed at once

    def _by_way_of(self) -> bytes:
        """The addresses by which the request came, its peer's the last: what a trusted proxy says of it."""
        values = [line.partition(b":")[2].strip(b" \t") for line in self._parsed.lines_of(b"x-forwarded-for")]
        told, client_ip = b", ".join(values), self.client_ip
        self._peer = self._fast.peers.client_behind(client_ip, told)
        return continued(told) + client_ip if client_ip else told

    # -- what the backend says -------------------------------------------------------------------

    def responded(self, response: UpstreamResponse) -> None:
        """Its answer begins, and most are whole."""
        self._call = None  # each refers to the other
        try:
            if self._request is not None or not response.body.complete or self._channel.site.connections.draining:
                lines = None
            elif self._way is _METHOD:
                asked, host, passing = self._parsed.line, self._manner.host, self._fast.passing
                lines = passing.changed(asked.method, asked.target, host, response.head, self.client_request)
            else:
                lines = self._fast.passing.lines(response.head, self._way)
            if lines is not None and not isinstance(lines, bytes):
                self._waiting = lines
                lines.addCallbacks(self._everywhere, self._given_up, callbackArgs=(response,))
                return
            if lines is None:
                self._answer_generally(response)
                return
            answer = self._answer(response, lines)
        except Exception:  # noqa: BLE001 a bug, which must not end the backend's connection; it is logged and answered
            self._fast.resource.broken(Failure(), self._made(), self.client_request())
            return
        self._hand_over(answer)

    def failed(self, error: UpstreamError) -> None:
        """There is no answer."""
        self._call = None
        self._deliver(self._fast.passing.without_answer(error, self._identity))

    def interim(self, head: ResponseHead) -> None:
        """Something comes before the answer."""
        self._made().write_interim(head)

    def _everywhere(self, _: None, response: UpstreamResponse) -> None:
        """No worker gives out any more what the answer makes untrue."""
        self._waiting = None
        passing = self._fast.passing
        try:
            lines = None if self._channel.site.connections.draining else passing.lines(response.head, _METHOD)
            if lines is None:
                self._deliver(passing.told(self._parsed.line.method, self._identity, response))
                return
            answer = self._answer(response, lines)
        except Exception:  # noqa: BLE001 a bug; it is logged and answered
            self._given_up(Failure())
            return
        self._hand_over(answer)

    def _given_up(self, failure: Failure) -> None:
        if self._waiting is not None or not failure.check(CancelledError):
            self._waiting = None
            self._fast.resource.broken(failure, self._made(), self.client_request())

    def _answer(self, response: UpstreamResponse, lines: bytes) -> HotAnswer:
        """The bytes of an ordinary answer."""
        fast, head, content = self._fast, response.head, response.body.take()
        start = b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, lines)
        line, label, (status, reason) = self._parsed.line, self._identity.label, self._said
        fast.recorder.passed(line, head.status, status, label, self.received_at, self.request_id, reason)
        return start + content if len(content) < SHARED_BYTES else LargeAnswer(start, content)

    def _hand_over(self, answer: HotAnswer) -> None:
        if self._early is not None:
            self._early.settle()
        try:
            self._channel.answered(answer)
        except Exception:  # noqa: BLE001 a bug; what was sent ahead is served from here as well
            self._log.failure("a connection failed")
            self._channel.abort()

    def _answer_generally(self, response: UpstreamResponse) -> None:
        fast = self._fast
        located = fast.route.located(response)
        client_request = self.client_request()
        if self._way is _METHOD:
            reply = fast.passing.forwarded(located, client_request, self._identity, self._asked_at)
        else:
            reply = fast.passing.bypassed(located, client_request, self._identity, self._way)
        fast.resource.deliver(reply, self._made(), client_request)

    def _deliver(self, reply: CacheResponse) -> None:
        self._fast.resource.deliver(reply, self._made(), self.client_request())

    def _made(self) -> ProxyRequest:
        """The request, from now on the channel's."""
        request = self._request
        if request is None:
            request = self._request = self._channel.requested(self._parsed, self.received_at, self._early)
            request.on_lost = self._left
        return request

    def client_request(self) -> ClientRequest:
        """The request as the cache sees it."""
        head, scheme = self._parsed.head, self._channel.scheme
        front = self._fast.resource.front
        return front.passed(head, self.client_ip, scheme, self.request_id, self._trusted, self._peer)

    # -- a client that leaves --------------------------------------------------------------------

    @property
    def head(self) -> RequestHead:
        head: RequestHead = self._parsed.head
        return head

    def client_left(self) -> None:
        """Nobody waits for the answer any more."""
        self._left()

    def _left(self) -> None:
        call, self._call = self._call, None
        waiting, self._waiting = self._waiting, None
        if call is not None:
            call.cancel()
        if waiting is not None:
            waiting.cancel()
        if self._early is not None:
            self._early.settle()
        self._fast.recorder.refused(CLIENT_LEFT, self)
