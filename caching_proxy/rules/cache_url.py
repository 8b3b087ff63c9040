"""``CACHE_URL`` → where the store is and how to log in.

Schemes: ``memory:``, ``redis://`` or ``valkey://``, ``rediss://`` or ``valkeys://`` (TLS, verified), ``unix:///path``,
``redis+sentinel://`` and ``redis+cluster://`` (:mod:`caching_proxy.rules.cache_hosts`). User, password and socket path
are percent-decoded. Errors never repeat the URL, which may hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from caching_proxy.rules.cache_hosts import parse_hosts
from caching_proxy.rules.store_topology import DEFAULT_PORT, MEMORY_URL, MemoryTopology, RedisTopology, Topology

FORMS = (
    "memory:, redis://[user:pass@]host[:port][/db], rediss://… (TLS), unix:///path[?db=n],"
    " redis+sentinel://host[:port],…/master[/db] or redis+cluster://host[:port],… (valkey and valkeys mean the same)"
)
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TLS = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_MANY = tuple(f"{scheme}+{kind}" for scheme in _TLS for kind in ("sentinel", "cluster"))
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")


def parse_cache_url(url: str) -> Topology:
    """What ``CACHE_URL`` names; ValueError, fit to be shown, for anything else."""
    if url in (MEMORY_URL, "memory", "memory://"):
        return MemoryTopology()
    if _FORBIDDEN.search(url):
        raise ValueError("a URL without spaces (written %20) or control characters")
    scheme, colon, rest = url.partition("://")
    if colon and scheme.lower() in _MANY:
        return _many(url, scheme.lower(), rest)
    try:
        parts = urlsplit(url)
    except ValueError:
        _check_spelling(url)
        raise ValueError(FORMS) from None
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


def _many(url: str, scheme: str, rest: str) -> Topology:
    head, _, query = rest.partition("?")
    if "@" in query and "/" in head:
        raise ValueError("'@' in a parameter is written %40")
    _check_spelling(url)
    if "#" in rest or _BARE_PERCENT.search(rest):
        raise ValueError("a URL in which '#' is written %23 and '%' is written %25")
    login, at, hosts = rest.rpartition("@")
    return parse_hosts(scheme, hosts, *_userinfo(login if at else None))


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
    return _userinfo(userinfo if at else None)


def _userinfo(userinfo: str | None) -> tuple[str | None, str | None]:
    if userinfo is None:
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
