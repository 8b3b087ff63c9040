"""Connections between proxies and Redis, in memory: bytes arrive in order, late, in pieces, or never.

Each connection has two ends that learn of its loss at different times. What was on its way when it is lost may still
arrive, as bytes in a kernel's buffers do. While a link is stalled nothing passes in either direction, and no end
notices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from simulation.clocks import ProcessClock
from simulation.redis_server import Server, Session
from simulation.world import World
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer


class Lane:
    """One direction of a connection: what is sent arrives in order, each piece after a delay of its own."""

    def __init__(self, link: Link, name: str, deliver: Callable[[bytes], object]) -> None:
        self.open = True
        self._link = link
        self._name = name
        self._deliver = deliver
        self._pieces: deque[bytes] = deque()
        self._free_at = 0.0

    def send(self, data: bytes) -> None:
        world = self._link.world
        pieces = [data]
        if len(data) > 1 and world.happens(world.odds.pieces):
            at = world.random.randrange(1, len(data))
            pieces = [data[:at], data[at:]]
        for piece in pieces:
            self._pieces.append(piece)
            self._free_at = max(self._free_at, world.clock.rightNow + world.delay())
            world.clock.callLater(self._free_at - world.clock.rightNow, self._arrive)

    @property
    def busy(self) -> float:
        """For how many seconds something is on its way."""
        return max(0.0, self._free_at - self._link.world.clock.rightNow)

    def close(self, deliver: bool) -> None:
        """Nothing more is sent; what is on its way arrives only if ``deliver``."""
        if not deliver:
            self.open = False

    def _arrive(self) -> None:
        if not self.open:
            return
        if self._link.holds(self._name):
            self._link.held.append(self._arrive)
            return
        piece = self._pieces.popleft()
        if self._link.world.tracing:
            self._link.world.note(f"{self._link.name} {self._name} {shown(piece)}")
        self._deliver(piece)


class Wire:
    """A connection, and the transport of its client."""

    def __init__(self, link: Link, clock: ProcessClock, protocol: Any) -> None:
        self.link = link
        self.client: Any = protocol
        self.clock = clock
        self._up = Lane(link, "->", self._to_server)
        self._down = Lane(link, "<-", self._to_client)
        self._session: Session | None = Session(link.server, self._down.send)
        link.wires.append(self)

    @property
    def subscribed(self) -> bool:
        """Whether it hears messages."""
        return self._session is not None and bool(self._session.channels)

    # -- the client's transport ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self.client is not None:
            self._up.send(data)

    def abortConnection(self) -> None:
        if self.client is None:
            return
        client, self.client = self.client, None
        self.clock.callLater(0, client.connectionLost, Failure(ConnectionLost("aborted")))
        self._gone()

    loseConnection = abortConnection

    # -- what happens to it --------------------------------------------------------------------------

    def cut(self) -> None:
        """It breaks: each end learns of it in its own time, or by what it sends next."""
        world = self.link.world
        self._down.close(deliver=world.happens(0.5))
        self.link.unnoticed += 1
        world.clock.callLater(world.delay(), self._client_learns)
        self._gone()

    def dies(self) -> None:
        """The process at the client's end is no more."""
        self.client = None
        self._gone()

    def _client_learns(self) -> None:
        self.link.unnoticed -= 1
        client, self.client = self.client, None
        self._down.open = False
        if client is not None and self.clock.alive:
            client.connectionLost(Failure(ConnectionLost("cut")))

    def _gone(self) -> None:
        """The server learns of it later; what was sent before may still be carried out."""
        world, late = self.link.world, 0.0
        if world.happens(0.5):
            self._up.close(deliver=False)
        else:  # the end comes behind what was sent
            late = self._up.busy
        if self in self.link.wires:
            self.link.wires.remove(self)
        world.clock.callLater(late + world.delay() + world.delay(), self._server_learns)

    def _server_learns(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.ended()

    def _to_server(self, data: bytes) -> None:
        if self._session is not None:
            self._session.received(data)

    def _to_client(self, data: bytes) -> None:
        if self.client is not None and self.clock.alive:
            self.client.dataReceived(data)


class Link:
    """The way from one proxy to the server: connections come and go, all are cut or stalled together.

    ``unnoticed`` are those that were cut without the proxy's knowledge so far.
    """

    def __init__(self, world: World, server: Server, name: str) -> None:
        self.world = world
        self.server = server
        self.name = name
        self.wires: list[Wire] = []
        self.held: list[Callable[[], None]] = []
        self.stalled = False
        self.unnoticed = 0

    def of(self, clock: ProcessClock) -> list[Wire]:
        """The connections of one process."""
        return [wire for wire in self.wires if wire.clock is clock]

    def holds(self, lane: str) -> bool:
        """Whether what arrives has to wait: on the way, or at a server that stands still."""
        return self.stalled or (lane == "->" and self.world.frozen)

    def let_go(self) -> None:
        """What waited and need not wait any longer arrives."""
        held, self.held = self.held, []
        for arrive in held:
            arrive()

    def endpoint(self, clock: ProcessClock) -> Endpoint:
        """How a process connects."""
        return Endpoint(self, clock)


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects one process by ``link``; refused while the server is down."""

    def __init__(self, link: Link, clock: ProcessClock) -> None:
        self._link = link
        self._clock = clock

    def connect(self, factory: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred(lambda _: arrival.active() and arrival.cancel())
        arrival = self._clock.callLater(self._link.world.delay(), self._arrive, factory, done)
        return done

    def _arrive(self, factory: Any, done: Deferred[Any]) -> None:
        link = self._link
        if done.called:
            return
        if link.stalled:
            link.held.append(lambda: self._arrive(factory, done) if self._clock.alive else None)
        elif link.world.down:
            done.errback(Failure(ConnectionRefusedError()))
        else:
            protocol = factory.buildProtocol(None)
            protocol.makeConnection(Wire(link, self._clock, protocol))
            done.callback(protocol)


def shown(data: bytes) -> str:
    """Bytes on the wire, fit for a line of a trace."""
    text = data.decode("latin-1").replace("\r\n", " ")
    return "".join(char if " " <= char <= "~" else "." for char in text)[:160]
