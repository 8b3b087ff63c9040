"""Making replies: an answer's head with the fields that explain it.

Errors made here are JSON, carry no ``Cache-Status`` (RFC 9211 §2), and keep internals to themselves unless
``details`` is set.
"""

from __future__ import annotations

import attrs

from caching_proxy.body import Body
from caching_proxy.cache.exchange import Incoming, Question, Reply
from caching_proxy.core import cache_status, reply
from caching_proxy.core.answer import answer
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.errors import error_response
from caching_proxy.core.headers import response_to_client, switching_to_client, with_date
from caching_proxy.core.lookup import Lookup, may_serve_disconnected, may_serve_on_error
from caching_proxy.core.messages import Field, Fields, ResponseHead
from caching_proxy.core.outcome import CacheStatus, Forward
from caching_proxy.interfaces import Identity, UpstreamError, UpstreamProtocolError, UpstreamResponse, UpstreamTimeout


@attrs.frozen(slots=True)
class Replies:
    """``proxy_name`` None leaves ``Cache-Status`` off."""

    proxy_name: bytes | None
    details: bool = False

    def stored(
        self,
        question: Question,
        entry: CacheEntry,
        status: CacheStatus,
        now: float,
        lookup: Lookup | None = None,
        forward_status: int | None = None,
    ) -> Reply:
        """From a stored response: the whole, a part or a 304.

        ``lookup`` explains a forward that led here, ``forward_status`` is what the backend answered to it.
        """
        made = answer(question.head, entry, now)
        member = None
        if lookup is not None and self.proxy_name is not None:
            member = cache_status.member(
                self.proxy_name,
                forward=lookup.forward or Forward.STALE,
                forward_status=None if forward_status == made.head.status else forward_status,
                ttl=entry.ttl(now),
                collapsed=question.collapsed,
            )
        added = reply.stored_answer(entry, status, now, self.proxy_name, member)
        fields = reply.without_cache_status(made.head.fields, self.proxy_name)
        head = ResponseHead(made.head.status, made.head.reason, fields.plus(*added))
        entry.slim()
        return Reply(head, made.body, len(made.body), status, question.identity.label)

    def fetched(
        self,
        question: Question,
        lookup: Lookup,
        response: UpstreamResponse,
        body: bytes | Body,
        entry: CacheEntry | None,
        now: float,
    ) -> Reply:
        """The backend's own answer; ``entry`` is what is stored of it, if anything."""
        status = question.fetch_status
        added: tuple[Field, ...] = ((b"X-Cache-Status", status.value),)
        if entry is not None:
            added += reply.expiry(entry, now)
        member = self._member(
            forward=lookup.forward or Forward.MISS,
            ttl=None if entry is None else entry.ttl(now),
            stored=entry is not None,
            collapsed=question.collapsed,
        )
        return self._relay(response, body, added, member, status, question.identity.label, now)

    def passed(
        self,
        identity: Identity,
        response: UpstreamResponse,
        status: CacheStatus,
        now: float,
        body: bytes | Body | None = None,
        entry: CacheEntry | None = None,
    ) -> Reply:
        """The backend's answer to a request that was not looked up; ``entry`` is what is stored of it all the same,
        ``body`` stands for the response's own then."""
        forward = Forward.METHOD if status is CacheStatus.NOT_APPLICABLE else Forward.BYPASS
        added: tuple[Field, ...] = ((b"X-Cache-Status", status.value),)
        if entry is not None:
            added += reply.expiry(entry, now)
        member = self._member(forward, None if entry is None else entry.ttl(now), entry is not None)
        sent = response.body if body is None else body
        return self._relay(response, sent, added, member, status, identity.label, now)

    def without_backend(self, question: Question, lookup: Lookup, error: UpstreamError, now: float) -> Reply:
        """What can be said while the backend is unreachable: something stale, else 502 or 504."""
        entry = lookup.entry
        if entry is not None and (
            may_serve_disconnected(entry, now) or may_serve_on_error(entry, question.control, now)
        ):
            return self.stored(question, entry, CacheStatus.STALE, now)
        strict = entry is not None  # a stored response that may not be served stale: 504 (RFC 9111 §4.2.4)
        return self.failed(question.identity, error, strict)

    def failed(self, identity: Identity, error: UpstreamError, strict: bool = False) -> Reply:
        """502, or 504 where it took too long or nothing but a stale answer was left."""
        if strict or isinstance(error, UpstreamTimeout):
            return self._error(504, b"Gateway Timeout", "The backend did not answer in time", identity.label, error)
        broken = isinstance(error, UpstreamProtocolError)
        text = "The backend gave no usable response" if broken else "The backend could not be reached"
        return self._error(502, b"Bad Gateway", text, identity.label, error)

    def only_if_cached(self, question: Question) -> Reply:
        """Nothing stored may be used and the client forbade forwarding (RFC 9111 §5.2.1.7)."""
        text = "Nothing usable is cached"
        return self._error(504, b"Gateway Timeout", text, question.identity.label, status=CacheStatus.MISS)

    def loop(self) -> Reply:
        """The request has been here before (RFC 9110 §7.6.3)."""
        return self._error(508, b"Loop Detected", "This request has passed here before", "unknown")

    def final_recipient(self, incoming: Incoming) -> Reply:
        """OPTIONS or TRACE whose Max-Forwards ended here (RFC 9110 §7.6.2)."""
        status, allow = CacheStatus.NOT_APPLICABLE, (b"Allow", b"GET, HEAD, OPTIONS")
        if incoming.head.method == b"OPTIONS":
            fields = Fields((allow, (b"X-Cache-Status", status.value)))
            return Reply(ResponseHead(204, b"No Content", fields), b"", 0, status, "unknown")
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
    ) -> Reply:
        details = f"{type(error).__name__}: {error}" if self.details and error is not None else None
        head, body = error_response(code, reason, text, status, *more, details=details)
        return Reply(head, body, len(body), status, label)

    def _relay(
        self,
        response: UpstreamResponse,
        body: bytes | Body,
        added: tuple[Field, ...],
        member: bytes | None,
        status: CacheStatus,
        label: str,
        now: float,
    ) -> Reply:
        passed = response_to_client if response.tunnel is None else switching_to_client
        fields = with_date(passed(response.head.fields), now).plus(*added)
        fields = reply.replace_cache_status(fields, member)
        length = len(body) if isinstance(body, bytes) else response.length
        head = ResponseHead(response.head.status, response.head.reason, fields)
        return Reply(head, body, length, status, label, response.tunnel)

    def _member(
        self, forward: Forward, ttl: int | None = None, stored: bool = False, collapsed: bool | None = None
    ) -> bytes | None:
        if self.proxy_name is None:
            return None
        return cache_status.member(self.proxy_name, forward=forward, ttl=ttl, stored=stored, collapsed=collapsed)
