"""What tests of HTTP/2 connections in memory share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.h2_client import Client

from caching_proxy.http.messages import Fields, ResponseHead

Connect = Callable[..., Client]


def respond(body: bytes, *fields: tuple[bytes, bytes], status: int = 200) -> Callable[[Any], None]:
    return lambda request: request.respond(ResponseHead(status, b"x", Fields(fields)), body)


def nothing(request: Any) -> None:
    """No answer yet."""
