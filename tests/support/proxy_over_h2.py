"""A proxy whose tests speak HTTP/2 over TLS to it, with the same calls as over HTTP/1.1."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.authority import Authority
from support.h2_blocking import Client
from support.proxy_process import ProxyProcess, Response
from support.tls_client import write_pair

AUTHORITY = Authority()


class ProxyOverHTTP2(ProxyProcess):
    """Each request has a connection of its own, as those of :class:`ProxyProcess` have."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        certificate, key = write_pair(directory, "pair", AUTHORITY, "localhost")
        super().__init__(directory, {"TLS_CERT_FILE": certificate, "TLS_KEY_FILE": key, **environment})

    def request(
        self, method: str, target: str, fields: dict[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        given = {name.lower(): value for name, value in (fields or {}).items()}
        host = given.pop("host", f"127.0.0.1:{self.port}")
        sent = {"accept-encoding": "identity", **given}
        if body is not None:
            sent.setdefault("content-length", str(len(body)))
        client = Client(self.port, AUTHORITY)
        try:
            number = client.begin(target, method, body is None, host, tuple(sent.items()))
            if body is not None:
                client.upload(number, body)
            [answer] = client.finish(number)
        finally:
            client.socket.close()
        if answer.reset is not None or not answer.ended:
            raise ConnectionError(f"the stream was reset: {answer.reset}")
        told = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.fields]
        return Response(answer.status, [pair for pair in told if pair[0] != ":status"], answer.body)

    def raw(self, data: bytes, timeout: float = 10.0) -> bytes:
        pytest.skip("writes HTTP/1.1 by hand")
