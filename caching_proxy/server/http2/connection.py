"""One HTTP/2 connection: frames in, frames out, and the streams between (RFC 9113).

Frames are counted and bounded before they are understood, and others have their turn after :data:`TURN_SECONDS` of
them. A connection to which nothing more can be sent makes nothing more: new requests wait in line, a hundred at most.
"""

from __future__ import annotations

from collections import deque
from math import inf

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.http2.bounds import GOAWAY, Flood, Frame
from caching_proxy.server.http2.heads import check_trailers, request_head
from caching_proxy.server.http2.machine import CONNECTION_WINDOW
from caching_proxy.server.http2.sending import FrameSendingHalf
from caching_proxy.server.http2.stream import Stream
from caching_proxy.server.request_head import AnyHead
from caching_proxy.server.seams import Site

KEPT_BYTES = 1024 * 1024
"""Bytes of answers that wait for one client, beyond which its next requests wait in line."""

TURN_SECONDS = 0.005
"""Time for frames of one connection in one turn of the loop."""

_REFUSED_STREAM = int(ErrorCodes.REFUSED_STREAM)
_PROTOCOL_ERROR = int(ErrorCodes.PROTOCOL_ERROR)
_ENHANCE_YOUR_CALM = int(ErrorCodes.ENHANCE_YOUR_CALM)
_FRAME_SIZE_ERROR = int(ErrorCodes.FRAME_SIZE_ERROR)


class HTTP2Channel(FrameSendingHalf):
    """The connection, and the site's ``Connection``."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._line: deque[tuple[Stream, AnyHead]] = deque()  # requests that wait
        self._resting = self._line_later = self._leaving = False
        self._head_since: float | None = None

    # -- the connection --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.due = self.seconds() + self.limits.head_seconds
        self.site.connections.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]
        self._machine.initiate_connection()
        self._machine.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
        self.forget()
        self.site.connections.discard(self)
        self._drop_streams(reason)

    def _drop_streams(self, reason: Failure) -> None:
        self._line.clear()
        self._ready.clear()
        self._blocked.clear()
        for stream in list(self.streams.values()):
            stream.lost(reason)

    # -- frames in -------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._ending:
            return
        self._gate.feed(data)
        if not self._resting:
            self._receive()

    def _receive(self) -> None:
        """Take the frames that are here, for a while."""
        since = self.seconds()
        self._receiving = True
        try:
            for frame in self._gate.frames():
                self._take(frame)
                if self._ending:
                    break
                now = self.seconds()
                if now - since >= TURN_SECONDS:
                    self._rest_a_turn()
                    break
        except Flood as flood:
            self._fail(_FRAME_SIZE_ERROR if flood.frame_size else _ENHANCE_YOUR_CALM, 400)
        except BadMessage:
            self._fail(_PROTOCOL_ERROR, 400)
        except H2Error as problem:
            self._fail(int(getattr(problem, "error_code", _PROTOCOL_ERROR)), 400)
        finally:
            self._receiving = False
        self._time_heads()
        self.flush()

    def _rest_a_turn(self) -> None:
        self._resting = True
        self.transport.pauseProducing()  # type: ignore[attr-defined]
        self.clock.callLater(0, self._rested)

    def _rested(self) -> None:
        self._resting = False
        if not self._ending and self.connected:
            self.transport.resumeProducing()  # type: ignore[attr-defined]
            self._receive()

    def _time_heads(self) -> None:
        """A frame or head that was begun has to be complete in time, whatever else goes on."""
        if not self._gate.partial or self._resting:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = self.seconds()

    def _take(self, frame: Frame) -> None:
        if frame.kind == GOAWAY:  # the machine would send nothing more
            self._leaving = True
            self._leave_if_done()
            return
        for event in self._machine.receive_data(frame.data):
            self._heed(event)

    def _heed(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._data(event)
        elif isinstance(event, RequestReceived):
            self._requested(event)
        elif isinstance(event, WindowUpdated):
            self._window_opened(event.stream_id or 0)
        elif isinstance(event, StreamEnded):
            stream = self.streams.get(event.stream_id)
            self._unread.pop(event.stream_id, None)
            if stream is not None and not stream.received:
                stream.end_of_request()
        elif isinstance(event, StreamReset):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.lost(Failure(ConnectionLost("the client has reset the stream")))
            self._unread.pop(event.stream_id, None)
            if not event.remote_reset:
                self._count_reset()
        elif isinstance(event, TrailersReceived):
            self._trailers(event)
        elif isinstance(event, RemoteSettingsChanged):
            self._machine.bound_table()
            if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                self._window_opened(0)

    def _requested(self, event: RequestReceived) -> None:
        number = event.stream_id
        self.due = inf
        stream = self.streams[number] = Stream(self, number)
        stream.received = event.stream_ended is not None
        if self._leaving:
            self._refuse_stream(stream)
            return
        try:
            parsed: AnyHead = self.site.heads.parse(request_head(event.headers))
            if self.full or self.kept > KEPT_BYTES or self._line:
                self._line.append((stream, parsed))
            else:
                stream.begin(parsed)
        except BadMessage as problem:
            stream.refuse(problem)

    def _refuse_stream(self, stream: Stream) -> None:
        self.send_reset(stream, _REFUSED_STREAM)
        stream.lost(Failure(ConnectionLost("the connection ends")))

    def _line_moves(self) -> None:
        self._line_later = False
        self._serve_line()
        self.flush()

    def _serve_line(self) -> None:
        """Requests that waited go on, while there is room."""
        while self._line and not self.full and self.kept <= KEPT_BYTES and not self._ending:
            stream, parsed = self._line.popleft()
            if stream.over:
                continue
            try:
                stream.begin(parsed)
            except BadMessage as problem:
                stream.refuse(problem)

    def _data(self, event: DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        size = event.flow_controlled_length or 0
        if stream is None or stream.over:
            if size:  # nobody reads it: of the windows only the connection's is opened again
                self._ask(lambda: self._machine.increment_flow_control_window(size))
            return
        stream.feed(bytes(event.data or b""), size)
        if stream.over:
            self._count_reset()

    def _trailers(self, event: TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        try:
            check_trailers(event.headers)
        except BadMessage:
            if stream is not None:
                stream.reset(_PROTOCOL_ERROR)
            self._count_reset()

    def _count_reset(self) -> None:
        """The client has made us end a stream, which is as good as ending it itself; raises :class:`Flood`."""
        if not self._gate.resets.take(self.seconds()):
            raise Flood("too many streams had to be reset")

    # -- SendingHalf's questions -------------------------------------------------------------------

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._room_changed()

    def drained(self) -> None:
        self._piled = 0
        self._room_changed()
        self._pump_streams()

    def _room_changed(self) -> None:
        for stream in list(self.streams.values()):
            stream.room_changed()

    def closed(self, stream: Stream) -> None:
        """A stream is over."""
        self._ready.pop(stream, None)
        self._blocked.pop(stream, None)
        if self.streams.get(stream.number) is stream:
            del self.streams[stream.number]
        if self._line and not self._line_later:
            self._line_later = True
            self.clock.callLater(0, self._line_moves)
        if not self.streams:
            self.due = self.seconds() + self.limits.idle_seconds
            self._leave_if_done()

    # -- the end -----------------------------------------------------------------------------------

    def _leave_if_done(self) -> None:
        if (self._leaving or self.site.connections.draining) and not self.streams:
            self._say_goodbye(0)

    def _say_goodbye(self, code: int) -> None:
        """GOAWAY and the end, once all is sent."""
        if not self._ending and self.connected:
            self._receiving = self._pumping = False
            self.write(bytes(self._machine.data_to_send()) + self._goaway(code))
            self.end(lingers=True)

    def _goaway(self, code: int) -> bytes:
        frame = GoAwayFrame(0, last_stream_id=self._machine.highest_inbound_stream_id, error_code=code)
        data: bytes = frame.serialize()
        return data

    def _fail(self, code: int, status: int) -> None:
        """The client breaks the protocol or a bound."""
        if self._ending:
            return
        if self.site.on_refused is not None:
            self.site.on_refused(status, self.peer_host)
        self._machine.clear_outbound_data_buffer()
        self.write(self._goaway(code))
        self.end(lingers=True)
        self._drop_streams(Failure(ConnectionLost("the client broke the protocol")))

    def check(self, now: float) -> None:
        super().check(now)
        if not self.connected or self._ending:
            return
        since = self._head_since
        if since is not None and now - since >= self.limits.head_seconds and (self._gate.in_head or not self.streams):
            self._fail(_ENHANCE_YOUR_CALM, 408)
            return
        for number in [number for number, until in self._unread.items() if now >= until]:
            del self._unread[number]
            self._ask(lambda number=number: self._machine.reset_stream(number, 0))  # type: ignore[misc]
        for stream in list(self.streams.values()):
            stream.check(now)
        self.flush()

    def overdue(self, now: float) -> None:
        self.due = inf
        if not self.streams:
            self._say_goodbye(0)

    @property
    def idle(self) -> bool:
        return not self.streams and not self._ending

    def close_idle(self) -> None:
        self._say_goodbye(0)

    def wind_down(self) -> None:
        """Nothing more is begun; what is under way goes on."""
        if not self._leaving and not self._ending:
            self._leaving = True
            self.write(bytes(self._machine.data_to_send()) + self._goaway(0))
