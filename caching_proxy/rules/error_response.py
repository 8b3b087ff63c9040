"""Error responses that the proxy makes itself: JSON, not to be stored."""

from __future__ import annotations

import json

from caching_proxy.http.messages import Field, Fields, ResponseHead
from caching_proxy.rules.outcome import CacheStatus


def error_response(
    code: int, reason: bytes, text: str, status: CacheStatus, *more: Field, details: str | None = None
) -> tuple[ResponseHead, bytes]:
    """``{"error": text}`` with its head; ``details`` go in beside it where internals may be shown."""
    content = {"error": text} if details is None else {"error": text, "details": details}
    body = json.dumps(content).encode()
    fields = Fields(
        (
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Cache-Control", b"no-store"),
            (b"X-Cache-Status", status.token),
            *more,
        )
    )
    return ResponseHead(code, reason, fields), body
