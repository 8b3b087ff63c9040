"""An event loop in a thread of its own, for listeners and connections on real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from caching_proxy.server.listener import Listener, listen


class LoopThread:
    """A private event loop in a thread, as the loop of a reactor would be."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def call(self, function: Callable, *args: object) -> object:
        """Run ``function`` in the loop and wait for what it returns, a Deferred included."""

        async def run() -> object:
            result = function(*args)
            return await result.asFuture(self.loop) if isinstance(result, Deferred) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def listen(self, factory: Factory) -> Listener:
        return self.call(lambda: listen(SimpleNamespace(_asyncioEventloop=self.loop), ("127.0.0.1", 0), factory))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()


def read(client: socket.socket, expected: int) -> bytes:
    got = bytearray()
    while len(got) < expected and (data := client.recv(65536)):
        got += data
    return bytes(got)
