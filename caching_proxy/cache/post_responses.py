"""A POST's answer that stands for its target is kept for later GETs (RFC 9110 §9.3.3).

It must say so itself (Content-Location) and state how long it is fresh. It never answers a POST.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.backend.tee import Fills
from caching_proxy.cache.key_state import KeyState, Lease
from caching_proxy.cache.plan import planned
from caching_proxy.cache.requests import ClientRequest
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.http.body import Body
from caching_proxy.http.hop_by_hop import end_to_end
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import Identity, UpstreamResponse
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.references import describes_target, origin_of
from caching_proxy.rules.request_traits import ORDINARY
from caching_proxy.rules.storability import judge_post
from caching_proxy.rules.terms_by_target import TermsByTarget


@attrs.frozen(slots=True, eq=False)
class KeptPost:
    """``body`` goes to the client in place of the response's own."""

    entry: CacheEntry
    body: bytes | Body


class PostKeeper:
    """Decides about POSTs and stores them. ``origin`` is the backend's, as ``references.origin_of`` writes it."""

    def __init__(
        self,
        max_body: int,
        terms: TermsByTarget,
        origin: bytes,
        key_state: KeyState,
        writer: Writer,
        fills: Fills,
        clock: IReactorTime,
    ) -> None:
        self._max_body = max_body
        self._fills = fills
        self._terms = terms
        self._origin = origin
        self._key_state = key_state
        self._writer = writer
        self._now: Callable[[], float] = clock.seconds

    def may_keep(self, client_request: ClientRequest, identity: Identity, response: UpstreamResponse) -> bool:
        """Whether :meth:`keep` is worth asking: most POSTs say nothing of the sort."""
        return (
            response.head.ordinary is None
            and client_request.head.method == b"POST"
            and identity.role is not None
            and b"content-location" in response.head.fields.index
        )

    def keep(
        self,
        client_request: ClientRequest,
        identity: Identity,
        response: UpstreamResponse,
        asked_at: float,
        invalidated: Deferred[bool],
    ) -> KeptPost | None:
        """Collect the body for the cache, or None if it is not for storing.

        ``invalidated`` fires when the store has forgotten what the POST changed, with False if it could not.
        """
        made = self._made(client_request, identity, response, asked_at)
        if made is None:
            return None
        lease = self._key_state.open(made.key)

        def done(body: bytes | Refusal) -> None:
            if isinstance(body, Refusal):
                lease.close()
                return
            invalidated.addCallback(self._store, made.with_body(body), lease)

        if not response.body.complete:
            begun = self._fills.begin(response.body, done)
            if begun is None:
                lease.close()
                return None
            return KeptPost(made, begun[1])
        body = response.body.take()
        done(body if len(body) <= self._max_body else Refusal.TOO_LARGE)
        return KeptPost(made, body)

    def _made(
        self, client_request: ClientRequest, identity: Identity, response: UpstreamResponse, asked_at: float
    ) -> CacheEntry | None:
        head = client_request.head
        if identity.role is None or not self.may_keep(client_request, identity, response):
            return None
        terms = self._terms(head.target)
        if terms.closed(head.target) is not None:
            return None
        plan = planned(client_request, identity, ORDINARY, terms)
        request = RequestHead(head.method, head.target, end_to_end(head.fields), head.minor)
        host, now = request.fields.first(b"host") or b"", self._now()
        verdict = judge_post(
            request,
            response.head,
            policy=terms.policy,
            established=plan.identity.established,
            describes_target=self._describes(request, response, client_request.scheme, host),
            requested_at=asked_at,
            received_at=now,
        )
        if verdict.refusal is not None or (response.length is not None and response.length > self._max_body):
            return None
        return make_entry(plan.key, request, response.head, b"", verdict, terms.policy, now, plan.view.scope)

    def _describes(self, request: RequestHead, response: UpstreamResponse, scheme: bytes, host: bytes) -> bool:
        return describes_target(request, response.head, {origin_of(scheme, host), self._origin})

    def _store(self, invalidated: bool, entry: CacheEntry, lease: Lease) -> bool:
        if invalidated:
            self._writer.keep([entry], lease)
        else:  # what the POST changed is still in the store: nothing may be put beside it
            lease.close()
        return invalidated
