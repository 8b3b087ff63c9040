"""A Redis server in memory on a Clock, and rigs of a pool that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.rules.store_topology import RedisTopology
from caching_proxy.store.redis.commands import Ask, OnceLost
from caching_proxy.store.redis.connection import RedisConnection, pack
from caching_proxy.store.redis.errors import ConnectionGone
from caching_proxy.store.redis.pool import RedisPool

Command = list[bytes]


class Wire(StringTransport):
    """The server's end of one connection."""

    def __init__(self, server: Server, protocol: RedisConnection) -> None:
        super().__init__()
        self.server = server
        self.client = protocol
        self.open = True
        self.writes = 0
        self.held: list[bytes] = []
        self._reader = hiredis.Reader()

    def write(self, data: bytes) -> None:
        assert self.open
        self.writes += 1
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self.server.commands.append(command)
            reply = self.server.reply(command)
            if reply is not None:
                self.held.append(reply)
        if not self.server.frozen:
            self.server.clock.callLater(0, self.flush)

    def flush(self) -> None:
        held, self.held = self.held, []
        if held and self.open:
            self.client.dataReceived(b"".join(held))

    def abortConnection(self) -> None:
        self.lose()

    def lose(self) -> None:
        if self.open:
            self.open = False
            self.server.clock.callLater(0, self.client.connectionLost, Failure(ConnectionGone("cut")))


@implementer(IStreamClientEndpoint)
class Server:
    """Answers TIME, PING and ECHO; ``down`` refuses connections, ``frozen`` keeps answers back."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wires: list[Wire] = []
        self.commands: list[Command] = []
        self.down = False
        self.silent = False
        self.frozen = False
        self.attempts = 0
        self.special: Callable[[Command], bytes | None] = lambda command: None

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        self.attempts += 1
        done: Deferred[Any] = Deferred()
        if not self.silent:
            self.clock.callLater(0, self._connected, factory, done)
        return done

    def _connected(self, factory: IProtocolFactory, done: Deferred[Any]) -> None:
        if done.called:
            return
        if self.down:
            done.errback(Failure(ConnectionRefusedError()))
            return
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]
        assert isinstance(protocol, RedisConnection)
        wire = Wire(self, protocol)
        self.wires.append(wire)
        protocol.makeConnection(wire)
        done.callback(protocol)

    def reply(self, command: Command) -> bytes | None:
        special = self.special(command)
        if special is not None:
            return special
        if command[0] == b"TIME":
            return b"*2\r\n$4\r\n1000\r\n$1\r\n0\r\n"
        if command[0] == b"ECHO":
            return b"$%d\r\n%b\r\n" % (len(command[1]), command[1])
        return b"+PONG\r\n"

    @property
    def open(self) -> int:
        return sum(wire.open for wire in self.wires)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        for wire in self.wires:
            wire.flush()


class Rig:
    def __init__(self, **options: Any) -> None:
        self.server = Server()
        self.acquired: list[float] = []
        options = {"minimum": 2, "maximum": 4, "depth": 2, "max_pending": 5} | options
        topology = options.pop("topology", RedisTopology("h"))
        self.pool = RedisPool(
            self.server.clock, topology, endpoint=self.server, on_acquired=self.acquired.append, **options
        )

    def started(self) -> Rig:
        self.pool.start()
        self.settle()
        return self

    def settle(self) -> None:
        for _ in range(10):
            self.server.clock.advance(0)

    def echo(self, text: bytes, retry: bool = False) -> list[object]:
        """Ask for ``text``; the list gets the answer or the error."""
        return outcome(self.pool.execute(echo(text, "retry" if retry else "fail")))

    def finish(self) -> None:
        self.server.thaw()
        self.pool.stop()
        self.settle()
        assert self.server.open == 0
        assert self.server.clock.getDelayedCalls() == []
        assert self.pool.pending == self.pool.waiting == self.pool.size == 0


def echo(text: bytes, if_lost: OnceLost = "fail") -> Ask[list[object]]:
    """A call that is answered with ``text``."""
    return Ask(pack(b"ECHO", text), 1, list, if_lost)


def outcome(deferred: Deferred[Any]) -> list[object]:
    results: list[object] = []
    deferred.addBoth(lambda result: results.append(result.value if isinstance(result, Failure) else result))
    return results


def settled(rig: Rig, deferred: Deferred[Any]) -> object:
    """The answer or the error that ``deferred`` has when all that is due has happened."""
    results = outcome(deferred)
    rig.settle()
    (result,) = results
    return result
