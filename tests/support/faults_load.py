"""A load of a thousand requests a second, nine of ten for what was asked for before; each answer is held to the oracle.

``python -m support.faults_load PORT`` prints ``ready`` once every object has been asked for. Each line on its standard
input is a command in JSON, answered with a line of JSON about the time since the last one: ``{"oldest": n}`` says that
versions before ``n`` are wrong from now on.

The report: ``asked``; ``statuses`` and ``caches`` (X-Cache-Status) with their numbers; ``wrong`` answers in words (at
most ten); ``broken`` connections; ``p50`` and ``p99`` of hot hits in milliseconds; ``lag``, the 99th percentile in
seconds of how late this process itself was since it began, which tells how busy the machine is.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from statistics import quantiles

import jwt
from support.faults_oracle import SECRET, roles_of, version_of

PER_SECOND = 1000
CONNECTIONS = 20
OBJECTS = 300
READERS = (
    None,
    *(
        "Bearer " + jwt.encode({"roles": [role], "exp": 4_000_000_000}, SECRET, "HS256")
        for role in ("editor", "reader")
    ),
)


class Load:
    def __init__(self, port: int) -> None:
        self._port = port
        self._random = random.Random(7)
        self._fresh = 0
        self.oldest = 0
        self._late = [0.0, 0.0]
        self._reset()

    def _reset(self) -> None:
        self.asked = self.broken = 0
        self.statuses: Counter[int] = Counter()
        self.caches: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hot: list[float] = []

    def report(self) -> str:
        cut = quantiles(self.hot, n=100) if len(self.hot) > 1 else [0.0] * 99
        told = {name: getattr(self, name) for name in ("asked", "broken", "statuses", "caches", "wrong")}
        self._reset()
        return json.dumps(
            {**told, "p50": cut[49] * 1000, "p99": cut[98] * 1000, "lag": quantiles(self._late, n=100)[98]}
        )

    async def warm(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for authorization in READERS:
            for n in range(OBJECTS):
                await self._one(reader, writer, f"/object/{n}", authorization)
        writer.close()
        self._reset()

    async def look(self) -> None:
        while True:
            due = time.monotonic() + 0.1
            await asyncio.sleep(0.1)
            self._late.append(max(0.0, time.monotonic() - due))

    async def run(self, number: int) -> None:
        """One connection's part of the requests, at the times when they are due."""
        due = time.monotonic() + number / PER_SECOND
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while True:
                        await asyncio.sleep(max(0.0, due - time.monotonic()))
                        due = max(due + CONNECTIONS / PER_SECOND, time.monotonic() - 1)
                        await self._one(reader, writer, self._target(), self._random.choice(READERS))
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self.broken += 1
                await asyncio.sleep(0.02)

    def _target(self) -> str:
        if self._random.random() < 0.9:
            return f"/object/{self._random.randrange(OBJECTS)}"
        self._fresh += 1
        return f"/fresh/{self._fresh}"

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, authorization: str | None
    ) -> None:
        oldest, start = self.oldest, time.monotonic()
        line = "" if authorization is None else f"Authorization: {authorization}\r\n"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: faults\r\n{line}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        seconds, status = time.monotonic() - start, int(head[9:12])
        cache = head.split("x-cache-status: ")[1].split("\r\n")[0] if "x-cache-status: " in head else ""
        self.asked += 1
        self.statuses[status] += 1
        self.caches[cache.upper()] += 1
        if cache == "hot_hit":
            self.hot.append(seconds)
        roles = roles_of(authorization)
        version = version_of(body, target, roles)
        if status == 200 and (version is None or version < oldest) and len(self.wrong) < 10:
            self.wrong.append(f"{target} for {roles} ({cache}): {body[:60]!r}, version {oldest} or later is right")


async def main() -> None:
    load = Load(int(sys.argv[1]))
    await load.warm()
    tasks = [asyncio.create_task(load.run(n)) for n in range(CONNECTIONS)]
    tasks.append(asyncio.create_task(load.look()))
    print("ready", flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        load.oldest = json.loads(line).get("oldest", load.oldest)
        print(load.report(), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
