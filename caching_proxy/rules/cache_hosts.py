"""``CACHE_URL`` with several hosts: those of Sentinels, or some nodes of a Cluster.

``redis+sentinel://[user:pass@]h1[:p],h2[:p]/master[/db][?sentinel_user=…&sentinel_password=…]`` and
``redis+cluster://[user:pass@]h1[:p],h2[:p]``; ``rediss+…`` for TLS, ``valkey(s)+…`` mean the same.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from caching_proxy.rules.store_topology import (
    DEFAULT_PORT,
    SENTINEL_PORT,
    Address,
    ClusterTopology,
    SentinelTopology,
)

SENTINEL_FORM = "redis+sentinel://[user:pass@]host[:port],host[:port]/master[/db][?sentinel_user=…&sentinel_password=…]"
CLUSTER_FORM = "redis+cluster://[user:pass@]host[:port],host[:port]"
MOST_HOSTS = 100

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:,@\s]+))(?::([0-9]{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_DB = re.compile(r"[0-9]{1,6}", re.ASCII)


def parse_hosts(
    scheme: str, rest: str, username: str | None, password: str | None
) -> SentinelTopology | ClusterTopology:
    """What stands behind ``scheme://`` and the login; ValueError, fit to be shown, says what is allowed."""
    head, _, query = rest.partition("?")
    hosts, _, path = head.partition("/")
    tls = scheme.split("+")[0] in ("rediss", "valkeys")
    if scheme.endswith("+cluster"):
        if path or query:
            raise ValueError(f"{CLUSTER_FORM} and nothing behind the hosts: a Cluster has database 0 only")
        return ClusterTopology(_addresses(hosts, DEFAULT_PORT, CLUSTER_FORM), tls, username, password)
    name, _, db = path.partition("/")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{SENTINEL_FORM}, with the name of the master as the Sentinels know it")
    if db and not _DB.fullmatch(db):
        raise ValueError("the database is a number: redis+sentinel://host/master/1")
    user, secret = _parameters(query)
    addresses = _addresses(hosts, SENTINEL_PORT, SENTINEL_FORM)
    return SentinelTopology(addresses, name, tls, username, password, int(db or 0), user, secret)


def _addresses(hosts: str, default_port: int, form: str) -> tuple[Address, ...]:
    found: dict[Address, None] = {}
    for text in hosts.split(","):
        match = _HOST.fullmatch(text)
        if match is None:
            raise ValueError(f"{form}: a comma-separated list of hosts, each with a port or without")
        port = int(match[3]) if match[3] else default_port
        if not 0 < port < 65536:
            raise ValueError("the port is a number from 1 to 65535")
        found[(match[1] or unquote(match[2])).lower(), port] = None
    if len(found) > MOST_HOSTS:
        raise ValueError(f"at most {MOST_HOSTS} hosts")
    return tuple(found)


def _parameters(query: str) -> tuple[str | None, str | None]:
    """User and password for the Sentinels."""
    given: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if name not in ("sentinel_user", "sentinel_password") or not equals or name in given:
            raise ValueError("no parameters but sentinel_user and sentinel_password, each once")
        given[name] = unquote(value)
    user, password = given.get("sentinel_user"), given.get("sentinel_password")
    if user is not None and password is None:
        raise ValueError("sentinel_user needs sentinel_password")
    return user or None, password
