"""One end of the control channel: a Twisted protocol on a Unix socket that gives and takes frames."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.workers.frames import BadFrame, FrameReader, WorkerFrame


class ControlChannel(Protocol):
    """Frames go to ``on_frame``; ``on_lost`` is called once, when the other end is gone."""

    _log = Logger()

    def __init__(self, on_frame: Callable[[WorkerFrame], object], on_lost: Callable[[], object]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._reader = FrameReader()

    def send(self, frame: WorkerFrame) -> None:
        """Nothing happens if the other end is gone."""
        if self.transport is not None and self.connected:
            self.transport.write(frame.encode())

    def dataReceived(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except BadFrame as problem:
            self._log.error("the control channel is closed, as what came is no frame: {why}", why=str(problem))
            self.close()

    def close(self) -> None:
        if self.transport is not None and self.connected:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
        self._on_lost()


def attach(reactor: Any, end: socket.socket, channel: ControlChannel) -> None:
    """Let ``channel`` speak through ``end``, which is taken over."""
    end.setblocking(False)
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, _Given(channel))
    end.close()  # the reactor made itself a copy


class _Given(Factory):
    noisy = False

    def __init__(self, channel: ControlChannel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: IAddress | None) -> ControlChannel:
        return self._channel
