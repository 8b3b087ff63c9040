"""Header fields on their way through: what ends at this hop and what the proxy adds (RFC 9110 §7.6).

End-to-end fields pass in their order with their bytes unchanged. What steers a backend without being part of the
key must not come from just anybody on a request whose answer may be shared, or one client could choose what others
see. Names in that list are compared with ``_`` read as ``-``, because many backends do.
"""

from __future__ import annotations

import re
from functools import lru_cache

from caching_proxy.core.cache_control import delta_seconds
from caching_proxy.core.dates import format_date, parse_date
from caching_proxy.core.messages import Field, Fields, RequestHead, ResponseHead

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",  # trailers are not passed on
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Removed in both directions whether Connection names them or not (RFC 9110 §7.6.1)."""

OWN_RESPONSE_FIELDS = frozenset((b"x-cache-status", b"x-cache-expires-in", b"x-cache-expires-at"))
"""Set by this proxy alone; an inner proxy's are not passed on."""

FORWARD_CLIENT_DROP = HOP_BY_HOP | OWN_RESPONSE_FIELDS
"""Response fields that no client ever receives as the backend sent them."""

_REQUEST_DROP = HOP_BY_HOP | {
    b"host",
    b"content-length",  # the sender frames the body anew
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
    b"cache-refresh",
    b"x-cache-refresh",
    b"http2-settings",
    b"proxy",  # becomes HTTP_PROXY under CGI
}
_SPOOFABLE = frozenset((b"forwarded", b"x-host", b"x-real-ip", b"x-url-scheme", b"front-end-https"))
_STEERING = frozenset(
    (
        b"proxy-authorization",
        b"x-client-ip",
        b"client-ip",
        b"x-base-url",
        b"x-cluster-client-ip",
        b"x-envoy-original-path",
        b"x-forward-for",
        b"x-forwarded",
        b"x-http-path-override",
        b"x-http-host-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-method",
        b"x-original-path",
        b"x-original-uri",
        b"x-original-url",
        b"x-override-url",
        b"x-rewrite-url",
        b"x-script-name",
        b"x-wap-profile",
        b"true-client-ip",
    )
)
_NAMES_NO_FIELD = frozenset((b"keep-alive", b"close"))
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_OWS = b" \t"
_REMEMBERED = 64  # bytes of a name or line whose meaning is worth remembering: clients repeat themselves


def connection_options(fields: Fields) -> tuple[bytes, ...]:
    """The lower-case tokens of all Connection lines, in order."""
    lines = fields.all(b"connection")
    if not lines:
        return ()
    line = lines[0] if len(lines) == 1 else b",".join(lines)
    return _known_options(line) if len(line) <= _REMEMBERED else _options(line)


def _options(line: bytes) -> tuple[bytes, ...]:
    found = (part.strip(_OWS).lower() for part in line.split(b","))
    return tuple(option for option in found if _TOKEN.fullmatch(option))


_known_options = lru_cache(256)(_options)


def hop_by_hop(fields: Fields) -> frozenset[bytes]:
    """Lower-case names of what ends at this hop: the fixed set and whatever Connection names."""
    options = connection_options(fields)
    return HOP_BY_HOP if HOP_BY_HOP.issuperset(options) else HOP_BY_HOP.union(options)


def end_to_end(request: RequestHead) -> RequestHead:
    """``request`` less what ends at this hop: the fields that may select a variant, since the backend sees them.

    A Connection that names nothing but itself leaves all others in place, so the request stays as it is.
    """
    if set(connection_options(request.fields)) <= _NAMES_NO_FIELD:
        return request
    return RequestHead(
        request.method, request.target, request.fields.without(hop_by_hop(request.fields)), request.minor
    )


def response_to_client(fields: Fields) -> Fields:
    """What of a backend's response a client receives, before the proxy adds its own fields.

    With a Transfer-Encoding, Content-Length means nothing and goes as well (RFC 9112 §6.3).
    """
    ending = hop_by_hop(fields)
    gone = FORWARD_CLIENT_DROP if ending is HOP_BY_HOP else ending | OWN_RESPONSE_FIELDS
    if b"transfer-encoding" in fields:
        gone |= {b"content-length"}
    return fields.without(gone)


def with_date(fields: Fields, received_at: float) -> Fields:
    """``fields`` with a Date: its own if valid, else the time of receipt (RFC 9110 §6.6.1)."""
    value = fields.first(b"date")
    if value is not None and parse_date(value, received_at) is not None:
        return fields
    return fields.without((b"date",)).plus((b"Date", format_date(received_at)))


def request_to_backend(
    head: RequestHead,
    *,
    host: bytes,
    client_ip: bytes,
    scheme: bytes,
    request_id: bytes,
    proxy_name: bytes,
    trusted_peer: bool,
    cacheable: bool,
    base_path: bytes,
) -> RequestHead:
    """The request as the backend receives it, written anew; Host comes first.

    ``host`` is what the backend is to see in Host, ``base_path`` the prefix of its URL without a trailing ``/``.
    ``trusted_peer``: the peer's forwarding fields are believed and extended, else they start here. ``request_id`` is
    used unless a trusted peer sent one (:func:`incoming_request_id`). The sender adds framing and Connection.
    """
    old = head.fields
    ending = hop_by_hop(old)
    gone = _REQUEST_DROP if ending is HOP_BY_HOP else ending | _REQUEST_DROP
    hops = max_forwards(old) if head.method in (b"OPTIONS", b"TRACE") else None
    if hops is not None:
        gone |= {b"max-forwards"}
    dropped = _known_dropped if gone is _REQUEST_DROP else _dropped
    kept = [pair for pair in old.pairs if not dropped(pair[0], gone, trusted_peer, cacheable)]
    added: list[Field] = [
        (b"Via", _appended(old.joined(b"via"), b"1.%d %b" % (head.minor, proxy_name))),
        (b"X-Forwarded-Proto", (old.first(b"x-forwarded-proto") if trusted_peer else None) or scheme),
        (b"X-Request-ID", incoming_request_id(old, trusted_peer) or request_id),
    ]
    if client_ip:  # a peer on a Unix socket has no address
        believed = old.joined(b"x-forwarded-for") if trusted_peer else None
        added.insert(1, (b"X-Forwarded-For", _appended(believed, client_ip)))
    if hops is not None:
        added.append((b"Max-Forwards", b"%d" % max(0, hops - 1)))
    target = head.target if head.target == b"*" else base_path + head.target
    return RequestHead(head.method, target, Fields([(b"Host", host), *kept, *added]))


def upgrade_to_backend(
    head: RequestHead,
    *,
    host: bytes,
    client_ip: bytes,
    scheme: bytes,
    request_id: bytes,
    proxy_name: bytes,
    trusted_peer: bool,
    base_path: bytes,
) -> RequestHead:
    """Like :func:`request_to_backend`, for a request that asks to leave HTTP: ``Connection: upgrade`` and what
    :func:`upgrade_wish` lets through of Upgrade stay. Such an answer is never shared."""
    sent = request_to_backend(
        head,
        host=host,
        client_ip=client_ip,
        scheme=scheme,
        request_id=request_id,
        proxy_name=proxy_name,
        trusted_peer=trusted_peer,
        cacheable=False,
        base_path=base_path,
    )
    protocol = upgrade_wish(head)
    if protocol is None:
        return sent
    pairs = ((b"Connection", b"upgrade"), (b"Upgrade", protocol))
    return RequestHead(sent.method, sent.target, sent.fields.plus(*pairs))


def upgrade_wish(request: RequestHead) -> bytes | None:
    """The protocol that ``request`` may leave HTTP for, as sent; None where Upgrade is to be ignored.

    WebSocket is the only one: through ``h2c`` or ``TLS/1.0`` a client could speak HTTP to the backend behind our back.
    The field counts only in HTTP/1.1 and with Connection naming it (RFC 9110 §7.8).
    """
    if request.minor < 1 or request.method != b"GET" or b"upgrade" not in connection_options(request.fields):
        return None
    offered = (part.strip(_OWS) for line in request.fields.all(b"upgrade") for part in line.split(b","))
    return next((protocol for protocol in offered if protocol.lower() == b"websocket"), None)


def switched(sent: RequestHead, response: ResponseHead) -> bool:
    """Whether a 101 switches to what ``sent`` offered and to nothing else (RFC 9110 §7.8)."""
    wish = upgrade_wish(sent)
    return wish is not None and [value.strip(_OWS).lower() for value in response.fields.all(b"upgrade")] == [
        wish.lower()
    ]


def switching_to_client(fields: Fields) -> Fields:
    """Like :func:`response_to_client` for a 101: Upgrade stays, and there is no content to describe."""
    kept = response_to_client(fields).without((b"content-length",))
    return kept.plus((b"Connection", b"upgrade"), *((b"Upgrade", name) for name in fields.all(b"upgrade")))


def incoming_request_id(fields: Fields, trusted_peer: bool) -> bytes | None:
    """The X-Request-ID that a trusted peer gave, if there is one of printable ASCII and at most 128 bytes."""
    value = fields.first(b"x-request-id") if trusted_peer else None
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def is_loop(fields: Fields, proxy_name: bytes) -> bool:
    """Whether a Via names this proxy: the request went round (RFC 9110 §7.6.3)."""
    name = proxy_name.lower()
    for line in fields.all(b"via"):
        for member in _without_comments(line).lower().split(b","):
            words = member.split()
            if len(words) > 1 and words[1] == name:
                return True
    return False


def max_forwards(fields: Fields) -> int | None:
    """Max-Forwards as a number, None if it is missing or not a number (RFC 9110 §7.6.2)."""
    value = fields.first(b"max-forwards")
    return None if value is None else delta_seconds(value)


def _dropped(name: bytes, gone: frozenset[bytes], trusted_peer: bool, cacheable: bool) -> bool:
    lower = name.lower()
    if lower in gone:
        return True
    plain = lower
    if b"_" in lower:
        plain = lower.replace(b"_", b"-")
        if plain in gone:
            return True
    spoofable = plain in _SPOOFABLE or plain.startswith(b"x-forwarded-")
    if plain != lower and (spoofable or plain in _STEERING):  # no proxy writes them so
        return True
    if trusted_peer:
        return False
    return spoofable or (cacheable and plain in _STEERING)


_remembered_dropped = lru_cache(1024)(_dropped)


def _known_dropped(name: bytes, gone: frozenset[bytes], trusted_peer: bool, cacheable: bool) -> bool:
    decide = _remembered_dropped if len(name) <= _REMEMBERED else _dropped
    return decide(name, gone, trusted_peer, cacheable)


def _appended(existing: bytes | None, member: bytes) -> bytes:
    return b"%b, %b" % (existing, member) if existing else member


def _without_comments(value: bytes) -> bytes:
    """``value`` less its parenthesised comments, which may nest (RFC 9110 §5.6.5)."""
    if b"(" not in value:
        return value
    kept, depth, escaped = bytearray(), 0, False
    for byte in value:
        if depth and not escaped and byte == 0x5C:
            escaped = True
            continue
        if not escaped and byte == 0x28:
            depth += 1
        elif not escaped and byte == 0x29 and depth:
            depth -= 1
        elif not depth:
            kept.append(byte)
        escaped = False
    return bytes(kept)
