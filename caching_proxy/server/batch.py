"""Answers of the hot path to requests that arrived together, joined into few writes."""

from __future__ import annotations

from caching_proxy.http.pieces import Content
from caching_proxy.server.sending import SendingHalf
from caching_proxy.transport.native import UNSENT_BYTES

BATCH = 64
"""Requests on one connection after which others have their turn."""

TURN_SECONDS = 0.005
"""Time after which others have their turn; looked at after each request that is more than a hot hit."""


class LargeAnswer:
    """An answer whose body is too large to be copied for each client; ``len`` is what it takes on the wire."""

    __slots__ = ("body", "head")

    def __init__(self, head: bytes, body: Content) -> None:
        self.head = head
        self.body = body

    def __len__(self) -> int:
        return len(self.head) + len(self.body)


HotAnswer = bytes | LargeAnswer


class Answers:
    """What one connection has been answered and not yet been sent, and how much it had of this turn."""

    __slots__ = ("_channel", "_since", "_size", "parts", "served")

    def __init__(self, channel: SendingHalf) -> None:
        self._channel = channel
        self.parts: list[bytes] = []
        """Those that :meth:`send` would write."""
        self._size = 0
        self._since = -1.0
        self.served = 0

    def add(self, answer: HotAnswer) -> bool:
        """Queue one more; False when the client has to read first, or others have to be served."""
        served = self.served = self.served + 1
        if type(answer) is bytes:
            self.parts.append(answer)
            self._size += len(answer)
            if self._size >= UNSENT_BYTES:
                self.send()
        elif isinstance(answer, LargeAnswer):
            self.parts.append(answer.head)
            self.send(answer.body)
        return served < BATCH and not self._channel.full

    def passed(self) -> bool:
        """Count a request that walked the full path; False when others have to be served."""
        self.served += 1
        now = self._channel.seconds()
        if self._since < 0:
            self._since = now
        return self.served < BATCH and 0 <= now - self._since < TURN_SECONDS

    def send(self, body: Content = b"") -> None:
        """Write what is queued, and ``body`` behind it."""
        parts = self.parts
        if parts:
            self.parts, self._size = [], 0
            head = parts[0] if len(parts) == 1 else b"".join(parts)
            if body:
                self._channel.write_content(head, body)
            else:
                self._channel.write(head)
