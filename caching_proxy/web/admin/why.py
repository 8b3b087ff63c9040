"""``POST /_cache/why``: what the cache would do with a request, and why, without sending it on."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from caching_proxy.cache.requests import ClientRequest
from caching_proxy.cache.why import Explanation, InTier
from caching_proxy.http.body import Body
from caching_proxy.http.framing import NONE, BadMessage
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import Identity
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.key import key_bytes, key_text
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.own_prefix import under_own_prefix
from caching_proxy.rules.reasons import CLIMBS, FOREIGN_HOST, OWN_ENDPOINT, Reason
from caching_proxy.server.request_head import HeadParser
from caching_proxy.web.admin.json_answers import AdminRequest, RequestRefused
from caching_proxy.web.admin.presentation import variant
from caching_proxy.web.front import Front, NotAdmitted

_ABSOLUTE = re.compile(rb"(https?)://", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\r\n\0]")


@attrs.frozen(slots=True)
class ExplainedRequest:
    """A request to be explained; ``body`` stands for one whose fields announce content."""

    head: RequestHead
    body: Body
    scheme: bytes


def asked(member: dict[str, object], request: AdminRequest) -> ExplainedRequest:
    """The request that ``member`` describes, read by the very parser of requests; raises :class:`RequestRefused`."""
    if unknown := sorted(member.keys() - {"url", "method", "headers"}):  # misspelt, it would explain another request
        raise RequestRefused(400, f'"{unknown[0]}" is unknown; there are "url", "method" and "headers"')
    url, method = _text(member, "url", None), _text(member, "method", "GET")
    absolute = _ABSOLUTE.match(url)
    scheme = request.scheme if absolute is None else absolute[1].lower()
    lines = _lines(member.get("headers", {}))
    if absolute is None and not any(line[:5].lower() == b"host:" for line in lines):
        lines.insert(0, b"Host: " + (request.head.fields.first(b"host") or b"localhost"))
    elif absolute is not None and not any(line[:5].lower() == b"host:" for line in lines):
        lines.insert(0, b"Host: " + url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0])
    start = b"%b %b HTTP/1.1" % (method, url)
    parser: HeadParser[Any, Any] = HeadParser(remembered=0)
    try:
        parsed = parser.parse(b"\r\n".join((start, *lines, b"", b"")))
    except BadMessage as problem:
        raise RequestRefused(400, f"the proxy would refuse this request with {problem.status}: {problem}") from problem
    return ExplainedRequest(parsed.head, Body.of(b"" if parsed.framing == NONE else b"-"), scheme)


def _text(member: dict[str, object], name: str, default: str | None) -> bytes:
    value = member.get(name, default)
    encoded = _encoded(value) if isinstance(value, str) and " " not in value else None
    if not encoded:
        raise RequestRefused(400, f'"{name}" must be a text that is not empty, without blanks and line ends')
    return encoded


def _lines(headers: object) -> list[bytes]:
    wrong = RequestRefused(400, '"headers" must be an object of texts or lists of texts, without line ends')
    if not isinstance(headers, dict):
        raise wrong
    lines = []
    for name, values in headers.items():
        for value in values if isinstance(values, list) else [values]:
            line = _encoded(f"{name}: {value}") if isinstance(value, str) else None
            if line is None:
                raise wrong
            lines.append(line)
    return lines


def _encoded(text: str) -> bytes | None:
    """``text`` as bytes, None where it could not stand in a head."""
    try:
        return None if _FORBIDDEN.search(text) else key_bytes(text)
    except ValueError:
        return None


class Why:
    """``front`` lets requests in, ``explain`` tells what the pipeline would do with what it lets in. ``own`` are paths
    that the proxy answers itself on the port of its clients; ``roles_from`` says why roles of a token are believed."""

    def __init__(
        self,
        front: Front,
        explain: Callable[[ClientRequest], Awaitable[Explanation]],
        own: frozenset[bytes],
        roles_from: str,
        now: Callable[[], float],
    ) -> None:
        self._front = front
        self._explain = explain
        self._own = own
        self._roles_from = roles_from
        self._now = now

    async def __call__(self, question: ExplainedRequest, client_ip: bytes) -> dict[str, object]:
        """The answer as JSON."""
        target = question.head.target
        if under_own_prefix(target) or target.partition(b"?")[0] in self._own:
            return self._shown(_unseen(CacheStatus.NOT_APPLICABLE, OWN_ENDPOINT), question.head)
        admitted = self._front.admitted(question.head, question.body, client_ip, question.scheme)
        if not isinstance(admitted, ClientRequest):
            reason = CLIMBS if admitted is NotAdmitted.CLIMBS else FOREIGN_HOST
            return self._shown(_unseen(CacheStatus.ERROR, reason), question.head)
        return self._shown(await self._explain(admitted), question.head)

    def _shown(self, told: Explanation, head: RequestHead) -> dict[str, object]:
        now = self._now()
        advice = list(dict.fromkeys(reason.advice for reason in told.reasons if reason.advice))
        return {
            "identity": {"role": _role(told.identity), "how": self._how(told.identity, head)},
            "key": None if told.key is None else key_text(told.key),
            "verdict": told.status.text,
            "reasons": [{"rule": each.rule, "rfc": each.rfc, "text": each.text} for each in told.reasons],
            "tiers": {
                "hot": _tier(told.hot, now),
                "burst": _tier(told.burst, now),
                "store": _tier(told.store, now),
            },
            "freshness": None if told.entry is None else _freshness(told.entry, now),
            "advice": advice if told.status not in (CacheStatus.HOT_HIT, CacheStatus.HIT) else [],
        }

    def _how(self, identity: Identity | None, head: RequestHead) -> str:
        if identity is None:
            return "not looked at"
        credentials = head.fields.all(b"authorization")
        if identity.role is None:
            return "Authorization holds a token that was refused, or more than one credential"
        if not credentials:
            return "no Authorization field"
        if identity.label == "opaque":
            return "Authorization holds no JWT: only what everybody may share is stored or reused"
        return f"the roles in the JWT of Authorization, {self._roles_from}"


def _unseen(status: CacheStatus, reason: Reason) -> Explanation:
    return Explanation(identity=None, status=status, reasons=(reason,))


def _role(identity: Identity | None) -> str | None:
    return None if identity is None or identity.role is None else identity.role.decode("latin-1")


def _tier(held: InTier | None, now: float) -> dict[str, object] | None:
    if held is None:
        return None
    shown: dict[str, object] = {
        "variants": len(held.entries),
        "variant": None if held.chosen is None else variant(held.chosen, now),
    }
    if held.trouble is not None:
        shown["trouble"] = held.trouble.value
    return shown


def _freshness(entry: CacheEntry, now: float) -> dict[str, object]:
    """The arithmetic, in seconds: what is left is lifetime less age (RFC 9111 §4.2)."""
    return {
        "age": entry.age(now),
        "lifetime": entry.lifetime,
        "expiresIn": entry.ttl(now),
        "staleWhileRevalidate": entry.stale_while_revalidate,
        "staleIfError": entry.stale_if_error,
        "goneIn": int(entry.gone_at - now),
        "flags": _flags(entry.flags),
    }


def _flags(flags: Flag) -> Sequence[str]:
    return [(flag.name or "").lower().replace("_", "-") for flag in Flag if flag in flags]
