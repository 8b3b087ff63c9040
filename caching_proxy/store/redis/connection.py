"""One connection to a Redis server: txredisapi's protocol on hiredis, with several commands to a call.

Commands are pipelined: any number may be under way, answers come in order. ``send`` writes the commands of a call in
one go and hands it their replies; txredisapi's own methods work too, on the same queue. Login, database and the
server's clock are settled by ``handshake``, not by txredisapi, whose handshake gives up for good after one loss.
Values stay bytes: no charset, no numbers made of digits.

Importing txredisapi installs the default reactor: import this module only when a reactor has been chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from txredisapi import HiredisProtocol, RedisError, ResponseError

from caching_proxy.interfaces import StoreError, StoreForbidden
from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.errors import ConnectionGone, CutShort, ReadOnly, from_reply

RedisReply = object
"""bytes, int, None, a list of replies, or a ResponseError in place of a reply."""


def pack(*parts: bytes) -> bytes:
    """A command as it stands on the wire."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


def form(*parts: bytes, blanks: int) -> bytes:
    """A command that begins with ``parts``; each of its ``blanks`` takes the length of a part, then the part."""
    opening = pack(*parts).partition(b"\r\n")[2].replace(b"%", b"%%")
    return b"*%d\r\n%b%b" % (len(parts) + blanks, opening, b"$%d\r\n%b\r\n" * blanks)


def checked(reply: RedisReply) -> RedisReply:
    """``reply``, unless it is an error: that is raised as a :class:`StoreError`."""
    if isinstance(reply, ResponseError):
        raise from_reply(reply)
    return reply


def login(topology: RedisTopology) -> list[bytes]:
    """The commands that log in."""
    if topology.password is None:
        return []
    user = [] if topology.username is None else [topology.username.encode()]
    return [pack(b"AUTH", *user, topology.password.encode())]


def check_master(role: RedisReply) -> None:
    """Raises ReadOnly unless ``role``, a reply to ROLE, is a master's or a refusal to tell."""
    if isinstance(role, list) and role and role[0] != b"master":
        raise ReadOnly(f"READONLY the server is a {role[0].decode('latin-1')}, no master")


class Waiter(Protocol):
    """Whoever waits for replies: ``wanted`` of them go into ``replies``, then either method is called, once."""

    replies: list[RedisReply]

    @property
    def wanted(self) -> int: ...

    def answered(self) -> None: ...

    def lost(self, error: StoreError) -> None: ...


class _Batch:
    """The replies of commands that no pool knows of."""

    __slots__ = ("done", "replies", "wanted")

    def __init__(self, wanted: int) -> None:
        self.done: Deferred[list[RedisReply]] = Deferred()
        self.wanted = wanted
        self.replies: list[RedisReply] = []

    def answered(self) -> None:
        if not self.done.called:  # else cancelled
            self.done.callback(self.replies)

    def lost(self, error: StoreError) -> None:
        if not self.done.called:
            self.done.errback(Failure(error))


class _Queue:
    """Who waits for the next replies, in order; stands in for txredisapi's queue, which knows only single replies."""

    def __init__(self) -> None:
        self.waiting: deque[Waiter] = deque()

    def get(self) -> Deferred[RedisReply]:
        """For txredisapi: the one reply of one command."""
        # A cancelled call still gets its reply, else all later ones would be taken for another's.
        batch = _Batch(1)
        self.waiting.append(batch)
        return batch.done.addCallback(lambda replies: replies[0])


class RedisConnection(HiredisProtocol):  # type: ignore[misc]
    """A connection that its pool owns; ``last_used`` is when a call began.

    ``waiting`` is who waits for replies, in order, ``server_ahead`` what to add to our clock to get the server's, in
    seconds. ``tells_time`` is False where our user may not ask for the server's clock.
    """

    transport: ITCPTransport

    def __init__(self, lost: Callable[[RedisConnection, Failure], None] | None = None) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.replyQueue = _Queue()
        self.waiting = self.replyQueue.waiting
        self.last_used = 0.0
        self.ready_since = 0.0
        self.server_ahead = 0.0
        self.tells_time = True
        self.on_lost = lost
        self.write: Callable[[bytes], None]

    @property
    def load(self) -> int:
        """Calls under way."""
        return len(self.waiting)

    def connectionMade(self) -> None:
        """The transport is up; the pool runs the handshake."""
        # A native transport would make a system call of every command; Twisted's own gather writes by themselves.
        self.write = getattr(self.transport, "write_together", self.transport.write)

    def connectionLost(self, why: Failure) -> None:
        self.connected = 0
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(self, why)
        text = f"connection lost: {why.getErrorMessage()}"
        error: StoreError = CutShort(text)
        while self.waiting:
            self.waiting.popleft().lost(error)
            error = ConnectionGone(text)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        waiting, gets = self.waiting, self._reader.gets
        try:
            self._reader.feed(data)
            reply = gets()
            while reply is not False:
                waiter = waiting[0]
                waiter.replies.append(reply)
                if len(waiter.replies) == waiter.wanted:
                    waiting.popleft()
                    waiter.answered()
                reply = gets()
        except (RedisError, IndexError):  # not RESP, or a reply that nobody asked for
            self.abort()

    def send(self, payload: bytes, waiter: Waiter) -> None:
        """Write commands made by :func:`pack`; ``waiter`` gets their replies, error replies among them."""
        if self.connected:
            self.waiting.append(waiter)
            self.write(payload)
        else:
            waiter.lost(ConnectionGone("not connected"))

    def abort(self) -> None:
        """Close at once; calls under way fail."""
        if self.transport is not None:
            self.transport.abortConnection()

    async def ask(self, commands: list[bytes]) -> list[RedisReply]:
        """The replies to commands made by :func:`pack`, error replies among them; for use without a pool."""
        batch = _Batch(len(commands))
        self.send(b"".join(commands), batch)
        return await batch.done

    async def handshake(self, topology: RedisTopology, seconds: Callable[[], float]) -> None:
        """Log in, choose the database, compare clocks; StoreError with the server's words if it will not have us."""
        commands = login(topology)
        if topology.db:  # left out for database 0, which some servers know no SELECT for
            commands.append(pack(b"SELECT", b"%d" % topology.db))
        if topology.master_of is not None:
            commands.append(pack(b"ROLE"))
        commands.append(pack(b"TIME"))
        *replies, time_reply = await self.ask(commands)
        for reply in replies if topology.master_of is None else replies[:-1]:
            checked(reply)
        if topology.master_of is not None:
            check_master(replies[-1])
        try:
            time = checked(time_reply)
        except StoreForbidden:
            self.tells_time = False
            return
        self.compare_clock(cast("list[bytes]", time), seconds())

    def compare_clock(self, time: list[bytes], now: float) -> None:
        """Take over the server's TIME. It was read a moment before ``now``, so deadlines err to the early side."""
        self.server_ahead = int(time[0]) + int(time[1]) / 1e6 - now
