"""The Redis server of a game: one thread, its own clock, and what an operator or a full disk may make of it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import Any

import hiredis
from simulation.redis_data import Data, ReplyError
from simulation.redis_scripts import MODELS, Machine

Command = list[bytes]


class Session:
    """The server's end of one connection; ``send`` takes what goes back to the client."""

    def __init__(self, server: Server, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.channels: list[bytes] = []
        self._server = server
        self._reader = hiredis.Reader()
        server.sessions.append(self)

    def received(self, data: bytes) -> None:
        """Carry out what has arrived; the answers go back in one piece."""
        self._reader.feed(data)
        replies = b""
        while (command := self._reader.gets()) is not False:
            replies += self._server.reply(command, self)
        if replies:
            self.send(replies)

    def ended(self) -> None:
        """The connection is gone."""
        if self in self._server.sessions:
            self._server.sessions.remove(self)


class Server:
    """Carries out commands one after the other. ``mood`` is an error that it gives instead, if there is one.

    ``stored`` hears of each variant written, ``entered`` of each mark in the ledger.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.ahead = 0.0
        self.sessions: list[Session] = []
        self.known: set[bytes] = set()
        self.mood: bytes | None = None
        self.data = Data(lambda: int((now() + self.ahead) * 1000))
        self.machine = Machine(self.data, self._publish)
        self.stored: Callable[[bytes], object] = lambda key: None
        self._commands: dict[bytes, Callable[[Command], Any]] = {
            b"TIME": self._time,
            b"HGET": lambda command: self.data.hget(*command[1:]),
            b"HMGET": lambda command: self.data.hmget(*command[1:]),
            b"HGETALL": lambda command: self.data.hgetall(command[1]),
            b"HDEL": lambda command: self.data.hdel(*command[1:]),
            b"ZSCORE": lambda command: self.data.zscore(*command[1:]),
            b"PTTL": lambda command: self.data.pttl(command[1]),
            b"UNLINK": lambda command: self.data.unlink(command[1]),
            b"EXISTS": lambda command: self.data.exists(command[1]),
            b"SCAN": lambda command: list(self.data.scan(command[1])),
            b"EVAL": self._eval,
            b"EVALSHA": self._evalsha,
        }

    def emptied(self) -> None:
        """FLUSHALL."""
        self.data.values.clear()
        self.data.ends.clear()

    def reply(self, command: Command, session: Session) -> bytes:
        name = command[0]
        if name == b"SUBSCRIBE":
            session.channels.append(command[1])
            return encoded([b"subscribe", command[1], 1])
        if name == b"PING":
            return encoded([b"pong", b""]) if session.channels else b"+PONG\r\n"
        if self.mood is not None and name != b"TIME":
            return b"-%b\r\n" % self.mood
        try:
            return encoded(self._commands[name](command))
        except ReplyError as error:
            return b"-%b\r\n" % str(error).encode()

    def _time(self, command: Command) -> Any:
        now = self.data.now()
        return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]

    def _eval(self, command: Command) -> Any:
        if command[1] == b"return 1":
            return 1
        digest = sha1(command[1], usedforsecurity=False).hexdigest().encode()
        self.known.add(digest)
        return self._run(digest, command)

    def _evalsha(self, command: Command) -> Any:
        if command[1] not in self.known:
            raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return self._run(command[1], command)

    def _run(self, digest: bytes, command: Command) -> Any:
        count = int(command[2])
        keys, args = command[3 : 3 + count], command[3 + count :]
        result = MODELS[digest](self.machine, keys, args)
        self.stored(keys[0])
        return result

    def _publish(self, channel: bytes, message: bytes) -> None:
        for session in list(self.sessions):
            if channel in session.channels:
                session.send(encoded([b"message", channel, message]))


def encoded(value: Any) -> bytes:
    """A reply as it stands on the wire."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, float):
        return encoded(b"%.17g" % value)
    return b"*%d\r\n%b" % (len(value), b"".join(map(encoded, value)))
