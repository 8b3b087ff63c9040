"""Clients in thousands beside the load of the fault tests, in a process of their own.

``python -m support.faults_crowd PORT`` prints ``ready``. Each line on its standard input is a command in JSON, answered
with a line of JSON when it has been carried out; ``{n}`` in a target is the number of the client:

``{"do": "idle", "count": n}`` connect and say nothing · ``slow`` send a byte of a head every half second · ``stopped``
ask for ``target``, and read no more than the head · ``leave`` ask for ``target``, ``together`` at a time, and reset
the connection within the answer · ``get`` ask for ``target`` on a few connections, each answer held against the oracle
· ``look`` tell how many connections are still open · ``close`` reset them.

Clients come from several addresses, as no one address has ports for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import resource
import socket
import struct
import sys
from collections import Counter
from typing import Any

from support.faults_oracle import answer_of

ADDRESSES = 20
AT_ONCE = 50
RECEIVES = 64 * 1024
"""Bytes that the kernel may hold for a client that does not read."""

_RESET = struct.pack("ii", 1, 0)
_SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 10_000


class Client(asyncio.Protocol):
    """A connection that is held; with ``stops`` it reads until the first bytes have come."""

    def __init__(self, stops: bool = False) -> None:
        self.stops = stops
        self.open = False
        self.began = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        self.began.set()
        if self.stops:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.began.set()


class Crowd:
    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers = itertools.count()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._clients: list[Client] = []
        self._trickling: list[asyncio.Task[None]] = []

    async def command(self, words: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = await getattr(self, "_" + words.pop("do"))(**words)
        return told

    async def _idle(self, count: int) -> dict[str, Any]:
        made = await self._connect(count)
        return {"open": sum(client.open for client in made)}

    async def _stopped(self, count: int, target: str) -> dict[str, Any]:
        made = await self._connect(count, stops=True)
        for n, client in enumerate(made):
            client.transport.write(_head(target, n))
        await asyncio.gather(*(client.began.wait() for client in made))
        return {"open": sum(client.open for client in made)}

    async def _slow(self, count: int) -> dict[str, Any]:
        made = await self._connect(count)
        self._trickling.append(asyncio.create_task(_trickle(made)))
        return {"open": sum(client.open for client in made)}

    async def _leave(self, count: int, target: str, together: int) -> dict[str, Any]:
        for start in range(0, count, together):
            made = await self._connect(min(together, count - start), stops=True, keep=False)
            for n, client in enumerate(made, start):
                client.transport.write(_head(target, n))
            await asyncio.gather(*(client.began.wait() for client in made))
            _reset(made)
        return {}

    async def _get(self, first: int, count: int, target: str) -> dict[str, Any]:
        numbers = iter(range(first, first + count))
        statuses: Counter[int] = Counter()
        wrong: list[str] = []
        await asyncio.gather(*(_ask(self._port, target, numbers, statuses, wrong) for _ in range(ADDRESSES)))
        return {"statuses": statuses, "wrong": wrong[:10]}

    async def _look(self) -> dict[str, Any]:
        return {"open": sum(client.open for client in self._clients)}

    async def _close(self) -> dict[str, Any]:
        _reset(self._clients)
        self._clients.clear()
        return {}

    async def _connect(self, count: int, stops: bool = False, keep: bool = True) -> list[Client]:
        made = await asyncio.gather(*(self._one(stops) for _ in range(count)))
        if keep:
            self._clients += made
        return list(made)

    async def _one(self, stops: bool) -> Client:
        address = f"127.0.0.{2 + next(self._numbers) % ADDRESSES}"
        made = socket.socket()
        made.setblocking(False)
        if stops:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVES)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        made.bind((address, 0))
        loop = asyncio.get_running_loop()
        client = Client(stops)
        async with self._gate:
            await loop.sock_connect(made, ("127.0.0.1", self._port))
            await loop.create_connection(lambda: client, sock=made)
        return client


def _head(target: str, n: int) -> bytes:
    return f"GET {target.format(n=n)} HTTP/1.1\r\nHost: crowd\r\n\r\n".encode()


def _reset(clients: list[Client]) -> None:
    for client in clients:
        client.transport.abort()


async def _trickle(clients: list[Client]) -> None:
    for at in range(len(_SLOW_HEAD)):
        for client in clients:
            if client.open:
                client.transport.write(_SLOW_HEAD[at : at + 1])
        await asyncio.sleep(0.5)


async def _ask(port: int, target: str, numbers: Any, statuses: Counter[int], wrong: list[str]) -> None:
    """Requests one after another on one connection, until the numbers are used up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        for n in numbers:
            asked = target.format(n=n)
            writer.write(_head(target, n))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            statuses[int(head[9:12])] += 1
            if body != answer_of(asked, "anonymous"):
                wrong.append(f"{asked}: {body[:60]!r}")


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(int(sys.argv[1]))
    print("ready", flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(json.dumps(await crowd.command(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
