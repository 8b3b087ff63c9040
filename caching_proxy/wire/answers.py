"""Answers of the hot path to requests that arrived together, joined into few writes."""

from __future__ import annotations

from caching_proxy.wire.outlet import Outlet
from caching_proxy.wire.transport import HIGH_WATER


class Answers:
    """What one connection has been answered and not yet been sent."""

    __slots__ = ("_channel", "_parts", "_size")

    def __init__(self, channel: Outlet) -> None:
        self._channel = channel
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, answer: bytes) -> bool:
        """Queue one more; False when the client has to read first."""
        self._parts.append(answer)
        self._size += len(answer)
        if self._size >= HIGH_WATER:
            self.send()
        return not self._channel.full

    def send(self) -> None:
        parts = self._parts
        if parts:
            self._parts, self._size = [], 0
            self._channel.write(parts[0] if len(parts) == 1 else b"".join(parts))
