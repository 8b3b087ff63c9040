"""Clients that come by TLS: handshakes within bounds, then the protocol that they chose.

A handshake counts as a connection, has a deadline, and the oldest gives way when there are too many: who does not
finish makes room for those who do. Signing takes a millisecond or so; after :data:`TURN_SECONDS` of it others have
their turn.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.peer import host_of
from caching_proxy.server.refusal import refusal
from caching_proxy.server.site import ProxySite
from caching_proxy.transport.native import BytesProtocol
from caching_proxy.transport.tls_server import TLSConnection

MOST = 1000
"""Handshakes under way at once."""

SECONDS = 10.0
"""What one may take, unless a head has less time."""

TURN_SECONDS = 0.005
"""Time for handshakes in one turn of the loop."""

LINGER_SECONDS = 2.0


class Handshakes:
    """Those under way, oldest first, and whose turn it is."""

    def __init__(self, clock: IReactorTime, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._under_way: dict[TLSClient, None] = {}
        self._queue: deque[TLSClient] = deque()
        self._spent = 0.0
        self._renewing = False

    def __len__(self) -> int:
        return len(self._under_way)

    def begun(self, client: TLSClient) -> None:
        self._under_way[client] = None
        if len(self._under_way) > self._most:
            next(iter(self._under_way)).abort()

    def ended(self, client: TLSClient) -> None:
        self._under_way.pop(client, None)

    def step(self, client: TLSClient) -> None:
        """Let ``client`` go on, now or when others have had their turn."""
        if self._queue or self._spent >= TURN_SECONDS:
            self._queue.append(client)
        else:
            self._run(client)

    def _run(self, client: TLSClient) -> None:
        since = self._clock.seconds()
        client.shake()
        self._spent += self._clock.seconds() - since
        if not self._renewing:
            self._renewing = True
            self._clock.callLater(0, self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._spent = 0.0
        while self._queue and self._spent < TURN_SECONDS:
            self._run(self._queue.popleft())


class TLSFront(Factory):
    """Wraps ``site``: the same connections, limits and answers. ``context`` gives what a new connection is made from.

    ``protocols`` are what ALPN may come to beside HTTP/1.1, with what makes their connections.
    """

    noisy = False

    def __init__(
        self,
        site: ProxySite,
        context: Callable[[], ssl.SSLContext],
        protocols: dict[str, Callable[[ProxySite], BytesProtocol]] | None = None,
    ) -> None:
        self.site = site
        self.context = context
        self.protocols = protocols or {}
        self.handshakes = Handshakes(site.clock)

    def buildProtocol(self, addr: IAddress | None) -> TLSClient | None:
        if not self.site.connections.allows(host_of(addr)):
            return None
        return TLSClient(self)

    def refused(self, peer: bytes) -> None:
        """One who did not speak TLS was told so."""
        if self.site.on_refused is not None:
            self.site.on_refused(400, peer)


class TLSClient(TLSConnection):
    """One client; until the handshake is done it stands for itself among the site's connections."""

    idle = True  # nothing is lost if it has to go

    def __init__(self, front: TLSFront) -> None:
        super().__init__(front.context())
        self._front = front
        self._site = front.site
        self._due = 0.0
        self._counted = False
        self.peer_host = b""

    def connectionMade(self) -> None:
        self.peer_host = host_of(self.transport.getPeer())
        self._due = self._site.clock.seconds() + min(SECONDS, self._site.limits.head_seconds)
        self._counted = True
        self._site.connections.add(self)
        self._front.handshakes.begun(self)

    def arrived(self) -> None:
        self._front.handshakes.step(self)

    def secured(self) -> BytesProtocol | None:
        self._settle()
        if self._site.connections.draining:
            return None
        other = self._front.protocols.get(self.negotiated or "")
        return other(self._site) if other is not None else self._site.buildProtocol(self.getPeer())

    def unsecured(self, problem: ssl.SSLError) -> None:
        """One who speaks plain HTTP is told so, in plain HTTP; others have had their alert."""
        if problem.reason == "HTTP_REQUEST":
            self._front.refused(self.peer_host)
            self.transport.write(refusal(BadMessage(400, "this port speaks HTTPS"), self._site.date()))
            self.transport.loseWriteConnection()  # what else it sends is read over, or it would lose the answer
            self._due = self._site.clock.seconds() + LINGER_SECONDS
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._settle()
        super().connectionLost(reason)

    def _settle(self) -> None:
        if self._counted:
            self._counted = False
            self._front.handshakes.ended(self)
            self._site.connections.discard(self)

    # -- what the site's connections are asked ---------------------------------------------------

    def check(self, now: float) -> None:
        if now >= self._due:
            self.abort()

    def close_idle(self) -> None:
        self.abort()

    def wind_down(self) -> None:
        """It is never busy."""

    def abort(self) -> None:
        self.abortConnection()
