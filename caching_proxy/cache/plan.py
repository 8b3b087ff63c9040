"""The resolver: from a request's head to what it is to the cache, or why it is nothing to it.

Pure: the pipeline acts on it, whoever explains a request and whoever keeps a POST's answer ask the same. The hot path
keeps what it is made of with the lines of heads (``web/hot_reading.py``), and hands on the plan of a head that it
declines, or why such a head passes the cache by; property tests hold that against this one.
"""

from __future__ import annotations

from caching_proxy.cache.requests import ClientRequest, Plan, shared
from caching_proxy.interfaces import Identity
from caching_proxy.rules.outcome import Bypass, Detour
from caching_proxy.rules.request_traits import RequestTraits
from caching_proxy.rules.scope import view_of
from caching_proxy.rules.terms import Terms
from caching_proxy.rules.terms_by_target import TermsByTarget

Way = Bypass | Detour
"""Why the cache is passed by."""

CACHEABLE_METHODS = frozenset({b"GET", b"HEAD"})


def resolve(
    client_request: ClientRequest, identity: Identity, traits: RequestTraits, terms: TermsByTarget
) -> Plan | Way:
    """The plan, or why the cache is passed by.

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
    return planned(client_request, identity, traits, held)


def planned(client_request: ClientRequest, identity: Identity, traits: RequestTraits, terms: Terms) -> Plan:
    """The plan of a request that has one, or whose answer is kept for those that have."""
    head = client_request.head
    seen = shared(identity, terms.share, head)
    key = terms.key(seen.role or b"", head.target, head.fields.first(b"host") or b"")
    return Plan(traits, seen, terms, key, view_of(client_request.scope, not seen.established))
