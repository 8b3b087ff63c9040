"""What arrives is cut into frames, and what costs more than it is worth is counted, before anybody looks into it.

Each kind of nuisance has a bucket: so many at once, so many a second, and more for work that was really done. The
known floods (resets, pings, settings, priorities, empty frames, window updates, continuations) end the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from caching_proxy.http.framing import BadMessage

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16 * 1024
"""The longest payload that is taken: what every endpoint takes, and we never offer more (RFC 9113 §4.2)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

SETTINGS_FRAMES = 100
"""In the life of a connection: clients send one or two."""

SETTINGS_BYTES = 32 * 6

CONTINUATIONS = 16
"""In one head."""

_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


class Flood(Exception):
    """The client sends more of something than makes sense; ``frame_size``: a frame that is too long."""

    def __init__(self, text: str, frame_size: bool = False) -> None:
        super().__init__(text)
        self.frame_size = frame_size


class Bucket:
    """``burst`` at once, ``rate`` a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is within the bounds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate) - 1
        self._at = now
        return self._left >= 0

    def credit(self, count: float) -> None:
        """Work was done that entitles to ``count`` more."""
        self._left = min(self._burst, self._left + count)


@attrs.frozen(slots=True)
class Frame:
    """A whole frame as it came, and what its head says."""

    kind: int
    flags: int
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data) - 9


class FrameGate:
    """Takes bytes, gives frames. ``head_bytes`` bounds the encoded fields of one head; raises :class:`Flood`, or
    :class:`BadMessage` for who does not speak HTTP/2 at all."""

    def __init__(self, head_bytes: int, seconds: Callable[[], float]) -> None:
        now = seconds()
        self._seconds = seconds
        self._head_bytes = head_bytes
        self._data = bytearray()
        self._at = 0
        self._greeted = False
        self._settings = 0
        self._block = -1  # bytes of the head that is under way; below zero: none is
        self._continuations = 0
        self.resets = Bucket(200, 20, now)
        """Streams that were begun and given up, by the client or because of what it sent."""
        self.windows = Bucket(2000, 200, now)
        self._nuisances = Bucket(200, 20, now)

    @property
    def partial(self) -> bool:
        """Whether a frame or a head is not complete yet."""
        return self._block >= 0 or self._at < len(self._data) or not self._greeted

    @property
    def in_head(self) -> bool:
        """Whether the client owes the rest of a head: no other stream can go on meanwhile."""
        return self._block >= 0

    def feed(self, data: bytes) -> None:
        """More bytes have arrived."""
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def frames(self) -> Iterator[Frame]:
        """The frames that are complete and within bounds; the preface counts as one. May be left and begun again."""
        if not self._greeted:
            start = bytes(self._data[: len(PREFACE)])
            if not PREFACE.startswith(start):
                raise BadMessage(400, "not an HTTP/2 connection")
            if len(start) < len(PREFACE):
                return
            self._greeted = True
            self._at = len(PREFACE)
            yield Frame(-1, 0, PREFACE)
        while len(self._data) - self._at >= 9:
            at, data = self._at, self._data
            length = int.from_bytes(data[at : at + 3], "big")
            if length > FRAME_BYTES:
                raise Flood("a frame is too long", frame_size=True)
            if len(data) - at < length + 9:
                return
            frame = Frame(data[at + 3], data[at + 4], bytes(data[at : at + length + 9]))
            self._at = at + length + 9
            self._count(frame)
            yield frame

    def _count(self, frame: Frame) -> None:
        kind, flags, now = frame.kind, frame.flags, self._seconds()
        if kind == DATA:
            if frame.length or flags & _END_STREAM:
                return
        elif kind in (HEADERS, CONTINUATION):
            self._count_head(frame)
            if frame.length:
                return
        elif kind == RST_STREAM:
            if not self.resets.take(now):
                raise Flood("too many streams are reset")
            return
        elif kind == WINDOW_UPDATE:
            if not self.windows.take(now):
                raise Flood("too many window updates")
            return
        elif kind == SETTINGS and not flags & _ACK:
            self._settings += 1
            if self._settings > SETTINGS_FRAMES or frame.length > SETTINGS_BYTES:
                raise Flood("too many settings")
        if not self._nuisances.take(now):
            raise Flood("too many frames that carry nothing")

    def _count_head(self, frame: Frame) -> None:
        if frame.kind == HEADERS:
            self._block = self._continuations = 0
        else:
            self._continuations += 1
        self._block += frame.length
        if self._block > self._head_bytes or self._continuations > CONTINUATIONS:
            raise Flood("a head is too long")
        if frame.flags & _END_HEADERS:
            self._block = -1
