"""A name server for one name, on port 53 of an address of its own: it tells, denies or says nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

A = 1
_ANSWERS, _NO_SUCH_NAME = 0x8180, 0x8183


class NameServer:
    """Answers for any name with ``address``; None: there is no such name. Does not answer at all while ``silent``."""

    def __init__(self, host: str = "127.0.53.53") -> None:
        self.host = host
        self.address: str | None = None
        self.silent = False
        self.asked = 0

    def __enter__(self) -> NameServer:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.host, 53))
        except OSError as problem:
            self._socket.close()
            pytest.skip(f"no name server here: {problem}")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # ends recvfrom
        self._thread.join(10)
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                query, peer = self._socket.recvfrom(512)
            except OSError:
                return
            if not query:
                return
            self.asked += 1
            if not self.silent:
                self._socket.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        question, kind = query[12:end], query[end - 4 : end - 2]
        found = self.address if kind == struct.pack("!H", A) else None
        flags = _ANSWERS if self.address else _NO_SUCH_NAME
        head = query[:2] + struct.pack("!5H", flags, 1, int(found is not None), 0, 0)
        if found is None:
            return head + question
        return head + question + struct.pack("!HHHLH4s", 0xC00C, A, 1, 0, 4, socket.inet_aton(found))
