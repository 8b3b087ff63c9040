"""A client's request as the backend receives it, its head written anew (RFC 9110 §7.6).

End-to-end fields pass in their order with their bytes unchanged. What steers a backend without being part of the
key must not come from just anybody, or one client could choose what others see: :mod:`caching_proxy.rules.steering`
says which fields these are. Their names are compared with ``_`` read as ``-``, because many backends do.

Clients repeat themselves: what their field lines become is worked out once for each :class:`Fields`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import attrs

from caching_proxy.http.hop_by_hop import HOP_BY_HOP, hop_by_hop, incoming_request_id, max_forwards, upgrade_wish
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.http.passing_lines import PassingLines
from caching_proxy.rules.steering import steers

_DROP = HOP_BY_HOP | {
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
_COUNTED = frozenset((b"OPTIONS", b"TRACE"))
_FORM = b"Host: %b\r\n%bVia: %b1.%d %b\r\n%bX-Forwarded-Proto: %b\r\nX-Request-ID: %b\r\n"
_FORWARDED_FOR = b"X-Forwarded-For: %b\r\n"
_REMEMBERED = 64  # bytes of a name whose fate is worth remembering


@attrs.frozen(slots=True)
class _Passing:
    """What passes of a client's fields: ``count`` field lines, and what is believed of those that are written anew.

    ``via`` and ``forwarded_for`` are lists to be continued, ended by ``, `` unless empty.
    """

    lines: bytes
    count: int
    via: bytes
    forwarded_for: bytes
    scheme: bytes | None
    request_id: bytes | None


def request_to_backend(
    head: RequestHead,
    *,
    host: bytes,
    client_ip: bytes,
    scheme: bytes,
    request_id: bytes,
    proxy_name: bytes,
    trusted_peer: bool,
    base_path: bytes,
) -> OutgoingRequest:
    """The request as the backend receives it, written anew; Host comes first.

    ``host`` is what the backend is to see in Host, ``base_path`` the prefix of its URL without a trailing ``/``.
    ``trusted_peer``: the peer's forwarding fields are believed and extended, else they start here.
    ``request_id`` is used unless a trusted peer sent one (:func:`incoming_request_id`).
    """
    passing, hops = _passing_of(head, trusted_peer)
    forwarded = b""
    if client_ip:  # a peer on a Unix socket has no address
        forwarded = b"X-Forwarded-For: %b%b\r\n" % (passing.forwarded_for, client_ip)
    elif passing.forwarded_for:
        forwarded = b"X-Forwarded-For: %b\r\n" % passing.forwarded_for[:-2]
    count = passing.count + 4 + (forwarded != b"")
    lines = _FORM % (
        host,
        passing.lines,
        passing.via,
        head.minor,
        proxy_name,
        forwarded,
        passing.scheme or scheme,
        passing.request_id or request_id,
    )
    if hops is not None:
        lines += b"Max-Forwards: %d\r\n" % max(0, hops - 1)
        count += 1
    target = head.target if head.target == b"*" else base_path + head.target
    return OutgoingRequest(head.method, target, lines, count)


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
) -> OutgoingRequest:
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
        base_path=base_path,
    )
    protocol = upgrade_wish(head)
    if protocol is None:
        return sent
    lines = b"%bConnection: upgrade\r\nUpgrade: %b\r\n" % (sent.lines, protocol)
    return OutgoingRequest(sent.method, sent.target, lines, sent.count + 2)


class FastForwarding:
    """:func:`request_to_backend` of a request of HTTP/1.1, from its lines alone.

    Connection must name no field that ends here, and Max-Forwards mean nothing. ``unseen`` says of lower-case names
    whether the backend must not see them (:meth:`Steering.unseen`); ``trusted_peer`` as above.
    ``tests/web/test_fast_pass_alike.py`` compares the two.
    """

    def __init__(
        self, unseen: Callable[[bytes], bool], proxy_name: bytes, base_path: bytes, trusted_peer: bool
    ) -> None:
        self._lines = PassingLines(lambda name: not unseen(name) and not _dropped(name, _DROP, trusted_peer))
        self._proxy_name = proxy_name
        self._base_path = base_path

    def request(
        self,
        method: bytes,
        target: bytes,
        lines: list[bytes],
        host: bytes,
        via: bytes,
        forwarded_for: bytes,
        scheme: bytes,
        request_id: bytes,
    ) -> OutgoingRequest:
        """``via`` is the client's as :func:`continued` has it, ``host`` what the backend sees in Host, and
        ``forwarded_for`` what it sees in X-Forwarded-For, empty for none."""
        passing = [line for line in map(self._lines.__getitem__, lines) if line]
        forwarded = _FORWARDED_FOR % forwarded_for if forwarded_for else b""
        block = b"".join(passing)
        sent = _FORM % (host, block, via, 1, self._proxy_name, forwarded, scheme, request_id)
        count = len(passing) + (5 if forwarded else 4)
        return OutgoingRequest(method, self._base_path + target, sent, count)


def _passing_of(head: RequestHead, trusted_peer: bool) -> tuple[_Passing, int | None]:
    """What passes of the client's fields, and Max-Forwards where it counts (RFC 9110 §7.6.2), which then does not."""
    hops = max_forwards(head.fields) if head.method in _COUNTED else None
    if hops is None:
        return head.fields.derived(_RULES[trusted_peer]), None
    return _passing(head.fields, trusted_peer, _DROP | {b"max-forwards"}), hops


def _passing(fields: Fields, trusted_peer: bool, drop: frozenset[bytes] = _DROP) -> _Passing:
    if fields.lines is not None and drop is _DROP:
        via = fields.told(_plain_via)
        if via is not None:
            lines = [line for line in map(_LINES[trusted_peer].__getitem__, fields.lines) if line]
            if not trusted_peer:
                return _Passing(b"".join(lines), len(lines), via, b"", None, None)
            return _believed(fields, trusted_peer, b"".join(lines), len(lines))
    ending = hop_by_hop(fields)
    gone = drop if ending is HOP_BY_HOP else ending | drop
    known = gone is _DROP and max(map(len, fields.index), default=0) <= _REMEMBERED
    dropped = _remembered_dropped if known else _dropped
    kept = Fields([pair for pair in fields.pairs if not dropped(pair[0], gone, trusted_peer)])
    return _believed(fields, trusted_peer, kept.encoded(), len(kept))


def _plain_via(fields: Fields) -> bytes | None:
    """Via, to be continued; None where Connection names a field that ends here."""
    return continued(fields.joined(b"via")) if hop_by_hop(fields) is HOP_BY_HOP else None


def _believed(fields: Fields, trusted_peer: bool, lines: bytes, count: int) -> _Passing:
    return _Passing(
        lines=lines,
        count=count,
        via=continued(fields.joined(b"via")),
        forwarded_for=continued(fields.joined(b"x-forwarded-for") if trusted_peer else None),
        scheme=fields.first(b"x-forwarded-proto") if trusted_peer else None,
        request_id=incoming_request_id(fields, trusted_peer),
    )


_RULES = {trusted_peer: partial(_passing, trusted_peer=trusted_peer) for trusted_peer in (False, True)}


def _dropped(name: bytes, gone: frozenset[bytes], trusted_peer: bool) -> bool:
    lower = name.lower()
    if lower in gone:
        return True
    plain = lower
    if b"_" in lower:
        plain = lower.replace(b"_", b"-")
        if plain in gone:
            return True
    if not steers(plain):
        return False
    if plain != lower:  # no proxy writes them so
        return True
    return not trusted_peer


_remembered_dropped = lru_cache(1024)(_dropped)


def _lines(trusted_peer: bool) -> PassingLines:
    return PassingLines(lambda name: not _dropped(name, _DROP, trusted_peer))


_LINES = {trusted_peer: _lines(trusted_peer) for trusted_peer in (False, True)}
"""Lines as the backend gets them where Connection names no field that ends here."""


def continued(existing: bytes | None) -> bytes:
    """A list field as it is continued: ended by ``, `` unless empty."""
    return existing + b", " if existing else b""
