"""Where the one backend is: ``BACKEND_URL``, taken apart once."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import attrs

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
_PATH = re.compile(r"[\x21-\x7e]*")


@attrs.frozen(slots=True)
class Backend:
    """The one backend. ``authority`` is what its ``Host`` says; ``base_path`` has no ``/`` at its end."""

    scheme: bytes
    host: str
    port: int
    base_path: bytes
    authority: bytes

    @classmethod
    def parse(cls, url: str) -> Backend:
        """Read the address of a backend.

        Args:
            url: ``http(s)://host[:port][/path]``.

        Returns:
            What the URL says, with the port of its scheme where it names none.

        Raises:
            ValueError: It is no such URL; the text says what is wrong.
        """
        parts, port = _checked(url)
        host = _host(parts)
        name = f"[{host}]" if ":" in host else host
        authority = name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}"
        return cls(
            parts.scheme.encode(),
            host,
            _PORTS[parts.scheme] if port is None else port,
            parts.path.rstrip("/").encode(),
            authority.encode(),
        )


def _checked(url: str) -> tuple[SplitResult, int | None]:
    """The parts of a URL that a backend may have, and its port where it names one."""
    if _UNSEEN.search(url):  # some would be dropped without a word
        raise ValueError("the URL must not have spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in _PORTS:
        raise ValueError("the URL must start with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user name or password in the URL is not supported")
    if "?" in url or "#" in url:
        raise ValueError("the URL must not have a query or fragment")
    if parts.netloc.endswith(":"):  # "http://$HOST:$PORT" with an empty PORT
        raise ValueError("the port after ':' is missing")
    if port == 0:
        raise ValueError("port 0 is not a port to connect to")
    if not _PATH.fullmatch(parts.path):
        raise ValueError("the path must be percent-encoded ASCII")
    return parts, port


def _host(parts: SplitResult) -> str:
    """The host as an ASCII name or an address without brackets."""
    host = parts.hostname or ""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address") from None
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise ValueError(f"{host!r} is not a host name") from None
    if not _NAME.fullmatch(name):
        raise ValueError(f"{host!r} is not a host name" if host else "the URL has no host name")
    return name
