"""A backend process for the bounds: what it answers is spelled in the query, so that a case needs no code here.

``/any/path?size=3000000&cc=max-age=600&rate=1000000`` answers 200 with that many bytes. Parameters:

``size`` bytes of the body · ``cc`` Cache-Control · ``type`` Content-Type · ``vary`` Vary · ``etag`` ETag · ``status``
· ``chunk`` bytes of each chunk (chunked instead of Content-Length) · ``rate`` bytes a second · ``wait`` seconds before
the head · ``endless`` (chunks without end, ten a second) · ``interim`` number of 1xx before the answer · ``lines``
number of extra fields · ``blanks`` blanks before a folded line · ``members`` members of Connection · ``hang`` (never an
answer) · ``location`` Location · ``reflect`` name of a request field that becomes the body.

``GET /_connections`` on the second port tells how many connections are open and how many there ever were.
Run as ``python -m support.bounds_backend``; prints both ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import parse_qsl

BLOCK = bytes(range(256)) * 256


class Backend:
    def __init__(self) -> None:
        self.open = 0
        self.ever = 0
        self.most = 0
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.ever += 1
        self.most = max(self.most, self.open)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines) if name}
        self.requests += 1
        await self._skip_body(reader, fields)
        method, target, _ = line.split(" ")
        asked = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        await self._answer(writer, method, asked, fields)
        return True

    async def _skip_body(self, reader: asyncio.StreamReader, fields: dict[str, str]) -> None:
        left = int(fields.get("content-length", "0"))
        while left:
            data = await reader.read(min(left, 1 << 16))
            if not data:
                raise OSError("gone")
            left -= len(data)
        if "transfer-encoding" in fields:
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readline()

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, asked: dict[str, str], fields: dict[str, str]
    ) -> None:
        if "hang" in asked:
            await asyncio.sleep(3600)
        await asyncio.sleep(float(asked.get("wait", "0")))
        for n in range(int(asked.get("interim", "0"))):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </%d>%b\r\n\r\n" % (n, b"x" * 1000))
            await writer.drain()
        body = fields.get(asked["reflect"], "").encode() if "reflect" in asked else None
        size = len(body) if body is not None else int(asked.get("size", "10"))
        writer.write(_head(asked, size))
        if method != "HEAD":
            await _body(writer, asked, size, body)
        await writer.drain()


def _head(asked: dict[str, str], size: int) -> bytes:
    lines = [f"HTTP/1.1 {asked.get('status', '200')} OK"]
    names = {"cc": "Cache-Control", "type": "Content-Type", "vary": "Vary", "etag": "ETag", "location": "Location"}
    lines += [f"{name}: {asked[key]}" for key, name in names.items() if key in asked]
    lines += [f"X-Line-{n}: {'v' * 50}" for n in range(int(asked.get("lines", "0")))]
    if "members" in asked:
        lines.append("Connection: " + "a," * int(asked["members"]) + "b")
    if "blanks" in asked:
        lines.append("X-Fold: a" + " " * int(asked["blanks"]) + "\r\n b")
    chunked = "chunk" in asked or "endless" in asked
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


async def _body(writer: asyncio.StreamWriter, asked: dict[str, str], size: int, body: bytes | None) -> None:
    if "endless" in asked:
        while True:
            writer.write(b"a\r\ndata: x\n\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
    chunk = int(asked.get("chunk", "0"))
    step = chunk or len(BLOCK)
    rate = float(asked.get("rate", "0"))
    at = 0
    while at < size:
        piece = (body or BLOCK * (step // len(BLOCK) + 1))[: min(step, size - at)]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunk else piece)
        at += len(piece)
        if rate:
            await asyncio.sleep(len(piece) / rate)
        if not chunk or at % (1 << 16) < step:
            await writer.drain()
    if chunk:
        writer.write(b"0\r\n\r\n")


async def main() -> None:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)

    async def stats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            told = {"open": backend.open, "ever": backend.ever, "most": backend.most, "requests": backend.requests}
            data = json.dumps(told).encode()
            backend.most = backend.open
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
            await writer.drain()
        writer.close()

    control = await asyncio.start_server(stats, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], control.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
