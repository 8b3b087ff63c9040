"""What goes into the pipeline and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from caching_proxy.cache.flights import Flight
from caching_proxy.cache.key_state import KeyState, Lease
from caching_proxy.cache.tiers.store_reader import Found
from caching_proxy.http.body import Body
from caching_proxy.http.hop_by_hop import end_to_end
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.pieces import Content
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.http.values import transient
from caching_proxy.interfaces import Identity, Switched
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus, Trouble
from caching_proxy.rules.reasons import Reason
from caching_proxy.rules.request_traits import PARTICULAR, RequestTraits
from caching_proxy.rules.scope import View, scope_of, view_of
from caching_proxy.rules.terms import Share, Terms, shared_role
from caching_proxy.rules.validation import vary_fields


@attrs.define(slots=True, eq=False)
class Plan:
    """What a request is to the cache, before anything is looked up: what ``cache.plan.resolve`` makes of its head.

    ``identity`` is whose request it is, ``key`` its key, ``view`` which of the key's variants may answer.
    ``terms`` are what the operator says of its target, ``traits`` what its fields say. ``found``, for whoever looked
    already to set, is what the tiers below the hot one have for variants called ``wanted``.
    """

    traits: RequestTraits
    identity: Identity
    terms: Terms
    key: bytes
    view: View
    wanted: tuple[bytes, ...] = ()
    found: Found | None = None


@transient(slots=True, eq=False)
class ClientRequest:
    """A client's request: its head, its body, and what its connection tells.

    ``client_ip`` is the peer's address as text; ``peer`` is that of the client whose share of the backend is used;
    ``trusted`` says that the peer is one of ``TRUSTED_PROXIES``; ``scheme`` is how it reached us. ``on_interim`` takes
    each 1xx on its way to the client. ``port`` is that of the client's Host, as ``:8080``, where the backend gets to
    see it beside the head's Host. ``steered`` is what a trusted peer says in fields of ``STEERING_FIELDS``. ``trace``
    is kept here by who follows the request from outside, ``plan`` where it was worked out before.
    """

    head: RequestHead
    body: Body
    client_ip: bytes
    request_id: bytes
    scheme: bytes = b"http"
    trusted: bool = False
    on_interim: Callable[[ResponseHead], None] | None = None
    peer: bytes = b""
    port: bytes = b""
    steered: bytes = b""
    trace: object | None = None
    plan: Plan | None = None

    @property
    def scope(self) -> bytes:
        """What beside key and ``Vary`` tells its answers apart."""
        return scope_of(self.head.target, self.head.fields, self.scheme, self.trusted, self.port, self.steered)


@transient(slots=True, eq=False)
class CacheResponse:
    """The answer for the client, every field in place but ``Connection`` and the framing of ``body``.

    ``length`` is the body's size in bytes where it is known; ``framed`` says that the head already has it as
    Content-Length, and that ``body`` is to be sent with it. ``role`` is the label for logs and metrics. A reply whose
    body is a :class:`Body` must be attached or cancelled, a ``tunnel`` (after a 101) started or aborted. ``reason``
    says why the cache had no part in it, where it had none.
    """

    head: ResponseHead
    body: Content | Body
    length: int | None
    status: CacheStatus
    role: str
    tunnel: Switched | None = None
    framed: bool = False
    reason: Reason | None = None

    def discard(self) -> None:
        """The client is gone: nobody will read this."""
        if isinstance(self.body, Body):
            self.body.cancel()
        if self.tunnel is not None:
            self.tunnel.abort()


def shared(identity: Identity, share: Share, head: RequestHead) -> Identity:
    """Whose request it counts as where the operator says who may ``share`` the answer; the label stays its own."""
    if share is Share.ROLE or identity.role is None:
        return identity
    credentials = head.fields.all(b"authorization")
    role = shared_role(share, identity.role, identity.established, credentials)
    return Identity(role, identity.label)


class CacheRequest:
    """A :class:`ClientRequest` on its way through the cache: whose it is, what it asks for, what happened so far."""

    __slots__ = (
        "collapsed",
        "control",
        "flight",
        "head",
        "identity",
        "client_request",
        "crowd",
        "key",
        "known",
        "plain",
        "plan",
        "reread",
        "stale",
        "terms",
        "traits",
        "lease",
        "trouble",
        "unattended",
        "view",
    )

    def __init__(self, client_request: ClientRequest, plan: Plan) -> None:
        self.client_request = client_request
        self.plan = plan
        head, traits = client_request.head, plan.traits
        if traits.passing is not None:
            head = RequestHead(head.method, head.target, traits.passing, head.minor)
        self.head = head
        """What decisions look at: a field that ends at this hop must not select a variant."""
        self.identity = plan.identity
        self.key = key = plan.key
        self.view = view = plan.view
        self.crowd = b"credentials " + key if view.credentials else key
        """Whose concurrent fetches are alike: all that have the key, apart from those with credentials."""
        self.terms = plan.terms
        self.traits = traits
        self.control = traits.control
        self.plain = traits.plain
        """Whether the backend's answer to this very request can serve others: no conditions, no part."""
        self.trouble: Trouble | None = None
        self.lease: Lease | None = None
        self.flight: Flight | None = None
        """What others may wait for while the backend is asked."""
        self.reread = False
        """Whether the store was asked once more, as what the request selects had not been read."""
        self.known: Sequence[CacheEntry] = ()
        """Every variant of the key that was found, as far as ``lease`` is still current."""
        self.stale: CacheEntry | None = None
        """What may answer while the backend lets us wait."""
        self.unattended = False
        """Whether the cache itself wants the answer, so that a fetch goes on though no client reads it."""
        self.collapsed: bool | None = None
        """None: no flight was joined; True: its result answered; False: it did not help."""

    @property
    def shareable(self) -> bool:
        """Whether the result of somebody else's fetch under way may answer: not if a fresh one was asked for, or if
        the operator wants none shared."""
        return self.head.method == b"GET" and not self.control.refresh and self.terms.collapse

    @property
    def outdated(self) -> bool:
        """Whether the key was invalidated since the lease was opened, so that what was found is no longer true."""
        return self.lease is not None and not self.lease.valid

    @property
    def revalidated_status(self) -> CacheStatus:
        """``X-Cache-Status`` of a stored response that the backend found to hold still."""
        return CacheStatus.REFRESH if self.control.refresh else CacheStatus.REVALIDATED

    @property
    def fetch_status(self) -> CacheStatus:
        """``X-Cache-Status`` of an answer fetched from the backend."""
        if self.control.refresh:
            return CacheStatus.REFRESH
        if self.trouble is None:
            return CacheStatus.MISS
        return CacheStatus.CIRCUIT_OPEN if self.trouble is Trouble.OPEN else CacheStatus.ERROR

    def take_lease(self, key_state: KeyState) -> Lease:
        """Open a lease for the key, in place of the one held."""
        if self.lease is not None:
            self.lease.close()
        self.lease = lease = Lease(key_state, self.key)
        return lease

    def spoilt(self, tags: Collection[bytes]) -> bool:
        """Whether it turns out that what is fetched carries a tag that was invalidated since the lease was opened.

        Until now nobody knew, so others may have joined the fetch after that. What else voided the lease meanwhile is
        known to them, and says nothing of the tags.
        """
        lease = self.lease
        if lease is None or lease.tags.issuperset(tags):
            return False
        lease.carry(tags)
        return not lease.outlived(tags)

    def give_lease(self) -> Lease:
        """Hand the lease to whoever closes it."""
        lease, self.lease = self.lease, None
        if lease is None:
            raise RuntimeError("no lease is held")
        return lease

    def close_lease(self) -> None:
        """Give up the lease, if one is held."""
        if self.lease is not None:
            self.lease.close()
            self.lease = None

    def in_background(self, entry: CacheEntry) -> CacheRequest:
        """The request that ``entry`` answered, as if nobody had sent it (RFC 9111 §4.3.1).

        It has none of the client's conditions, ranges, interim responses and request directives, and the stored values
        of the fields that ``Vary`` names.
        """
        named = {name for name, _ in entry.selecting}
        fields = self.client_request.head.fields.without(PARTICULAR | named).plus(*vary_fields(entry))
        head = attrs.evolve(self.client_request.head, fields=fields, method=b"GET")
        client_request = attrs.evolve(self.client_request, head=head, body=Body.of(b""), on_interim=None)
        passing = end_to_end(fields)
        traits = attrs.evolve(
            self.traits,
            control=NO_DIRECTIVES,
            conditional=False,
            plain=True,
            passing=None if passing is fields else passing,
        )
        view = view_of(client_request.scope, self.view.credentials)
        behind = CacheRequest(client_request, Plan(traits, self.identity, self.terms, self.key, view))
        behind.known = self.known
        behind.unattended = True
        return behind
