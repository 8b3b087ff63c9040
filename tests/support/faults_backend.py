"""The backend of the fault tests, in a process of its own; see ``faults_oracle`` for what it answers.

``python -m support.faults_backend PORT [HOST]`` prints its port (0: any). Each line on its standard input is a command
in JSON, answered with a line of JSON: ``{"version": n}`` sets the version of every object, ``{"age": n}`` the seconds
that they are fresh for; ``{"fault": kind, …}`` says what goes wrong with answers from now on (``null``: nothing);
``{}`` asks for counts since the last command: requests, the most at once for one target, open connections.

Faults: ``reset`` after ``at`` bytes of the answer · ``close`` likewise, in good order · ``long`` more bytes than
announced · ``double`` two different lengths · ``chunk`` no last chunk · ``hang`` no answer · ``hold`` no answer before
``release`` · ``slow`` a byte of the body every ``seconds`` · ``uncacheable`` answers that may not be stored, each after
``seconds``.

``/big/<bytes>/…`` is as long as it says, of zeros, and not to be stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import Counter
from typing import Any

from support.faults_oracle import answer_of, roles_of

_RESET = struct.pack("ii", 1, 0)
_ZEROS = bytes(1 << 16)


class Backend:
    def __init__(self) -> None:
        self.version = 0
        self.age = 3600
        self.fault: dict[str, Any] = {}
        self.requests = 0
        self.now: Counter[str] = Counter()
        self.most = 0
        self.open = 0
        self.released = asyncio.Event()

    def command(self, words: dict[str, Any]) -> dict[str, int]:
        told = {"requests": self.requests, "most": self.most, "open": self.open, "now": sum(self.now.values())}
        if words:
            self.requests = self.most = 0
        if "version" in words:
            self.version = words["version"]
        self.age = words.get("age", self.age)
        if "fault" in words:
            self.fault = words if words["fault"] else {}
            self.released.clear()
        if "release" in words:
            self.released.set()
        return told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        method, target, _ = line.split(" ")
        fields = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        left = int(fields.get("content-length", 0))
        while left:
            left -= len(data := await reader.read(min(left, len(_ZEROS))))
            if not data:
                return False
        self.requests += 1
        self.now[target] += 1
        self.most = max(self.most, self.now[target])
        try:
            return await self._answer(method, target, fields, writer)
        finally:
            self.now[target] -= 1
            if not self.now[target]:
                del self.now[target]

    async def _answer(self, method: str, target: str, fields: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        if target.startswith("/big/"):
            return await _big(int(target.split("/")[2]), writer)
        fault = self.fault.get("fault")
        body = answer_of(target, roles_of(fields.get("authorization")), self.version)
        control = "no-store" if fault == "uncacheable" else f"max-age={self.age}"
        framing = f"Content-Length: {len(body)}"
        if fault == "long":
            framing = f"Content-Length: {len(body) - 10}"
        elif fault == "double":
            framing = f"Content-Length: {len(body)}\r\nContent-Length: {len(body) - 1}"
        elif fault == "chunk":
            framing = "Transfer-Encoding: chunked"
            body = b"%x\r\n%b\r\n" % (len(body), body)
        head = f"HTTP/1.1 200 OK\r\nCache-Control: {control}\r\n{framing}\r\nContent-Type: text/plain\r\n\r\n".encode()
        answer = head if method == "HEAD" else head + body
        if fault in ("hang", "hold"):
            await (self.released.wait() if fault == "hold" else asyncio.sleep(3600))
            if self.fault.get("then") == "reset":
                return self._reset(writer)
        if fault in ("reset", "close"):
            writer.write(answer[: self.fault["at"]])
            await writer.drain()
            return self._reset(writer) if fault == "reset" else False
        if fault == "uncacheable":
            await asyncio.sleep(self.fault["seconds"])
        if fault == "slow":
            writer.write(answer[:-20])
            for at in range(20):
                await asyncio.sleep(self.fault["seconds"])
                writer.write(answer[len(answer) - 20 + at : len(answer) - 19 + at])
            return True
        writer.write(answer)
        await writer.drain()
        return fault != "chunk"

    def _reset(self, writer: asyncio.StreamWriter) -> bool:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
        return False


async def _big(size: int, writer: asyncio.StreamWriter) -> bool:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(_ZEROS))
    writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n" % size)
    while size:
        writer.write(_ZEROS[:size])
        size -= min(size, len(_ZEROS))
        await writer.drain()
    return True


async def main() -> None:
    backend = Backend()
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    server = await asyncio.start_server(backend.serve, host, int(sys.argv[1]), backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(json.dumps(backend.command(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
