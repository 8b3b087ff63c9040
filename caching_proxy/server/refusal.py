"""The answer to what is no usable request; the connection ends with it."""

from __future__ import annotations

import json
from http import HTTPStatus

from caching_proxy.http.framing import BadMessage

CLIENT_LEFT = 499
"""The status under which a request counts whose client left before the answer, as nginx has it."""


def refusal(problem: BadMessage, date: bytes) -> bytes:
    """A whole response; ``date`` is the value of its Date field."""
    text = json.dumps({"error": problem.text}).encode()
    status = HTTPStatus(problem.status)
    return (
        b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, status.phrase.encode(), date, len(text), text)
    )
