"""A client that speaks HTTP/2 to the whole proxy, in place of one that writes HTTP/1.1: the same requests, given as the
same bytes, become streams, and the answers are read back as messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded
from support.whole_proxy import ClientWire, Message, Reader, Unclear

from caching_proxy.server.http2.connection import HTTP2Channel
from caching_proxy.testing import ByteRecorder

if TYPE_CHECKING:
    from support.whole_proxy import WholeProxy

OF_THE_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields that a request over HTTP/2 must not have (RFC 9113 §8.2.2)."""


PIECE = 16384
"""Bytes of content in one frame, as the server allows."""


def only_http1() -> NoReturn:
    """Bytes that mean nothing over HTTP/2: no whole request of HTTP/1.1, or one that is about its framing."""
    pytest.skip("says what only HTTP/1.1 can say")


class HTTP2Client:
    """A connection to the proxy, with what :class:`support.whole_proxy.Client` has."""

    def __init__(self, proxy: WholeProxy, host: str, admin: bool = False) -> None:
        self._proxy = proxy
        site = proxy.proxy.admin_site if admin else proxy.proxy.site
        assert site is not None
        self.refused = not site.connections.allows(host.encode())
        self.end = ByteRecorder()
        self._answers: dict[int, tuple[list[tuple[bytes, bytes]], list[bytes]]] = {}
        self._ended: list[int] = []
        config = H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        self._machine = H2Connection(config)
        if not self.refused:
            channel = HTTP2Channel(site)
            self.wire = ClientWire(self.end, channel, host)  # type: ignore[arg-type]
            proxy.wires.append(self.wire)
            self._machine.initiate_connection()
            self._carry()

    def _carry(self) -> None:
        while True:
            sent = self._machine.data_to_send()
            if sent and self.end.transport is not None and self.end.transport.connected:  # type: ignore[attr-defined]
                self.end.send(sent)
            self._proxy.pump()
            came, self.end.data = bytes(self.end.data), bytearray()
            if not came:
                return
            for event in self._machine.receive_data(came):
                self._heed(event)

    def _heed(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            self._answers[event.stream_id] = ([(bytes(n), bytes(v)) for n, v in event.headers], [])
        elif isinstance(event, DataReceived):
            self._answers[event.stream_id][1].append(event.data)
            self._machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self._ended.append(event.stream_id)

    def send(self, data: bytes) -> bytes:
        only_http1()

    def ask(self, data: bytes, head: bool = False) -> list[Message]:
        """The requests in ``data``, each on a stream of its own, and the complete answers in the same order."""
        streams = [self._begin(request) for request in _requests(data)]
        return [self._message(number) for number in streams if number in self._ended]

    def _begin(self, request: Message) -> int:
        method, target, _ = request.start.split(b" ")
        hosts = request.all("host")
        if len(hosts) != 1:
            only_http1()
        authority = hosts[0]
        if absolute := re.fullmatch(rb"https?://([^/?#@]+)(.*)", target):
            authority, target = absolute[1], absolute[2] or b"/"
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", target)]
        fields = [pair for pair in request.fields if pair[0] not in OF_THE_CONNECTION and pair[0] != b"host"]
        number = self._machine.get_next_available_stream_id()
        self._machine.send_headers(number, pseudo + fields, end_stream=not request.body)
        self._carry()
        for at in range(0, len(request.body), PIECE):
            self._machine.send_data(number, request.body[at : at + PIECE], at + PIECE >= len(request.body))
            self._carry()
        return number

    def _message(self, number: int) -> Message:
        fields, parts = self._answers.pop(number)
        status = dict(fields)[b":status"]
        return Message(b"HTTP/1.1 %b -" % status, [pair for pair in fields if pair[0] != b":status"], b"".join(parts))

    @property
    def closed(self) -> bool:
        """Whether the proxy has ended the connection."""
        server = self.wire.server
        return not server.connected or server.disconnecting or server._eof

    def close(self) -> None:
        self.end.close()
        self._proxy.pump()


def _requests(data: bytes) -> list[Message]:
    """Every request in ``data``; skips the test for whatever is not beyond doubt."""
    reader, found = Reader(), []
    reader.data = data
    while reader.data:
        try:
            request = reader.next()
        except (Unclear, ValueError):
            only_http1()
        if request is None or request.start.count(b" ") != 2 or not request.start.endswith(b" HTTP/1.1"):
            only_http1()
        if request.all("expect"):
            only_http1()
        found.append(request)
    return found
