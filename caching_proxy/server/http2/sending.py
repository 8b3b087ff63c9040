"""The sending half of an HTTP/2 connection: a frame of each stream in turn, as far as windows and transport go."""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes
from h2.exceptions import FlowControlError, ProtocolError, StreamClosedError

from caching_proxy.http.messages import Field
from caching_proxy.server.http2.bounds import FRAME_BYTES, FrameGate
from caching_proxy.server.http2.heads import response_lines
from caching_proxy.server.http2.machine import Machine
from caching_proxy.server.http2.stream import Stream
from caching_proxy.server.seams import Site
from caching_proxy.server.sending import TURN_BYTES, SendingHalf

PILED_BYTES = 256 * 1024
"""Bytes beside content that may be made while a client reads nothing."""

MANY_BYTES = 4 * FRAME_BYTES
"""Bytes of frames that are given to the transport at once."""

REMEMBERED_HEADS = 64

_INTERNAL_ERROR = int(ErrorCodes.INTERNAL_ERROR)


class FrameSendingHalf(SendingHalf):
    """What streams see of their connection. ``kept``: bytes of answers that wait for this client alone."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.clock, site.limits, site.pinned, site.turn)
        self.site = site
        self.streams: dict[int, Stream] = {}
        self.kept = 0
        self._machine = Machine(site.limits.head_bytes)
        self._gate = FrameGate(2 * site.limits.head_bytes, self.seconds)
        self._ready: dict[Stream, None] = {}
        self._blocked: dict[Stream, None] = {}  # by their window
        self._told: dict[bytes, list[Field]] = {}
        self._unread: dict[int, float] = {}  # streams that are answered and still sent on, with the end of patience
        self._receiving = self._pumping = self._pump_later = False
        self._piled = 0

    def closed(self, stream: Stream) -> None:
        """A stream is over."""
        raise NotImplementedError

    def _serve_line(self) -> None:
        """There is room again."""

    def told(self, head: bytes) -> list[Field]:
        """The fields of an HTTP/1.1 head, remembered: those of hot entries stay the same for a second."""
        fields = self._told.get(head)
        if fields is None:
            if len(self._told) >= REMEMBERED_HEADS:
                self._told.clear()
            fields = self._told[head] = response_lines(head)
        return fields

    def send_head(self, stream: Stream, fields: list[Field], ends: bool) -> None:
        """Put a head in line for sending."""
        if self._ask(lambda: self._machine.send_headers(stream.number, fields, end_stream=ends)) and ends:
            stream.ended()

    def send_reset(self, stream: Stream, code: int) -> None:
        """End a stream."""
        if self._ask(lambda: self._machine.reset_stream(stream.number, code)):
            self.flush()

    def linger(self, stream: Stream) -> None:
        """``stream`` is answered, and its client still sends. It is told to stop (RFC 9113 §8.1), but only when it had
        time to read the answer: some clients throw that away when both arrive together."""
        self._unread[stream.number] = self.seconds() + self.limits.linger_seconds

    def give_back(self, number: int, size: int) -> None:
        """``size`` bytes of a stream's content were read: the client may send as many more."""
        if size and self.connected and self._ask(lambda: self._machine.acknowledge_received_data(size, number)):
            self.flush()

    def _ask(self, step: Callable[[], None]) -> bool:
        """Whether ``step`` was possible: the client may have been quicker in ending what it is about."""
        if self._ending or not self.connected:
            return False
        try:
            step()
        except (ProtocolError, StreamClosedError):
            return False
        return True

    def ready(self, stream: Stream) -> None:
        """``stream`` has something to send."""
        if stream not in self._blocked:
            self._ready[stream] = None
            self._pump_streams()

    def _pump_streams(self) -> None:
        """A frame of each stream in turn, as far as windows and transport go."""
        if self._pumping or self._pump_later:
            return
        self._pumping = True
        try:
            given = 0
            while self._ready and not self.full and self.connected and not self._ending:
                if given >= TURN_BYTES or self._turn.over:
                    self._pump_later = True
                    self.clock.callLater(0, self._pump_on)
                    break
                stream = next(iter(self._ready))
                del self._ready[stream]
                given += self._send_some(stream)
        finally:
            self._pumping = False
        self.flush()
        self._serve_line()

    def _pump_on(self) -> None:
        self._pump_later = False
        self._pump_streams()

    def _send_some(self, stream: Stream) -> int:
        if stream.over or not stream.pending:
            return 0
        if stream.cutting:
            stream.reset(_INTERNAL_ERROR)
            return 0
        room = 0
        try:
            room = min(FRAME_BYTES, self._machine.local_flow_control_window(stream.number))
        except (ProtocolError, FlowControlError):
            return 0  # it is over
        if room <= 0 and not stream.empty:
            self._blocked[stream] = None
            return 0
        data, last = stream.next_data(room)
        if not self._ask(lambda: self._machine.send_data(stream.number, data, end_stream=last)):
            return 0
        self._gate.windows.credit(2)
        self._turn.take(len(data))
        if last:
            self._gate.resets.credit(0.5)
            stream.ended()
        elif stream.pending:
            self._ready[stream] = None
        else:
            stream.drained()
        if len(self._machine._data_to_send) >= MANY_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Give the transport what there is, unless more is sure to come in this turn."""
        if (self._receiving or self._pumping) and len(self._machine._data_to_send) < MANY_BYTES:
            return
        data: bytes = self._machine.data_to_send()
        if not data or not self.connected:
            return
        if self.full:
            self._piled += len(data)
            if self._piled > PILED_BYTES:
                self.abort()
                return
        self.write(data)

    def _window_opened(self, number: int) -> None:
        if number:
            stream = self.streams.get(number)
            if stream is not None and stream in self._blocked:
                del self._blocked[stream]
                self._ready[stream] = None
        else:
            self._ready.update(self._blocked)
            self._blocked.clear()
        self._pump_streams()
