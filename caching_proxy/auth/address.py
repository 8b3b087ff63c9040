"""The address of a key set: ``JWT_JWKS_URL``."""

from __future__ import annotations

from urllib.parse import urlsplit


def check_url(url: str) -> str:
    """``url`` if it is absolute http(s); raises ValueError, fit to be shown, otherwise."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an http:// or https:// address is needed")
    if port == 0:
        raise ValueError("port 0 is not a port to connect to")
    return url
