"""A backend with a socket, whose answers are raw bytes."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure

from caching_proxy.testing.wire import ByteRecorder

RawScript = Callable[[bytes], "bytes | None"]
"""Raw request (head and body) → raw response bytes; None closes the connection without answering."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)


class _ScriptedConnection(ByteRecorder):
    def __init__(self, backend: ScriptedBackend) -> None:
        super().__init__()
        self.backend = backend

    def connectionMade(self) -> None:
        self.backend.accepted += 1
        self.backend.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        while (size := _request_size(self.data)) is not None:
            request = bytes(self.data[:size])
            del self.data[:size]
            self.backend.requests.append(request)
            answer = self.backend.script(request)
            if answer is None:
                self.close()
                return
            self.send(answer)
            if self.backend.close_after_answer:
                self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.backend.connections.remove(self)
        self.backend.gone()


class _Factory(ServerFactory):
    noisy = False

    def __init__(self, backend: ScriptedBackend) -> None:
        self.backend = backend

    def buildProtocol(self, addr: IAddress | None) -> _ScriptedConnection:
        return _ScriptedConnection(self.backend)


def _request_size(data: bytearray) -> int | None:
    """Bytes of the first request in ``data``, or None while it is incomplete. Trusts well-formed requests."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = bytes(data[:end])
    if _CHUNKED.search(head):
        last = data.find(b"0\r\n\r\n", end) if data[end : end + 5] == b"0\r\n\r\n" else data.find(b"\r\n0\r\n\r\n", end)
        return None if last < 0 else last + (5 if last == end else 7)
    length = _LENGTH.search(head)
    size = end + (int(length[1]) if length else 0)
    return size if len(data) >= size else None


class ScriptedBackend:
    """A TCP server on ``127.0.0.1`` whose answers are raw bytes, right or wrong.

    ``requests`` holds raw requests (head and body, chunked ones undecoded), ``accepted`` counts connections,
    ``connections`` are the open ones; ``port`` and ``url`` say where it is, even after it stopped. Every connection
    stays open after an answer unless ``close_after_answer``::

        backend = ScriptedBackend(reactor, lambda request: b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
        ...
        await backend.stop()
    """

    def __init__(self, reactor: IReactorTCP, script: RawScript, *, close_after_answer: bool = False) -> None:
        self.script = script
        self.close_after_answer = close_after_answer
        self.requests: list[bytes] = []
        self.connections: list[ByteRecorder] = []
        self.accepted = 0
        self._stopped: Deferred[None] | None = None
        self._port: IListeningPort = reactor.listenTCP(0, _Factory(self), interface="127.0.0.1")
        address = self._port.getHost()
        assert isinstance(address, IPv4Address)
        self.port = address.port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self.port}"

    def drop(self) -> None:
        """Abort every open connection."""
        for connection in list(self.connections):
            assert connection.transport is not None
            connection.transport.abortConnection()  # type: ignore[attr-defined]

    def stop(self) -> Deferred[None]:
        """Stop listening, abort what is open; fires when nothing is left."""
        self._stopped = Deferred()
        return Deferred.fromCoroutine(self._stop(self._stopped))

    async def _stop(self, stopped: Deferred[None]) -> None:
        self.drop()
        self.gone()
        closed = self._port.stopListening()
        if closed is not None:
            await closed
        await stopped

    def gone(self) -> None:
        """A connection has ended."""
        if self._stopped is not None and not self.connections and not self._stopped.called:
            self._stopped.callback(None)
