"""Says hello over a WebSocket, and something long; prints the subprotocol and what came back."""

import asyncio
import sys

import websockets


async def talk(url: str) -> str:
    async with websockets.connect(url, subprotocols=["echo"], proxy=None) as socket:
        await socket.send("hello")
        first = await socket.recv()
        await socket.send("a" * 300_000)
        return f"{socket.subprotocol} {first} {len(await socket.recv())}"


sys.stdout.write(asyncio.run(talk(sys.argv[1])))
