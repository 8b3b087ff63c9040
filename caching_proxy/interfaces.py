"""The seams: what one room of the house may know of another.

Everything asynchronous returns a Deferred that its caller may cancel; cancelling frees what the call held.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.http.values import transient
from caching_proxy.rules.bus_message import Invalidation


class StoreError(Exception):
    """The store did not do what was asked: unreachable, timed out, refused (read-only, out of memory, loading)."""


class StoreUnavailable(StoreError):
    """The store was not asked at all: the circuit breaker is open or too many commands wait already."""


class AnswerLost(StoreError):
    """The connection broke more than once while the server answered; the answer may be more than it lets pass."""


class StoreForbidden(StoreError):
    """The user that we log in as may not do this; the server itself is well."""


class Postponed(StoreError):
    """An invalidation has taken effect here, but the store cannot carry it out now; it is tried until it succeeds.

    ``kept``: it stands in the journal, so that it outlives this process.
    """

    def __init__(self, reason: str, kept: bool) -> None:
        super().__init__(reason)
        self.kept = kept


class Overtaken(StoreError):
    """A write was refused, as there was an invalidation that the writer has not looked at."""


class Unreadable(StoreError):
    """Something that is not a hash of entries stands under the key; delete it and fetch anew."""


NO_OUTLINES: Mapping[bytes, bytes] = MappingProxyType({})
NOT_STALE: Mapping[bytes, float] = MappingProxyType({})


@transient(slots=True)
class Stored:
    """What a store holds for one key.

    ``variants`` are the values of those asked for that are there, by field name. ``outlines`` are the beginnings of all
    values (``core.codec.outline_in``) by field name, the oldest first; empty where nothing but a plain variant is
    stored. ``ttl_ms`` is what remains of the longest-lived variant, in milliseconds. ``stale`` has those of
    ``variants`` that were invalidated softly, and when (POSIX seconds).
    """

    variants: Mapping[bytes, bytes]
    ttl_ms: int
    outlines: Mapping[bytes, bytes] = NO_OUTLINES
    stale: Mapping[bytes, float] = NOT_STALE


SCAN_ENDS = b"0"
"""The cursor before the first step of a walk over all keys, and after the last."""


@attrs.frozen(slots=True)
class Scanned:
    """Some keys, about a thousand, and where the walk goes on."""

    keys: Sequence[bytes]
    cursor: bytes


class Fate(enum.Enum):
    """What becomes of variants that are found by a tag."""

    KEPT = "kept"
    STALE = "stale"  # as :meth:`IStore.soften` does
    DELETED = "deleted"


class IValues(Interface):
    """The least that a store has to do: keep bytes under names of 40 letters and digits.

    :class:`~caching_proxy.store.indexed.IndexedStore` makes an :class:`IStore` of it that one proxy has for itself.
    Every method but ``start`` may fail with :class:`StoreError`.
    """

    def get(names: Sequence[bytes]) -> Deferred[Mapping[bytes, bytes]]:
        """The values of ``names`` that are there."""

    def set(name: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        """Keep ``value`` for at most ``ttl_ms`` milliseconds; it may go sooner. A name is given only once."""

    def delete(names: Sequence[bytes]) -> Deferred[None]:
        """Forget these, whether they are there or not."""

    def ping() -> Deferred[None]:
        """Succeeds if the store answers now."""

    def start() -> Deferred[None]:
        """Begin connecting; fires at once and never fails: a store that is down comes later."""

    def stop() -> Deferred[None]:
        """Let what is under way finish or fail, close every connection, cancel every timer."""


class IStore(Interface):
    """A shared store of encoded entries: one hash per key, one field per variant.

    A store that can only keep bytes under names, without listing keys or finding those of a target or tag, is an
    :class:`IValues`.

    Keys, fields and values are bytes. Every method may fail with :class:`StoreError`.
    """

    def lookup(key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        """Some variants of ``key``, and the outlines of all, in one round trip; None when there are none.

        ``fields`` None asks for every variant.
        """

    def put(
        key: bytes, field: bytes, value: bytes, ttl_ms: int, since: bytes | None = None, tags: Sequence[bytes] = ()
    ) -> Deferred[None]:
        """Write one variant, which carries ``tags``; the key lives at least ``ttl_ms`` from now.

        Other variants stay, unless they are too many or too large together: then the oldest go. ``since`` is
        :attr:`IInvalidationBus.seen`: where anybody has invalidated anything later, the write fails with
        :class:`Overtaken`. None writes in any case.
        """

    def discard(key: bytes, field: bytes) -> Deferred[bool]:
        """Remove one variant; whether it was there."""

    def delete(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Remove whole keys, whatever their type; the ones that existed."""

    def delete_target(target: bytes) -> Deferred[set[bytes]]:
        """Remove what is stored for one target of any role, without walking all keys; the keys that existed.

        This is an invalidation: the other proxies on the store are told.
        """

    def mark(invalidation: Invalidation) -> Deferred[None]:
        """Tell the other proxies on the store of an invalidation, and let no write pass that has not heard of it.

        To be called before anything is deleted, so that no fill that began before is written after; and once more when
        all is deleted, so that nobody keeps what he read in between. Nothing to do for a store that nobody shares.
        """

    def tagged(tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        """A step of a walk over the keys with a variant that carries ``tag``, which does with those variants what
        ``fate`` says; ``moment`` as for :meth:`soften`. Cursors are as for :meth:`scan`; a key may come twice. What was
        written after the first step may be spared.
        """

    def soften(keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        """Note of every variant of ``keys`` that it is stale from ``moment`` (POSIX seconds) on, until it is written
        again; the keys that existed."""

    def soften_target(target: bytes, moment: float) -> Deferred[set[bytes]]:
        """:meth:`soften` what is stored for one target of any role."""

    def scan(cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        """A step of a walk over the keys that begin with ``prefix``; never blocks the store.

        The first step has the cursor :data:`SCAN_ENDS`, each next one that of the step before, until it is
        ``SCAN_ENDS`` again. Keys that are there from beginning to end come at least once. A cursor that no step gave is
        a :class:`StoreError` or the beginning.
        """

    def held(keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        """Those of some keys, a thousand at most, that are there."""

    def ping() -> Deferred[None]:
        """Succeeds if the store answers now."""

    def start() -> Deferred[None]:
        """Begin connecting; fires at once and never fails: a store that is down comes later."""

    def stop() -> Deferred[None]:
        """Let commands under way finish or fail, close every connection, cancel every timer."""


class Seeker(Protocol):
    """Who looks something up in a store without a Deferred: hears once what is there, or once why nobody can tell."""

    def found(self, stored: Stored | None) -> None:
        """As :meth:`IStore.lookup` says."""

    def failed(self, failure: Failure) -> None:
        """It failed, with :class:`StoreError` or :class:`Unreadable` unless that is a bug."""


@runtime_checkable
class DirectStore(Protocol):
    """A store that can look something up without a Deferred, which costs as much as the rest of it."""

    def seek(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker) -> None:
        """As :meth:`IStore.lookup`; ``seeker`` may hear of it at once."""


class Claim(enum.Enum):
    """Whose it is to fetch something."""

    OURS = "ours"
    THEIRS = "theirs"
    NOBODYS = "nobody's"  # each for itself: the answer is for one alone, or the store does not tell


class IClaims(Interface):
    """Which proxy fetches what, among those that share a store."""

    def claim(name: bytes) -> Deferred[Claim]:
        """Ask for ``name``, or for more time with it; never fails. A claim ends by itself after some seconds."""

    def give_up(name: bytes, alone: bool = False) -> None:
        """Let others have ``name``; ``alone``: the answer was for one alone, so that nobody need wait for the next."""

    def stop() -> Deferred[None]:
        """Give up all that is ours, and claim nothing more; fires when that is done, and never fails."""


class UpstreamError(Exception):
    """The backend gave no usable response."""


class UpstreamUnreachable(UpstreamError):
    """Connection refused, name not resolved, TLS failed: answered with 502."""


class UpstreamTimeout(UpstreamError):
    """No connection or no bytes within the time allowed: answered with 504."""


class UpstreamProtocolError(UpstreamError):
    """The connection ended before a response head was complete, or the head was not HTTP: answered with 502."""


class IncompleteBody(UpstreamError):
    """The response body ended before its framing said so (RFC 9112 §8); reported through ``Body``."""


class Switched(Protocol):
    """The raw connection to the backend after its 101; whoever is handed one starts or aborts it."""

    def start(self, protocol: IProtocol) -> None:
        """Give ``protocol`` the connection and every byte behind the 101."""

    def close(self) -> None:
        """Close once all is sent."""

    def abort(self) -> None:
        """Drop the connection."""


@transient(slots=True, eq=False)
class UpstreamResponse:
    """A final response whose body is still arriving.

    ``head`` holds the fields as received (obs-fold and stray spaces mended) with hop-by-hop fields still in place.
    ``length`` is the number of body bytes announced, 0 when there can be none, None when only the end tells.
    Whoever takes the response must consume or cancel ``body``. ``tunnel`` is set for a 101 only.
    """

    head: ResponseHead
    body: Body
    length: int | None
    reused: bool = False
    tunnel: Switched | None = None


class Receiver(Protocol):
    """Who sent a request to the backend without a Deferred: hears once of an answer, or once that there is none."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx other than 101 came first."""

    def responded(self, response: UpstreamResponse) -> None:
        """The final head is here."""

    def failed(self, error: UpstreamError) -> None:
        """There will be none."""


class UnderWay(Protocol):
    """A request to the backend that has not been answered."""

    def cancel(self) -> None:
        """Nobody wants the answer any more: aborts the exchange and its connection; the receiver hears nothing."""


class DirectUpstream(Protocol):
    """The way to the backend for whole requests that want no Deferred."""

    def send(self, request: OutgoingRequest, content: bytes, receiver: Receiver, peer: bytes) -> UnderWay:
        """As :meth:`IUpstream.fetch` with a body that is all here; ``receiver`` may hear of a failure at once."""


class IUpstream(Interface):
    """The way to the one backend."""

    def fetch(
        request: RequestHead | OutgoingRequest,
        body: Body | None = None,
        on_interim: Callable[[ResponseHead], None] | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        """Send ``request`` and fire with the final response's head.

        The request's fields go out as they are; the client adds only the framing of ``body`` (``Content-Length`` if the
        body's length is known, else chunked) and its own ``Connection``. ``on_interim`` is called for each 1xx but
        101. ``peer`` is the client that it is for, who has a share of the connections; without one there is no bound.
        Fails with an :class:`UpstreamError`; cancelling aborts the exchange and its connection.
        """

    def stop() -> Deferred[None]:
        """Close idle connections, let busy ones finish; fires when none is left."""


@attrs.frozen(slots=True)
class Identity:
    """Whose eyes a request has: what partitions the cache.

    ``role`` is the escaped identifier that stands in keys, None when the cache must be passed by. ``label`` is the
    role without any token digest, for logs and metrics. ``established`` is False only where credentials were
    presented that no role could be taken from: then RFC 9111 §3.5 decides what may be stored or reused.
    """

    role: bytes | None
    label: str
    established: bool = True


class ITokenVerifier(Interface):
    """KeyQueue the ``Authorization`` of a request into an :class:`Identity`."""

    def identify(request: RequestHead) -> Identity | Deferred[Identity]:
        """Never fails: any doubt is an identity without a role. A Deferred only where keys must be fetched first."""

    def remembered(authorization: bytes) -> Identity | None:
        """The identity of this exact field value if it is already known and still valid; for the hot path."""


class IInvalidationBus(Interface):
    """Brings the invalidations of other proxies that share a store; :meth:`IStore.mark` takes ours there."""

    seen = Attribute(
        "The newest invalidation that was applied here, for IStore.put; None where the store keeps no order."
    )
    sent = Attribute("Messages that the store took from us, a count.")
    received = Attribute("Messages of other proxies that were heard, a count.")
    gaps = Attribute("Times that messages were missed, or may have been, a count.")
    flushes = Attribute("Those after which nobody could tell what was missed, so that memory was emptied, a count.")
    subscribed = Attribute("Whether messages of others are heard now.")
    state = Attribute(
        "``up``; ``late``: others are heard only when the store is asked, about once a second; ``unordered``: they are "
        "heard, but the store tells nobody what he missed; ``down``: they are not heard."
    )

    def start(on_invalidation: Callable[[Invalidation], object], on_gap: Callable[[], object]) -> None:
        """Begin to listen, and never give up.

        ``on_invalidation`` hears what other proxies invalidated, perhaps twice; ``on_gap`` that nobody can tell what
        was missed.
        """

    def catch_up() -> Deferred[None]:
        """Apply what the store knows of and we do not; fails with :class:`StoreError` if it cannot be asked."""

    def stop() -> Deferred[None]:
        """Tell and hear nothing more; fires when the connection is closed."""


class IJournal(Protocol):
    """Where invalidations stand that the store has not carried out, so that they outlive this process."""

    def keep(self, invalidations: Sequence[Invalidation]) -> Deferred[None]:
        """Fires when these, and all before them, are safe; fails with OSError."""

    def clear(self) -> Deferred[None]:
        """Nothing is pending any more."""


class ISiblings(Protocol):
    """The other workers behind the same port."""

    def announce(self, invalidation: Invalidation, on_removed: Callable[[set[bytes]], object]) -> None:
        """Have them carry it out; ``on_removed`` hears once which keys they removed, when all have done it."""

    def reached(self) -> Deferred[None]:
        """Fires when all that was announced has taken effect at all of them; never fails."""
