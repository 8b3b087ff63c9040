"""Media types whose bodies have no end: such an answer is one client's own, and nothing about it is guessed."""

from __future__ import annotations

from caching_proxy.http.messages import Fields

ENDLESS_TYPES = frozenset((b"text/event-stream", b"multipart/x-mixed-replace"))


def is_endless(fields: Fields) -> bool:
    """Whether ``Content-Type`` says that the body goes on for as long as somebody reads (event streams, MJPEG)."""
    lines = fields.all(b"content-type")
    return any(line.partition(b";")[0].strip(b" \t").lower() in ENDLESS_TYPES for line in lines)
