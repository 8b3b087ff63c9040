"""Clients that only ever ask whether their copy still holds fill the cache too (``FILL_ON_CONDITIONAL``).

Where nothing is stored such a request goes on without its conditions, like any other; what comes back is stored if it
may be, and the conditions are evaluated here. A key that is known to be uncacheable is left alone: its clients would
pay with whole bodies for nothing.
"""

from __future__ import annotations

import attrs

from caching_proxy.cache.requests import CacheRequest, CacheResponse
from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.conditional import as_not_modified
from caching_proxy.rules.request_traits import RANGES
from caching_proxy.rules.reuse import Lookup
from caching_proxy.rules.validation import strip_conditions


def fills(cache_request: CacheRequest, lookup: Lookup) -> bool:
    """Whether ``cache_request`` has conditions, and nothing else, that keep its answer from being stored."""
    head = cache_request.head
    return (
        cache_request.traits.conditional
        and head.method == b"GET"
        and lookup.entry is None
        and RANGES.isdisjoint(head.fields.index)
    )


def ask_for_all(cache_request: CacheRequest) -> RequestHead:
    """Take the conditions out of ``cache_request``; the head with them is returned."""
    head = cache_request.head
    cache_request.head = RequestHead(head.method, head.target, strip_conditions(head.fields), head.minor)
    cache_request.plain = True
    cache_request.unattended = True  # a 304 needs no body, but the cache does
    return head


def as_asked(reply: CacheResponse, head: RequestHead, now: float) -> CacheResponse:
    """``reply``, or the 304 that it comes to under the conditions in ``head``."""
    made = as_not_modified(head, reply.head, now)
    if made is None:
        return reply
    if isinstance(reply.body, Body):
        reply.body.cancel()
    return attrs.evolve(reply, head=made, body=b"", length=0, framed=False)
