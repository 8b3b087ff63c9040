"""What a collector answers, read in bounded time and memory: it may drip its answer, or never end it."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import requests

MAX_ANSWER = 16 * 1024
"""Bytes of an answer; those of a collector have a few."""


class BoundedSession(requests.Session):
    """A session whose responses have come whole within ``seconds`` of the request, or raise."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        until = time.monotonic() + self._seconds
        kwargs["stream"] = True
        response = super().send(request, **kwargs)
        try:
            if response.is_redirect:  # the exporter takes it for success, and would drop the spans without a word
                raise requests.RequestException("the collector is elsewhere")
            response.raw = BytesIO(_read(response.raw, until))
        except BaseException:
            response.close()
            raise
        return response


def _read(raw: Any, until: float) -> bytes:
    """All of ``raw``, undecoded. It comes byte by byte: all that a socket limits is the time between two of them."""
    answer = bytearray()
    while byte := raw.read(1, decode_content=False):
        answer += byte
        if len(answer) > MAX_ANSWER or time.monotonic() > until:
            raise requests.RequestException("the answer does not end")
    return bytes(answer)
