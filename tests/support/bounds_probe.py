"""Another client, in a process of its own: asks for a hot entry again and again, and tells how long it had to wait.

``python -m support.bounds_probe PORT TARGET [tls]`` prints ``ready`` after the first hits. Each line on its standard
input is answered with a line of JSON about the time since the last one: requests, failures, and the longest wait in
seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time

from support.tls_client import client_context

PAUSE = 0.002


class Probe:
    def __init__(self, port: int, target: str, tls: ssl.SSLContext | None) -> None:
        self._port = port
        self._tls = tls
        self._request = f"GET {target} HTTP/1.1\r\nHost: probe\r\n\r\n".encode()
        self.asked = 0
        self.failed = 0
        self.longest = 0.0
        self.warm = asyncio.Event()
        self._since: float | None = None

    def report(self) -> str:
        """What was seen since the last report; a wait that goes on counts as far as it has come."""
        waiting = 0.0 if self._since is None else time.monotonic() - self._since
        told = {"asked": self.asked, "failed": self.failed, "longest": max(self.longest, waiting)}
        self.asked = self.failed = 0
        self.longest = 0.0
        return json.dumps(told)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
                try:
                    while True:
                        await self._one(reader, writer)
                        await asyncio.sleep(PAUSE)
                finally:
                    writer.close()
            self.failed += 1
            await asyncio.sleep(0.05)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._since = time.monotonic()
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.longest = max(self.longest, time.monotonic() - self._since)
        self._since = None
        self.asked += 1
        if self.asked == 20:
            self.warm.set()
        if b" 200 " not in head[:16]:
            self.failed += 1


async def main() -> None:
    probe = Probe(int(sys.argv[1]), sys.argv[2], client_context() if "tls" in sys.argv[3:] else None)
    running = asyncio.create_task(probe.run())
    await probe.warm.wait()
    probe.report()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(probe.report(), flush=True)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
