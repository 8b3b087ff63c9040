"""Parts of a representation becoming one (RFC 9111 §3.4): in the store, and for a client that wants the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.backend.request import BackendRequest
from caching_proxy.cache.tiers.variants import field_name
from caching_proxy.http.body import BodyTooLarge
from caching_proxy.interfaces import IncompleteBody, UpstreamResponse
from caching_proxy.rules.conditional import is_strong
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.ranges import combine
from caching_proxy.rules.storability import judge


def joined(made: CacheEntry, known: Iterable[CacheEntry], limit: int) -> CacheEntry:
    """``made`` with the part that is stored in its place, where they fit; never more than ``limit`` bytes."""
    if made.part is None:
        return made
    name = field_name(made)
    for stored in known:
        if stored.missing is None and field_name(stored) == name:
            whole = combine(stored, made)
            if whole is not None and len(whole.body) <= limit:
                return whole
    return made


class Completion:
    """Makes a whole of a stored prefix and the backend's 206."""

    def __init__(self, max_body: int, clock: IReactorTime) -> None:
        self._max_body = max_body
        self._now: Callable[[], float] = clock.seconds

    async def completed(self, backend_request: BackendRequest, response: UpstreamResponse) -> CacheEntry | None:
        """The whole as it may be stored, or None if ``response`` is not the rest; then its body is of no use."""
        part = backend_request.lookup.part
        rest = None if part is None else self._rest(backend_request, part, response)
        if part is None or rest is None:
            return None
        try:
            body = await response.body.collect(self._max_body)
        except (BodyTooLarge, IncompleteBody):
            return None
        whole = combine(part, rest.with_body(body))
        return whole if whole is not None and whole.part is None else None

    def _rest(self, backend_request: BackendRequest, part: CacheEntry, response: UpstreamResponse) -> CacheEntry | None:
        """The entry of a 206 that continues ``part`` and has its strong tag, still without a body."""
        cache_request, now = backend_request.cache_request, self._now()
        policy = cache_request.terms.policy
        tag = response.head.fields.first(b"etag")
        if response.head.status != 206 or not is_strong(tag) or tag != part.fields.first(b"etag"):
            return None
        verdict = judge(
            backend_request.asked,
            response.head,
            policy=policy,
            established=cache_request.identity.established,
            has_body=False,
            requested_at=backend_request.asked_at,
            received_at=now,
        )
        if verdict.refusal is not None:
            return None
        scope = cache_request.view.scope
        made = make_entry(cache_request.key, backend_request.asked, response.head, b"", verdict, policy, now, scope)
        return made if made.part is not None and made.part[0] <= len(part.body) else None
