"""Who may use the guarded admin endpoints.

The token is compared in constant time and guessing is slowed down: after ten wrong tokens from one peer within a
minute, that peer is refused until the oldest of them is a minute old, right token or not. Pages of other sites get
nothing even where the endpoints are open: browsers say where a request comes from (Fetch Metadata), and nothing here
uses cookies or sends CORS fields.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque
from hashlib import sha256
from hmac import compare_digest

from twisted.internet.interfaces import IReactorTime

from caching_proxy.http.messages import RequestHead
from caching_proxy.web.admin.json_answers import RequestRefused

MAX_FAILURES = 10
WINDOW_SECONDS = 60.0
MAX_PEERS = 1000

HOW_TO_ENABLE = (
    "this endpoint is disabled: set ADMIN_TOKEN and send it as 'Authorization: Bearer <token>', "
    "or set ADMIN_AUTH=none to open it to everybody who can reach it"
)


class Guard:
    """``token`` is the secret, None if there is none; ``open_`` lets everybody in."""

    def __init__(self, token: bytes | None, open_: bool, clock: IReactorTime) -> None:
        self._digest = sha256(token).digest() if token else None
        self._open = open_
        self._failures = Failures(clock)

    def check(self, head: RequestHead, peer: bytes) -> None:
        """Returns if ``head``, sent by the address ``peer``, may go on; else raises :class:`RequestRefused`."""
        if head.fields.first(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise RequestRefused(403, "requests from other sites are refused")
        if self._open:
            return
        if self._digest is None:
            raise RequestRefused(403, HOW_TO_ENABLE)
        wait = self._failures.wait(peer)
        if wait:
            raise RequestRefused(429, "too many wrong tokens", [(b"Retry-After", b"%d" % wait)])
        presented = _bearer(head)
        if presented is not None and compare_digest(sha256(presented).digest(), self._digest):
            return
        if presented is not None:
            self._failures.count(peer)
        text = "the admin token is needed" if presented is None else "this is not the admin token"
        raise RequestRefused(401, text, [(b"WWW-Authenticate", b'Bearer realm="admin"')])


def _bearer(head: RequestHead) -> bytes | None:
    """What is presented as a token: the credentials of the one ``Authorization`` field, empty if it is another kind."""
    values = head.fields.all(b"authorization")
    if not values:
        return None
    scheme, _, token = values[0].strip(b" \t").partition(b" ")
    return token.strip(b" \t") if len(values) == 1 and scheme.lower() == b"bearer" else b""


class Failures:
    """Times of recent failures by peer, for a bounded number of peers."""

    def __init__(self, clock: IReactorTime) -> None:
        self._now = clock.seconds
        self._times: OrderedDict[bytes, deque[float]] = OrderedDict()

    def count(self, peer: bytes) -> None:
        """One more failure now."""
        network = _network(peer)
        self._times.setdefault(network, deque(maxlen=MAX_FAILURES)).append(self._now())
        self._times.move_to_end(network)
        if len(self._times) > MAX_PEERS:
            self._times.popitem(last=False)

    def wait(self, peer: bytes) -> int:
        """Whole seconds for which ``peer`` must wait, 0 for not at all."""
        times = self._times.get(_network(peer))
        if times is None or len(times) < MAX_FAILURES:
            return 0
        return max(0, math.ceil(times[0] + WINDOW_SECONDS - self._now()))


def _network(peer: bytes) -> bytes:
    """An IPv6 host has a whole /64 to send from; it counts as one peer."""
    try:
        address = ipaddress.ip_address(peer.decode("ascii").partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    return (address.ipv4_mapped or ipaddress.IPv6Address(address.packed[:8] + bytes(8))).packed
