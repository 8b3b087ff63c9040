"""Requests and answers as bytes, and an application that answers when it is told."""

from __future__ import annotations

import re

from caching_proxy.http.messages import ResponseHead

OK = ResponseHead(200, b"OK")


def get(target: bytes = b"/", *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET %b HTTP/%b" % (target, version), b"Host: a", *fields, b"", b""])


def post(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"POST /p HTTP/1.1", b"Host: a", *fields, b"", b""]) + body


def answer(content: bytes, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(content), *fields, b"", b""]
    return b"\r\n".join(lines) + content


def statuses(data: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3})", data)]


class Late:
    """An application that answers when told."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, request) -> None:
        self.waiting.append(request)

    def answer(self, content: bytes = b"late") -> None:
        self.waiting.pop(0).respond(OK, content)


CHUNKED = b"Transfer-Encoding: chunked"
