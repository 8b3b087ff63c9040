"""``CACHE_URL`` → where the store is and how to log in.

Schemes: ``memory:``, ``redis://`` or ``valkey://``, ``rediss://`` or ``valkeys://`` (TLS, verified) and
``unix:///path``; ``redis+sentinel://`` and
``redis+cluster://`` are recognised and refused for now. User, password and socket path are percent-decoded. Errors
never repeat the URL, which may hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

DEFAULT_PORT = 6379
MEMORY_URL = "memory:"
"""The embedded store, as it is written best."""

FORMS = "memory:, redis://[user:pass@]host[:port][/db], rediss://…, valkey://…, valkeys://… or unix:///path[?db=n]"
_NOT_YET = {"redis+sentinel": "Sentinel", "rediss+sentinel": "Sentinel", "redis+cluster": "Cluster"}
_NOT_YET["rediss+cluster"] = "Cluster"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TLS = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")


@attrs.frozen(slots=True)
class MemoryTopology:
    """The embedded store."""

    def describe(self) -> str:
        return MEMORY_URL


@attrs.frozen(slots=True)
class RedisTopology:
    """One server, over TCP or, when ``unix_path`` is set, over a Unix socket. ``username`` needs ``password``."""

    host: str = "localhost"
    port: int = DEFAULT_PORT
    unix_path: str | None = None
    tls: bool = False
    username: str | None = attrs.field(default=None)
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0

    def describe(self) -> str:
        """The URL without the password, for logs."""
        user = f"{self.username or ''}:***@" if self.password is not None else ""
        if self.unix_path is not None:
            return f"unix://{user}{self.unix_path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{user}{host}:{self.port}" + (f"/{self.db}" if self.db else "")


Topology = MemoryTopology | RedisTopology


def parse_cache_url(url: str) -> Topology:
    """What ``CACHE_URL`` names; ValueError, fit to be shown, for anything else."""
    if url in (MEMORY_URL, "memory", "memory://"):
        return MemoryTopology()
    if _FORBIDDEN.search(url):
        raise ValueError("a URL without spaces (written %20) or control characters")
    try:
        parts = urlsplit(url)
    except ValueError:
        _check_spelling(url)
        raise ValueError(FORMS) from None
    if parts.scheme in _NOT_YET:
        raise ValueError(f"{parts.scheme}:// is known but not supported yet ({_NOT_YET[parts.scheme]}); use redis://")
    if parts.scheme not in (*_TLS, "unix"):
        raise ValueError(FORMS)
    _check_spelling(url)
    username, password = _login(parts)
    if parts.scheme == "unix":
        return _unix(parts, username, password)
    host = parts.hostname
    if not host:
        raise ValueError(f"{parts.scheme}:// needs a host name")
    return RedisTopology(
        host=unquote(host),
        port=_port(parts),
        tls=_TLS[parts.scheme],
        username=username,
        password=password,
        db=_db(parts.path.removeprefix("/"), parts.query),
    )


def _check_spelling(url: str) -> None:
    """ValueError that names the first character which must be percent-encoded, and how it is written."""
    rest = url.partition("://")[2]
    login, at, behind = rest.rpartition("@")
    if not at or rest.startswith("/"):  # a path may hold anything
        if "#" in rest:
            raise ValueError("a URL without '#' (written %23)")
        return
    for character in "/?#[]@\\":
        if character in login:
            raise ValueError(f"{character!r} in a user name or password is written %{ord(character):02X}")
    if "#" in behind:
        raise ValueError("a URL without '#' (written %23)")
    if _BARE_PERCENT.search(login):
        raise ValueError("'%' in a user name or password is written %25")
    try:
        unquote(login, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("a user name or password in UTF-8, each byte above %7F percent-encoded") from None


def _unix(parts: SplitResult, username: str | None, password: str | None) -> RedisTopology:
    if parts.netloc.rpartition("@")[2]:
        raise ValueError("unix:// takes an absolute path: unix:///run/redis.sock")
    path = unquote(parts.path)
    if len(path) < 2 or "\0" in path:
        raise ValueError("unix:// needs the path of a socket: unix:///run/redis.sock")
    return RedisTopology(unix_path=path, username=username, password=password, db=_db("", parts.query))


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None, None
    user, colon, password = userinfo.partition(":")
    if user and not colon:
        raise ValueError("a user name needs a password: redis://user:password@host")
    # Before ACLs there was only a password: redis://:password@host.
    return unquote(user) or None, unquote(password) if colon else None


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return DEFAULT_PORT
    if port == 0:
        raise ValueError("the port is a number from 1 to 65535")
    return port


def _db(path: str, query: str) -> int:
    """The database number, from the path or from ``?db=``."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "db" or path:
            raise ValueError("no parameters but db, and that once: redis://host/1 or unix:///path?db=1")
        path = value
    if not path:
        return 0
    if not (path.isascii() and path.isdigit()) or len(path) > 6:
        raise ValueError("the database is a number: redis://host/1")
    return int(path)
