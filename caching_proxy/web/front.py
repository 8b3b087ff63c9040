"""What becomes of a request before the cache sees it: refused, or with only those fields that are believed."""

from __future__ import annotations

import enum
from collections.abc import Callable

from caching_proxy.cache.requests import ClientRequest, Plan
from caching_proxy.http.body import Body
from caching_proxy.http.hop_by_hop import incoming_request_id
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.rules.climbing import climbs
from caching_proxy.rules.steering import Door, Steering
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers


class NotAdmitted(enum.Enum):
    """Why a request is not let in."""

    CLIMBS = "climbs"
    HOST = "host"


class Front:
    """``new_request_id`` gives printable ASCII that is unlikely to recur."""

    def __init__(
        self, peers: TrustedPeers, hosts: HostPolicy, steering: Steering, new_request_id: Callable[[], bytes]
    ) -> None:
        self.peers = peers
        self.hosts = hosts
        self.steering = steering
        self._door = Door(steering)
        self.new_request_id = new_request_id

    def admitted(
        self,
        head: RequestHead,
        body: Body,
        client_ip: bytes,
        scheme: bytes,
        on_interim: Callable[[ResponseHead], None] | None = None,
        plan: Plan | None = None,
    ) -> ClientRequest | NotAdmitted:
        """The request as the cache sees it, sent by the peer ``client_ip``; ``plan`` is the hot path's."""
        port = b""
        if plan is None and climbs(head.target):  # none is made for those that do
            return NotAdmitted.CLIMBS
        if self.hosts.particular:
            if not self.hosts.allows(head.fields):
                return NotAdmitted.HOST
            port = self.hosts.port(head.fields, scheme)
            head = self.hosts.settled(head)
        trusted = self.peers.trusts(client_ip)
        head = self._door.admitted(head, trusted)
        return ClientRequest(
            head,
            body,
            client_ip,
            (trusted and incoming_request_id(head.fields, True)) or self.new_request_id(),
            scheme,
            trusted,
            on_interim,
            self.peers.client_behind(client_ip, head.fields.joined(b"x-forwarded-for") or b"")
            if trusted
            else client_ip,
            port,
            self.steering.told(head.fields) if trusted else b"",
            plan=plan,
        )

    def passed(
        self, head: RequestHead, client_ip: bytes, scheme: bytes, request_id: bytes, trusted: bool, peer: bytes
    ) -> ClientRequest:
        """What :meth:`admitted` makes of a request that was let in, for whoever has sent its body already and knows
        the rest: whether its peer is ``trusted``, and the ``peer`` behind that."""
        port = self.hosts.port(head.fields, scheme)
        head = self.seen(head, trusted)
        steered = self.steering.told(head.fields) if trusted else b""
        return ClientRequest(head, Body.of(b""), client_ip, request_id, scheme, trusted, None, peer, port, steered)

    def seen(self, head: RequestHead, trusted: bool) -> RequestHead:
        """What of a request that was let in the cache and the backend get to see."""
        return self._door.admitted(self.hosts.settled(head), trusted)
