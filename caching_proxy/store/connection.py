"""One connection to a Redis server: txredisapi's protocol on hiredis, with batches on top.

Commands are pipelined: any number may be under way, answers come in order. ``send`` writes several commands in one
go and gathers their replies in one Deferred; txredisapi's own methods work too, on the same queue. Login, database
and the server's clock are settled by ``handshake``, not by txredisapi, whose handshake gives up for good after one
loss. Values stay bytes: no charset, no numbers made of digits.

Importing txredisapi installs the default reactor: import this module only when a reactor has been chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from txredisapi import HiredisProtocol, RedisError, ResponseError

from caching_proxy.store.errors import ConnectionGone, from_reply
from caching_proxy.store.topology import RedisTopology

Reply = object
"""bytes, int, None, a list of replies, or a ResponseError in place of a reply."""


def pack(*parts: bytes) -> bytes:
    """A command as it stands on the wire."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


def checked(reply: Reply) -> Reply:
    """``reply``, unless it is an error: that is raised as a :class:`StoreError`."""
    if isinstance(reply, ResponseError):
        raise from_reply(reply)
    return reply


class _Batch:
    """The replies of commands that were written together."""

    __slots__ = ("done", "missing", "replies")

    def __init__(self, missing: int) -> None:
        self.done: Deferred[list[Reply]] = Deferred()
        self.missing = missing
        self.replies: list[Reply] = []


class _Slots:
    """Who waits for the next replies, in order; stands in for txredisapi's queue, which knows no batches."""

    def __init__(self) -> None:
        self.waiting: deque[_Batch | Deferred[Reply]] = deque()

    def get(self) -> Deferred[Reply]:
        """For txredisapi: the one reply of one command."""
        # A cancelled call still gets its reply, else all later ones would be taken for another's.
        slot: Deferred[Reply] = Deferred()
        self.waiting.append(slot)
        return slot

    def batch(self, size: int) -> Deferred[list[Reply]]:
        batch = _Batch(size)
        self.waiting.append(batch)
        return batch.done

    def put(self, reply: Reply) -> None:
        slot = self.waiting[0]
        if isinstance(slot, _Batch):
            slot.replies.append(reply)
            slot.missing -= 1
            if not slot.missing:
                self.waiting.popleft()
                if not slot.done.called:  # else cancelled
                    slot.done.callback(slot.replies)
        else:
            self.waiting.popleft()
            if not slot.called:
                slot.callback(reply)

    def fail(self, error: ConnectionGone) -> None:
        """No more replies will come."""
        slots, self.waiting = self.waiting, deque()
        for slot in slots:
            if isinstance(slot, _Batch):
                if not slot.done.called:
                    slot.done.errback(Failure(error))
            elif not slot.called:
                slot.callback(error)  # txredisapi raises what it finds in its queue


class RedisConnection(HiredisProtocol):  # type: ignore[misc]
    """A connection that its pool owns. ``load`` counts the pool's calls under way, ``last_used`` is when one began.

    ``server_ahead`` is what to add to our clock to get the server's, in seconds.
    """

    transport: ITCPTransport

    def __init__(self, lost: Callable[[RedisConnection, Failure], None] | None = None) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.replyQueue = _Slots()
        self.load = 0
        self.last_used = 0.0
        self.ready_since = 0.0
        self.server_ahead = 0.0
        self.on_lost = lost
        self._write: Callable[[bytes], None]

    def connectionMade(self) -> None:
        """The transport is up; the pool runs the handshake."""
        # A native transport would make a system call of every command; Twisted's own gather writes by themselves.
        self._write = getattr(self.transport, "write_together", self.transport.write)

    def connectionLost(self, why: Failure) -> None:
        self.connected = 0
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(self, why)
        self.replyQueue.fail(ConnectionGone(f"connection lost: {why.getErrorMessage()}"))

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        reader, slots = self._reader, self.replyQueue
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not False:
                slots.put(reply)
                reply = reader.gets()
        except (RedisError, IndexError):  # not RESP, or a reply that nobody asked for
            self.abort()

    def send(self, payload: bytes, replies: int) -> Deferred[list[Reply]]:
        """Write commands made by :func:`pack`; fires with their ``replies`` replies, error replies among them."""
        if not self.connected:
            return fail(ConnectionGone("not connected"))
        answer = self.replyQueue.batch(replies)
        self._write(payload)
        return answer

    def abort(self) -> None:
        """Close at once; calls under way fail."""
        if self.transport is not None:
            self.transport.abortConnection()

    async def handshake(self, topology: RedisTopology, seconds: Callable[[], float]) -> None:
        """Log in, choose the database, compare clocks; StoreError with the server's words if it will not have us."""
        commands = []
        if topology.password is not None:
            user = [] if topology.username is None else [topology.username.encode()]
            commands.append(pack(b"AUTH", *user, topology.password.encode()))
        if topology.db:  # left out for database 0, which some servers know no SELECT for
            commands.append(pack(b"SELECT", b"%d" % topology.db))
        commands.append(pack(b"TIME"))
        replies = await self.send(b"".join(commands), len(commands))
        for reply in replies:
            checked(reply)
        self.compare_clock(cast("list[bytes]", replies[-1]), seconds())

    def compare_clock(self, time: list[bytes], now: float) -> None:
        """Take over the server's TIME. It was read a moment before ``now``, so deadlines err to the early side."""
        self.server_ahead = int(time[0]) + int(time[1]) / 1e6 - now
