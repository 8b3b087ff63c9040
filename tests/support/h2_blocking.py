"""An HTTP/2 client on a real socket, over TLS: plain and blocking."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from support.authority import Authority
from support.h2_client import Answer
from support.tls_client import client_context


class Client:
    """``reading``: content that arrives is given back to the server's window."""

    def __init__(self, port: int, authority: Authority, reading: bool = True) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 30)
        self.socket = client_context(authority, ("h2", "http/1.1")).wrap_socket(plain, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.machine = H2Connection(H2Configuration(client_side=True))
        self.machine.initiate_connection()
        self.streams: dict[int, Answer] = {}
        self.goodbye: ConnectionTerminated | None = None
        self.ended = False
        self.reading = reading
        if reading:
            self.machine.increment_flow_control_window(1_000_000)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.machine.data_to_send())

    def begin(
        self,
        path: str,
        method: str = "GET",
        ends: bool = True,
        host: str = "localhost",
        fields: Sequence[tuple[str, str]] = (),
    ) -> int:
        number = self.machine.get_next_available_stream_id()
        self.streams[number] = Answer()
        head = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path), *fields]
        self.machine.send_headers(number, head, end_stream=ends)
        self.flush()
        return number

    def receive(self) -> None:
        data = self.socket.recv(65536)
        self.ended = not data
        for event in self.machine.receive_data(data):
            self._heed(event)
        with contextlib.suppress(OSError):
            self.flush()

    def _heed(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goodbye = event
            return
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, DataReceived):
            stream.body += event.data or b""
            if self.reading:
                self.machine.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = int(event.error_code or 0)

    def finish(self, *numbers: int) -> list[Answer]:
        answers = [self.streams[number] for number in numbers]
        while not all(answer.ended or answer.reset is not None for answer in answers) and not self.ended:
            self.receive()
        return answers

    def get(self, path: str, **more: str) -> Answer:
        return self.finish(self.begin(path, **more))[0]  # type: ignore[arg-type]

    def upload(self, number: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            size = min(self.machine.local_flow_control_window(number), 16384, len(view))
            if size:
                self.machine.send_data(number, bytes(view[:size]))
                view = view[size:]
                self.flush()
            else:
                self.receive()
        self.machine.end_stream(number)
        self.flush()
