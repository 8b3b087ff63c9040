"""Certificates in files, and a TLS client in memory that talks to a server's protocol without a socket."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from support.authority import Authority, dns, pem_key


def write_pair(directory: Path, name: str, authority: Authority, *names: str, days: int = 20_000) -> tuple[str, str]:
    """Certificate and key for ``names`` in two files; their paths."""
    certificate, key = authority.issue(*dns(*names), days=days)
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(pem_key(key))
    return str(paths[0]), str(paths[1])


def client_context(authority: Authority | None = None, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Trusts ``authority``; None: anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=authority.pem.decode())
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class MemoryClient:
    """The client's end. ``server`` is a protocol whose transport is a string transport."""

    def __init__(self, server: Any, transport: Any, context: ssl.SSLContext, name: str | None = "localhost") -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._server = server
        self._transport = transport
        self.ended = False

    def carry(self) -> None:
        """Deliver what either side has for the other."""
        while True:
            sent = self._out.read()
            if sent:
                self._server.dataReceived(sent)
            came = self._transport.value()
            self._transport.clear()
            if came:
                self._in.write(came)
            if not sent and not came:
                return
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()

    def handshake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.carry()

    def send(self, data: bytes) -> bytes:
        """Send ``data``; what has come back."""
        self.tls.write(data)
        return self.receive()

    def receive(self) -> bytes:
        self.carry()
        got = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                piece = self.tls.read(65536)
                if not piece:
                    self.ended = True
                    break
                got += piece
        return got

    def close(self) -> None:
        """Say that no more is sent."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.carry()
