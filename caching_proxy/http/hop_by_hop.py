"""Header fields on their way through: what ends at this hop and what the proxy adds (RFC 9110 §7.6).

End-to-end fields pass in their order with their bytes unchanged. What the backend gets is in
:mod:`caching_proxy.rules.forwarding`.
"""

from __future__ import annotations

import re

from caching_proxy.http.cache_control import delta_seconds
from caching_proxy.http.dates import format_date, parse_date
from caching_proxy.http.framing import connection_options
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.passing_lines import PassingLines

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

TAG_FIELDS = frozenset((b"surrogate-key", b"cache-tag"))
"""Meant for caches, by which they invalidate; what is made of them stands in :mod:`caching_proxy.rules.tags`."""

OWN_RESPONSE_FIELDS = frozenset((b"x-cache-status", b"x-cache-expires-in", b"x-cache-expires-at")) | TAG_FIELDS
"""Set by this proxy alone, or meant for it alone; an inner proxy's are not passed on."""

FORWARD_CLIENT_DROP = HOP_BY_HOP | OWN_RESPONSE_FIELDS
"""Response fields that no client ever receives as the backend sent them."""

NAMES_NO_FIELD = frozenset((b"keep-alive", b"close"))
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_OWS = b" \t"


def hop_by_hop(fields: Fields) -> frozenset[bytes]:
    """Lower-case names of what ends at this hop: the fixed set and whatever Connection names."""
    options = connection_options(fields)
    return HOP_BY_HOP if HOP_BY_HOP.issuperset(options) else HOP_BY_HOP.union(options)


def end_to_end(fields: Fields) -> Fields:
    """A request's fields less what ends at this hop: those that may select a variant, since the backend sees them.

    A Connection that names nothing but itself leaves all others in place, so the fields stay the same object.
    """
    if NAMES_NO_FIELD.issuperset(connection_options(fields)):
        return fields
    return fields.without(hop_by_hop(fields))


def response_to_client(fields: Fields) -> Fields:
    """What of a backend's response a client receives, before the proxy adds its own fields.

    With a Transfer-Encoding, Content-Length means nothing and goes as well (RFC 9112 §6.3).
    """
    return _less(fields, hop_by_hop(fields))


def _less(fields: Fields, ending: frozenset[bytes]) -> Fields:
    gone = FORWARD_CLIENT_DROP if ending is HOP_BY_HOP else ending | OWN_RESPONSE_FIELDS
    if b"transfer-encoding" in fields.index:
        gone |= {b"content-length"}
    return fields.without(gone)


def dated(fields: Fields, received_at: float) -> bool:
    """Whether there is a Date, and a valid one."""
    value = fields.first(b"date")
    return value is not None and parse_date(value, received_at) is not None


def with_date(fields: Fields, received_at: float) -> Fields:
    """``fields`` with a Date: its own if valid, else the time of receipt (RFC 9110 §6.6.1)."""
    if dated(fields, received_at):
        return fields
    return fields.without((b"date",)).plus((b"Date", format_date(received_at)))


def relayed(fields: Fields, received_at: float) -> Fields:
    """What a client receives of a backend's response: :func:`response_to_client` :func:`with_date`."""
    ending = hop_by_hop(fields)
    kept = _less(fields, ending)
    said = fields if ending is HOP_BY_HOP else kept  # Connection might name Date
    return kept if dated(said, received_at) else with_date(kept, received_at)


def fast_relayed_lines(head: ResponseHead, received_at: float) -> bytes | None:
    """:func:`relayed` as it stands on the wire, where that is what the lines of an ordinary ``head`` are by
    themselves; None where it has to be worked out. ``tests/upstream/test_head_lines.py`` compares the two."""
    ordinary, lines = head.ordinary, head.fields.lines
    if ordinary is None or lines is None or parse_date(ordinary.date, received_at) is None:
        return None
    return _TO_CLIENT.together(lines)


_TO_CLIENT = PassingLines(lambda name: name not in FORWARD_CLIENT_DROP)


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
    return value if value is not None and is_request_id(value) else None


def is_request_id(value: bytes) -> bool:
    """Whether an X-Request-ID is one to go by."""
    return _REQUEST_ID.fullmatch(value) is not None


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
