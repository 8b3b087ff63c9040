"""An HTTP/2 client in memory: the ``h2`` library's, joined to a server's protocol; and frames by hand."""

from __future__ import annotations

import struct
from typing import Any

import attrs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


@attrs.define
class Answer:
    """What a stream has come to so far."""

    fields: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    interim: list[list[tuple[bytes, bytes]]] = attrs.field(factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    def __getitem__(self, name: bytes) -> bytes:
        [value] = [value for key, value in self.fields if key == name]
        return value

    @property
    def status(self) -> int:
        return int(self[b":status"])


class Client:
    """``reading``: content that arrives is given back to the server's window."""

    def __init__(self, server: Any, transport: Any, reading: bool = True) -> None:
        self.machine = H2Connection(
            H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.server = server
        self.transport = transport
        self.reading = reading
        self.streams: dict[int, Answer] = {}
        self.goodbye: ConnectionTerminated | None = None
        self.machine.initiate_connection()
        self.carry()

    def carry(self) -> None:
        """Deliver what either side has for the other."""
        while True:
            sent = self.machine.data_to_send()
            if sent:
                self.server.dataReceived(sent)
            came = self.transport.value()
            self.transport.clear()
            if came:
                for event in self.machine.receive_data(came):
                    self._heed(event)
            if not came:
                return

    def _heed(self, event: Any) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goodbye = event
            return
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, InformationalResponseReceived):
            stream.interim.append([(bytes(name), bytes(value)) for name, value in event.headers])
        elif isinstance(event, DataReceived):
            stream.body += event.data
            if self.reading:
                self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = int(event.error_code)

    def begin(
        self, path: bytes = b"/", *fields: tuple[bytes, bytes], method: bytes = b"GET", ends: bool = True
    ) -> tuple[int, Answer]:
        """Send a head."""
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"a"), (b":path", path), *fields]
        return self.begin_raw(head, ends)

    def begin_raw(self, head: list[tuple[bytes, bytes]], ends: bool = True) -> tuple[int, Answer]:
        number = self.machine.get_next_available_stream_id()
        answer = self.streams[number] = Answer()
        self.machine.send_headers(number, head, end_stream=ends)
        self.carry()
        return number, answer

    def get(self, path: bytes = b"/", *fields: tuple[bytes, bytes], method: bytes = b"GET") -> Answer:
        return self.begin(path, *fields, method=method)[1]

    def send(self, number: int, data: bytes, ends: bool = False) -> None:
        """Content, as far as the window goes."""
        at = 0
        while True:
            size = min(self.machine.local_flow_control_window(number), 16384, len(data) - at)
            if size <= 0 < len(data) - at:
                raise AssertionError("the window is closed")
            self.machine.send_data(number, data[at : at + size], end_stream=ends and at + size == len(data))
            at += size
            self.carry()
            if at >= len(data):
                return

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.server.dataReceived(data)
        self.carry()
