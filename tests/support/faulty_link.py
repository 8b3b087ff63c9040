"""A TCP relay that can be slow, silent or cut: between the proxy and its Redis or its backend."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class FaultyLink:
    """Relays 127.0.0.1:``port`` to ``target`` in a thread. ``delay`` seconds hold back every answer; while ``silent``,
    nothing passes, and no end of a connection either (half open); :meth:`cut` resets every connection."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._speaking = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultyLink:
        self._thread.start()
        self._call(self._start())
        self.silence(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def silence(self, silent: bool) -> None:
        """Let nothing through, or go on with what came meanwhile."""
        self._loop.call_soon_threadsafe(self._speaking.clear if silent else self._speaking.set)

    def cut(self) -> None:
        """Reset what is open."""
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in self._open])

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled: the test is over
            await asyncio.gather(self._pass(reader, back, 0), self._pass(there, writer, 1))
        self._open -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delayed: int) -> None:
        try:
            due = 0.0
            while data := await reader.read(65536):
                await self._speaking.wait()
                due = max(due + 1e-6, self._loop.time() + self.delay * delayed)  # a shorter delay overtakes nothing
                self._loop.call_at(due, writer.write, data)
            await self._speaking.wait()
        finally:
            writer.transport.close()
