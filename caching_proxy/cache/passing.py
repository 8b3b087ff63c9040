"""Requests that the cache does not answer: other methods, and GETs that pass it by.

What changes the backend's state also ends the life of stored copies (RFC 9111 §4.4): the target itself, what the
answer names, and what the invalidation rules say.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.body import Body
from caching_proxy.cache.exchange import Incoming, Reply
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.replies import Replies
from caching_proxy.cache.route import Route
from caching_proxy.core.headers import max_forwards
from caching_proxy.core.invalidation import Rule, resolve
from caching_proxy.core.key import KeyPolicy, target_of
from caching_proxy.core.messages import RequestHead, ResponseHead
from caching_proxy.core.outcome import CacheStatus
from caching_proxy.core.references import origin_of, same_origin_target
from caching_proxy.interfaces import Identity, StoreError, UpstreamError

SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_COUNTED = frozenset((b"OPTIONS", b"TRACE"))


class PassThrough:
    """Forwards and, where the method asks for it, invalidates."""

    _log = Logger()

    def __init__(
        self,
        route: Route,
        invalidator: Invalidator,
        rules: Callable[[], tuple[Rule, ...]],
        keys: KeyPolicy,
        replies: Replies,
        clock: IReactorTime,
    ) -> None:
        self._route = route
        self._invalidator = invalidator
        self._rules = rules
        self._keys = keys
        self._replies = replies
        self._clock = clock

    async def forward(self, incoming: Incoming, identity: Identity) -> Reply:
        """A request whose method the cache does not serve."""
        head = incoming.head
        if head.method in _COUNTED and max_forwards(head.fields) == 0:
            return self._replies.final_recipient(incoming)
        reply = await self._relay(incoming, identity, CacheStatus.NOT_APPLICABLE, cacheable=False)
        if head.method not in SAFE_METHODS and reply.status is CacheStatus.NOT_APPLICABLE:
            self._invalidate(incoming, reply.head)
        return reply

    async def bypass(self, incoming: Incoming, identity: Identity) -> Reply:
        """A GET or HEAD for which the cache is neither read nor written."""
        return await self._relay(incoming, identity, CacheStatus.BYPASS, cacheable=True)

    async def _relay(self, incoming: Incoming, identity: Identity, status: CacheStatus, cacheable: bool) -> Reply:
        try:
            if b"upgrade" in incoming.head.fields and incoming.body.length == 0:
                response = await self._route.upgrade(incoming)
            else:
                body: Body | None = None if incoming.body.length == 0 else incoming.body
                response = await self._route.fetch(incoming, incoming.head, body, cacheable=cacheable)
        except UpstreamError as error:
            return self._replies.failed(identity, error)
        return self._replies.passed(incoming, identity, response, status, self._clock.seconds())

    def _invalidate(self, incoming: Incoming, response: ResponseHead) -> None:
        request = incoming.head
        if not 200 <= response.status < 400:
            return
        host = request.fields.first(b"host") or b""
        for target in {request.target, *self._named(incoming.scheme, host, request, response)}:
            self._behind(self._invalidator.invalidate_target(target_of(target, self._keys, host)))
        if response.status < 300:
            for pattern in resolve(self._rules(), request.method, request.target):
                self._behind(self._invalidator.invalidate(pattern))

    def _named(self, scheme: bytes, host: bytes, request: RequestHead, response: ResponseHead) -> list[bytes]:
        """What Location and Content-Location name, as far as it is this origin, by our name or the backend's."""
        origins = {origin_of(scheme, host), self._route.origin}
        lines = response.fields.all(b"location") + response.fields.all(b"content-location")
        named = [same_origin_target(line, request.target, origins) for line in lines]
        return [target for target in named if target is not None]

    def _behind(self, invalidation: Deferred[int]) -> None:
        invalidation.addErrback(self._postponed)

    def _postponed(self, failure: Failure) -> None:
        failure.trap(StoreError)
        self._log.warn("an invalidation waits for the store: {reason}", reason=failure.getErrorMessage())
