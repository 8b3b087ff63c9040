"""What a request is to the cache, before anything is looked up: a request on its way through it, or why it is none.

Pure: the pipeline acts on it, and whoever explains a request asks the same.
"""

from __future__ import annotations

from caching_proxy.cache.requests import CacheRequest, ClientRequest, shared
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import Identity
from caching_proxy.rules.outcome import Bypass, Detour
from caching_proxy.rules.request_traits import RequestTraits
from caching_proxy.rules.terms import Terms
from caching_proxy.rules.terms_by_target import TermsByTarget

Way = Bypass | Detour
"""Why the cache is passed by."""

CACHEABLE_METHODS = frozenset({b"GET", b"HEAD"})


def resolve(
    client_request: ClientRequest, identity: Identity, traits: RequestTraits, terms: TermsByTarget
) -> CacheRequest | Way:
    """The request with its key, or why the cache is passed by.

    Without a role nobody knows who may share the answer; a body makes a GET more than its key (RFC 9110 §9.3.1).
    """
    head = client_request.head
    if head.method not in CACHEABLE_METHODS:
        return Detour.METHOD
    if traits.bypass is not None:
        return traits.bypass
    if identity.role is None:
        return Detour.NO_ROLE
    if client_request.body.length != 0:
        return Detour.BODY
    held = terms(head.target)
    closed = held.closed(head.target)
    if closed is not None:
        return closed
    seen, key = placed(head, identity, held)
    return CacheRequest(client_request, seen, key, traits, held)


def placed(head: RequestHead, identity: Identity, terms: Terms) -> tuple[Identity, bytes]:
    """Whose eyes the request with this ``head`` has under ``terms``, and the key of what they see."""
    seen = shared(identity, terms.share, head)
    return seen, terms.key(seen.role or b"", head.target, head.fields.first(b"host") or b"")
