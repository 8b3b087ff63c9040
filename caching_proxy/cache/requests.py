"""What goes into the pipeline and what comes out of it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import attrs

from caching_proxy.cache.flights import Flight
from caching_proxy.cache.leases import Ticket, Tickets
from caching_proxy.http.body import Body
from caching_proxy.http.hop_by_hop import end_to_end
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.pieces import Content
from caching_proxy.http.request_directives import NO_WISHES
from caching_proxy.http.values import transient
from caching_proxy.interfaces import Identity, Switched
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.request_traits import PARTICULAR, Terms
from caching_proxy.rules.scope import scope_of, view_of
from caching_proxy.rules.validation import vary_fields


class Trouble(enum.Enum):
    """What kept a lookup from being answered by the store."""

    OPEN = "open"  # not asked: the breaker is open or too much is waiting
    FAILED = "failed"  # asked in vain
    UNREADABLE = "unreadable"  # something was there that we did not write


@transient(slots=True, eq=False)
class Incoming:
    """A client's request: its head, its body, and what its connection tells.

    ``client_ip`` is the peer's address as text; ``peer`` is that of the client whose share of the backend is used;
    ``trusted`` says that the peer is one of ``TRUSTED_PROXIES``; ``scheme`` is how it reached us. ``on_interim`` takes
    each 1xx on its way to the client. ``port`` is that of the client's Host, as ``:8080``, where the backend gets to
    see it beside the head's Host.
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


@transient(slots=True, eq=False)
class Reply:
    """The answer for the client, every field in place but ``Connection`` and the framing of ``body``.

    ``length`` is the body's size in bytes where it is known; ``framed`` says that the head already has it as
    Content-Length, and that ``body`` is to be sent with it. ``role`` is the label for logs and metrics. A reply whose
    body is a :class:`Body` must be attached or cancelled, a ``tunnel`` (after a 101) started or aborted.
    """

    head: ResponseHead
    body: Content | Body
    length: int | None
    status: CacheStatus
    role: str
    tunnel: Switched | None = None
    framed: bool = False

    def discard(self) -> None:
        """The client is gone: nobody will read this."""
        if isinstance(self.body, Body):
            self.body.cancel()
        if self.tunnel is not None:
            self.tunnel.abort()


class Question:
    """An :class:`Incoming` on its way through the cache: whose it is, what it asks for, what happened so far."""

    __slots__ = (
        "collapsed",
        "control",
        "flight",
        "head",
        "identity",
        "incoming",
        "key",
        "known",
        "plain",
        "reread",
        "stale",
        "terms",
        "ticket",
        "trouble",
        "unattended",
        "view",
    )

    def __init__(self, incoming: Incoming, identity: Identity, key: bytes, terms: Terms) -> None:
        self.incoming = incoming
        head = incoming.head
        if terms.passing is not None:
            head = RequestHead(head.method, head.target, terms.passing, head.minor)
        self.head = head
        """What decisions look at: a field that ends at this hop must not select a variant."""
        self.identity = identity
        self.key = key
        scope = scope_of(head.target, head.fields, incoming.scheme, incoming.trusted, incoming.port)
        self.view = view_of(scope, not identity.established)
        """Which of the key's variants may answer."""
        self.terms = terms
        self.control = terms.control
        self.plain = terms.plain
        """Whether the backend's answer to this very request can serve others: no conditions, no part."""
        self.trouble: Trouble | None = None
        self.ticket: Ticket | None = None
        self.flight: Flight | None = None
        """What others may wait for while the backend is asked this question."""
        self.reread = False
        """Whether the store was asked once more, as what the request selects had not been read."""
        self.known: Sequence[CacheEntry] = ()
        """Every variant of the key that was found, as far as ``ticket`` is still current."""
        self.stale: CacheEntry | None = None
        """What may answer while the backend lets us wait."""
        self.unattended = False
        """Whether the cache itself wants the answer, so that a fetch goes on though no client reads it."""
        self.collapsed: bool | None = None
        """None: no flight was joined; True: its result answered; False: it did not help."""

    @property
    def shareable(self) -> bool:
        """Whether the result of somebody else's fetch under way may answer: not if a fresh one was asked for."""
        return self.head.method == b"GET" and not self.control.refresh

    @property
    def crowd(self) -> bytes:
        """Whose concurrent fetches are alike: all that have the key, apart from those with credentials."""
        return b"credentials " + self.key if self.view.credentials else self.key

    @property
    def outdated(self) -> bool:
        """Whether the key was invalidated since the ticket was opened, so that what was found is no longer true."""
        return self.ticket is not None and not self.ticket.valid

    @property
    def fetch_status(self) -> CacheStatus:
        """``X-Cache-Status`` of an answer fetched from the backend."""
        if self.control.refresh:
            return CacheStatus.REFRESH
        if self.trouble is None:
            return CacheStatus.MISS
        return CacheStatus.CIRCUIT_OPEN if self.trouble is Trouble.OPEN else CacheStatus.ERROR

    def take_ticket(self, tickets: Tickets) -> Ticket:
        """Open a ticket for the key, in place of the one held."""
        self.close_ticket()
        self.ticket = tickets.open(self.key)
        return self.ticket

    def give_ticket(self) -> Ticket:
        """Hand the ticket to whoever closes it."""
        ticket, self.ticket = self.ticket, None
        if ticket is None:
            raise RuntimeError("no ticket is held")
        return ticket

    def close_ticket(self) -> None:
        """Give up the ticket, if one is held."""
        if self.ticket is not None:
            self.ticket.close()
            self.ticket = None

    def in_background(self, entry: CacheEntry) -> Question:
        """The question that ``entry`` answered, asked by nobody: without the client's conditions, part, interim
        responses and wishes, with the stored values of the fields that ``Vary`` names (RFC 9111 §4.3.1)."""
        named = {name for name, _ in entry.selecting}
        fields = self.incoming.head.fields.without(PARTICULAR | named).plus(*vary_fields(entry))
        head = attrs.evolve(self.incoming.head, fields=fields, method=b"GET")
        incoming = attrs.evolve(self.incoming, head=head, body=Body.of(b""), on_interim=None)
        passing = end_to_end(fields)
        terms = attrs.evolve(
            self.terms, control=NO_WISHES, conditional=False, plain=True, passing=None if passing is fields else passing
        )
        behind = Question(incoming, self.identity, self.key, terms)
        behind.known = self.known
        behind.unattended = True
        return behind
