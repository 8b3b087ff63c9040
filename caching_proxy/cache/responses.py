"""Making responses: an answer's head with the fields that explain it.

Errors made here are JSON, carry no ``Cache-Status`` (RFC 9211 §2), and keep internals to themselves unless
``details`` is set.
"""

from __future__ import annotations

import attrs

from caching_proxy.cache.requests import CacheRequest, CacheResponse, ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.framing import connection_options
from caching_proxy.http.hop_by_hop import fast_relayed_lines, relayed, switching_to_client, with_date
from caching_proxy.http.messages import Field, Fields, ResponseHead
from caching_proxy.http.response_names import PROXY_AUTHENTICATION
from caching_proxy.interfaces import Identity, UpstreamError, UpstreamProtocolError, UpstreamResponse, UpstreamTimeout
from caching_proxy.rules import cache_status
from caching_proxy.rules import explain as reply
from caching_proxy.rules.encodings import VARY_LINE, marked, negotiable
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.error_response import error_response
from caching_proxy.rules.outcome import CacheStatus, Detour, Forward, Refusal
from caching_proxy.rules.reasons import DETOURS, NO_ANSWER, ONLY_IF_CACHED, OWN_CONDITIONS, REFUSALS, TROUBLES, Reason
from caching_proxy.rules.reuse import Lookup, may_serve_disconnected, may_serve_on_error
from caching_proxy.rules.stored_response import answer

_URI_MISS, _MISS = Forward.URI_MISS, CacheStatus.MISS
_WITHOUT_CONTENT = frozenset((204, 304))
_NOT_ONLY_RELAYED = PROXY_AUTHENTICATION | {b"age", b"cache-status"}
"""Response fields that a client gets in another form than they are stored in."""

_TOLD = {
    refusal: refusal.value.encode()
    for refusal in (Refusal.SET_COOKIE, Refusal.MALFORMED, Refusal.TOO_LARGE, Refusal.MEMORY)
}
"""Refusals that Cache-Status names: the proxy's own choice, of which the response itself says nothing."""


@attrs.frozen(slots=True)
class Responses:
    """``proxy_name`` None leaves ``Cache-Status`` off; ``salt`` is a secret for the boundaries of several ranges."""

    proxy_name: bytes | None
    details: bool = False
    salt: bytes = b""
    compresses: bool = False
    """Whether others may get a compressed form, of which ``Vary`` has to tell."""

    def stored(
        self,
        cache_request: CacheRequest,
        entry: CacheEntry,
        status: CacheStatus,
        now: float,
        lookup: Lookup | None = None,
        forward_status: int | None = None,
    ) -> CacheResponse:
        """From a stored response: the whole, a part or a 304.

        ``lookup`` explains a forward that led here, ``forward_status`` is what the backend answered to it.
        """
        entry = self._told_apart(entry)
        if lookup is None and cache_request.plain and cache_request.head.method == b"GET":
            whole = self._fast_stored(cache_request, entry, status, now)
            if whole is not None:
                return whole
        made = answer(cache_request.head, entry, now, self.salt)
        member = None
        if lookup is not None and self.proxy_name is not None:
            member = cache_status.member(
                self.proxy_name,
                forward=lookup.forward or Forward.STALE,
                forward_status=None if forward_status == made.head.status else forward_status,
                ttl=entry.ttl(now),
                collapsed=cache_request.collapsed,
            )
        head, body = made.head, made.body
        fields = reply.with_explanation(head.fields, entry, status, now, self.proxy_name, member)
        framed = cache_request.head.method == b"GET" and head.status not in _WITHOUT_CONTENT
        head = ResponseHead(head.status, head.reason, fields)
        return CacheResponse(head, body, len(body), status, cache_request.identity.label, framed=framed)

    def _told_apart(self, entry: CacheEntry) -> CacheEntry:
        """``entry`` with the ``Vary`` that its compressed forms have."""
        return marked(entry) if self.compresses and negotiable(entry.status, entry.fields) else entry

    def _fast_stored(
        self, cache_request: CacheRequest, entry: CacheEntry, status: CacheStatus, now: float
    ) -> CacheResponse | None:
        """:meth:`stored` for the ordinary request, if there is nothing particular about the entry either."""
        block = reply.fast_whole_lines(entry, status, now, self.proxy_name)
        if block is None:
            return None
        head = ResponseHead(entry.status, entry.reason, Fields.decoded(block))
        return CacheResponse(head, entry.body, len(entry.body), status, cache_request.identity.label, framed=True)

    def joined(
        self, cache_request: CacheRequest, lookup: Lookup, entry: CacheEntry, body: Body, now: float
    ) -> CacheResponse:
        """What another request fetches, while it arrives: ``entry`` has its head, ``body`` brings the rest."""
        entry = self._told_apart(entry)
        status, member = (
            cache_request.fetch_status,
            self._fetched_member(cache_request, lookup, entry, now, stored=False),
        )
        fields = reply.with_explanation(entry.fields, entry, status, now, self.proxy_name, member)
        head = ResponseHead(entry.status, entry.reason, fields)
        return CacheResponse(head, body, body.length, status, cache_request.identity.label)

    def fetched(
        self,
        cache_request: CacheRequest,
        lookup: Lookup,
        response: UpstreamResponse,
        body: bytes | Body,
        entry: CacheEntry | None,
        now: float,
        refusal: Refusal | None = None,
    ) -> CacheResponse:
        """The backend's own answer; ``entry`` is what is stored of it, if anything, ``refusal`` why nothing is."""
        status = cache_request.fetch_status
        added = b"X-Cache-Status: %b\r\n%b" % (status.token, b"" if entry is None else reply.expiry(entry, now))
        if entry is not None and self._told_apart(entry) is not entry:
            added += VARY_LINE
        detail = _TOLD.get(refusal) if refusal is not None else None
        member = self._fetched_member(cache_request, lookup, entry, now, detail=detail)
        reason = None
        if refusal is Refusal.STATUS and response.head.status == 304:
            reason = OWN_CONDITIONS
        elif refusal is not None:
            reason = REFUSALS[refusal]
        elif cache_request.trouble is not None:
            reason = TROUBLES[cache_request.trouble]
        label = cache_request.identity.label
        return self._relay(cache_request.head.method, response, body, added, member, status, label, now, reason)

    def fast_fetched(
        self, cache_request: CacheRequest, lookup: Lookup, response: UpstreamResponse, entry: CacheEntry, now: float
    ) -> CacheResponse:
        """Like :meth:`fetched`, where all of the answer is here and all its fields are stored: their lines serve the
        client as well, and need not be made twice. ``tests/cache/test_responses.py`` compares the two."""
        head = response.head
        if head.status in _WITHOUT_CONTENT or not head.fields.told(_only_relayed):
            return self.fetched(cache_request, lookup, response, entry.body, entry, now)
        if self.compresses:
            entry = self._told_apart(entry)
        status, member = cache_request.fetch_status, self._fetched_member(cache_request, lookup, entry, now)
        block = _whole_block(entry, status, member, now)
        head = ResponseHead(head.status, head.reason, Fields.decoded(block))
        return CacheResponse(head, entry.body, len(entry.body), status, cache_request.identity.label, framed=True)

    def missed(self, entry: CacheEntry, now: float) -> bytes:
        """The field lines of :meth:`fast_fetched` for a plain miss, judged at a glance (:mod:`~.rules.glance`) and
        received ``now``."""
        if self.compresses:
            entry = self._told_apart(entry)
        member = None
        if self.proxy_name is not None:
            lifetime = entry.lifetime - entry.initial_age
            member = cache_status.member(self.proxy_name, forward=_URI_MISS, ttl=lifetime, stored=True)
        return _whole_block(entry, _MISS, member, now)

    def passed(
        self,
        method: bytes,
        identity: Identity,
        response: UpstreamResponse,
        status: CacheStatus,
        now: float,
        body: bytes | Body | None = None,
        entry: CacheEntry | None = None,
        reason: Reason | None = None,
        detail: bytes | None = None,
    ) -> CacheResponse:
        """The backend's answer to a request that was not looked up, and why; ``entry`` is what is stored of it all the
        same, ``body`` stands for the response's own then. ``detail`` is for Cache-Status."""
        forward = Forward.METHOD if status is CacheStatus.NOT_APPLICABLE else Forward.BYPASS
        added = b"X-Cache-Status: %b\r\n%b" % (status.token, b"" if entry is None else reply.expiry(entry, now))
        member = self._member(forward, None if entry is None else entry.ttl(now), entry is not None, detail=detail)
        sent = response.body if body is None else body
        return self._relay(method, response, sent, added, member, status, identity.label, now, reason)

    def passed_lines(self, status: CacheStatus, detail: bytes | None = None) -> bytes:
        """What :meth:`passed` adds to an ordinary answer of which nothing is stored."""
        forward = Forward.METHOD if status is CacheStatus.NOT_APPLICABLE else Forward.BYPASS
        added = b"X-Cache-Status: %b\r\n" % status.token
        return reply.member_lines(added, self._member(forward, detail=detail))

    def without_backend(
        self, cache_request: CacheRequest, lookup: Lookup, error: UpstreamError, now: float
    ) -> CacheResponse:
        """What can be said while the backend is unreachable: something stale, else 502 or 504."""
        entry = lookup.entry
        if entry is not None and (
            may_serve_disconnected(entry, now) or may_serve_on_error(entry, cache_request.control, now)
        ):
            return self.stand_in(cache_request, entry, now)
        strict = entry is not None  # a stored response that may not be served stale: 504 (RFC 9111 §4.2.4)
        return self.failed(cache_request.identity, error, strict)

    def stand_in(
        self,
        cache_request: CacheRequest,
        entry: CacheEntry,
        now: float,
        lookup: Lookup | None = None,
        forward_status: int | None = None,
    ) -> CacheResponse:
        """:meth:`stored` of a stale response, in place of what the backend did not give."""
        return self.stored(cache_request, entry, CacheStatus.STALE, now, lookup, forward_status)

    def failed(self, identity: Identity, error: UpstreamError, strict: bool = False) -> CacheResponse:
        """502, or 504 where it took too long or nothing but a stale answer was left."""
        if strict or isinstance(error, UpstreamTimeout):
            return self._error(504, b"Gateway Timeout", "The backend did not answer in time", identity.label, error)
        broken = isinstance(error, UpstreamProtocolError)
        text = "The backend gave no usable response" if broken else "The backend could not be reached"
        return self._error(502, b"Bad Gateway", text, identity.label, error)

    def only_if_cached(self, cache_request: CacheRequest) -> CacheResponse:
        """Nothing stored may be used and the client forbade forwarding (RFC 9111 §5.2.1.7)."""
        text = "Nothing usable is cached"
        label, status = cache_request.identity.label, CacheStatus.MISS
        return self._error(504, b"Gateway Timeout", text, label, status=status, why=ONLY_IF_CACHED)

    def loop(self) -> CacheResponse:
        """The request has been here before (RFC 9110 §7.6.3)."""
        text = "This request has passed here before"
        return self._error(508, b"Loop Detected", text, "unknown", why=DETOURS[Detour.LOOP])

    def final_recipient(self, client_request: ClientRequest) -> CacheResponse:
        """OPTIONS or TRACE whose Max-Forwards ended here (RFC 9110 §7.6.2)."""
        status, allow = CacheStatus.NOT_APPLICABLE, (b"Allow", b"GET, HEAD, OPTIONS")
        if client_request.head.method == b"OPTIONS":
            fields = Fields((allow, (b"X-Cache-Status", status.token)))
            return CacheResponse(ResponseHead(204, b"No Content", fields), b"", 0, status, "unknown")
        return self._error(405, b"Method Not Allowed", "TRACE is not answered here", "unknown", None, status, allow)

    def _error(
        self,
        code: int,
        reason: bytes,
        text: str,
        label: str,
        error: Exception | None = None,
        status: CacheStatus = CacheStatus.ERROR,
        *more: Field,
        why: Reason = NO_ANSWER,
    ) -> CacheResponse:
        details = f"{type(error).__name__}: {error}" if self.details and error is not None else None
        head, body = error_response(code, reason, text, status, *more, details=details)
        return CacheResponse(head, body, len(body), status, label, reason=why)

    def _relay(
        self,
        method: bytes,
        response: UpstreamResponse,
        body: bytes | Body,
        added: bytes,
        member: bytes | None,
        status: CacheStatus,
        label: str,
        now: float,
        reason: Reason | None,
    ) -> CacheResponse:
        head = response.head
        if isinstance(body, Body) and body.complete and body.length == response.length is not None:
            body = body.take()  # all here already: one write instead of a stream
        length, framed = response.length, False
        if isinstance(body, bytes):
            length = len(body)
            framed = method != b"HEAD" and _says_length(head, length)
        fields = self._relayed(response, added, member, now)
        head = ResponseHead(head.status, head.reason, fields)
        return CacheResponse(head, body, length, status, label, response.tunnel, framed, reason)

    def _relayed(self, response: UpstreamResponse, added: bytes, member: bytes | None, now: float) -> Fields:
        """What a client receives of the fields of ``response``, with what is ``added`` and our ``member``."""
        head = response.head
        lines = fast_relayed_lines(head, now)
        if lines is not None:
            return Fields.decoded(lines + reply.member_lines(added, member))
        if response.tunnel is not None:
            fields = with_date(switching_to_client(head.fields), now)
        else:
            fields = relayed(head.fields, now)
        return reply.with_member(fields, added, member, head.fields)

    def _fetched_member(
        self,
        cache_request: CacheRequest,
        lookup: Lookup,
        entry: CacheEntry | None,
        now: float,
        stored: bool = True,
        detail: bytes | None = None,
    ) -> bytes | None:
        ttl = None if entry is None else entry.ttl(now)
        return self._member(
            lookup.forward or Forward.MISS, ttl, stored and entry is not None, cache_request.collapsed, detail
        )

    def _member(
        self,
        forward: Forward,
        ttl: int | None = None,
        stored: bool = False,
        collapsed: bool | None = None,
        detail: bytes | None = None,
    ) -> bytes | None:
        if self.proxy_name is None:
            return None
        return cache_status.member(
            self.proxy_name, forward=forward, ttl=ttl, stored=stored, collapsed=collapsed, detail=detail
        )


def _whole_block(entry: CacheEntry, status: CacheStatus, member: bytes | None, now: float) -> bytes:
    """The field lines of an answer that is stored as ``entry``, all of them."""
    return b"%bContent-Length: %d\r\nX-Cache-Status: %b\r\n%b%b" % (
        entry.head,
        len(entry.body),
        status.token,
        reply.expiry(entry, now),
        b"" if member is None else b"Cache-Status: %b\r\n" % member,
    )


def _only_relayed(fields: Fields) -> bool:
    """Whether a client gets all of a response's ``fields`` as they are stored."""
    return _NOT_ONLY_RELAYED.isdisjoint(fields.index)


def _says_length(head: ResponseHead, length: int) -> bool:
    """Whether the fields that a client receives frame a body of ``length`` bytes already (RFC 9112 §6)."""
    ordinary = head.ordinary
    if ordinary is not None:
        return ordinary.length == length
    index = head.fields.index
    return (
        head.status >= 200
        and head.status not in _WITHOUT_CONTENT
        and index.get(b"content-length") == [b"%d" % length]
        and b"transfer-encoding" not in index
        and b"content-length" not in connection_options(head.fields)  # then it ends at this hop
    )
