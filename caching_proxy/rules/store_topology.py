"""Where the shared store is and how to log in: what ``CACHE_URL`` says, taken apart."""

from __future__ import annotations

from typing import ClassVar

import attrs

MEMORY_URL = "memory:"
"""The embedded store, as it is written best."""

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379

Address = tuple[str, int]
"""A host name or IP address, without brackets, and a port."""


def shown(address: Address) -> str:
    """As it stands in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@attrs.frozen(slots=True)
class MemoryTopology:
    """The embedded store.

    ``shared``: other processes may be on the same store. ``system`` is what traces call it.
    """

    shared: ClassVar[bool] = False
    system: ClassVar[str] = "memory"

    def describe(self) -> str:
        return MEMORY_URL


@attrs.frozen(slots=True)
class RedisTopology:
    """One server, over TCP or, when ``unix_path`` is set, over a Unix socket. ``username`` needs ``password``.

    ``master_of`` is set for a server that others named as the one that takes writes: it must say so itself.
    It is how the whole is called in the log.
    """

    shared: ClassVar[bool] = True
    system: ClassVar[str] = "redis"
    host: str = "localhost"
    port: int = DEFAULT_PORT
    unix_path: str | None = None
    tls: bool = False
    username: str | None = attrs.field(default=None)
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0
    master_of: str | None = None

    def describe(self) -> str:
        """The URL without the password, for logs."""
        if self.master_of is not None:
            return self.master_of
        user = _user(self.username, self.password)
        if self.unix_path is not None:
            return f"unix://{user}{self.unix_path}" + (f"?db={self.db}" if self.db else "")
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{user}{shown((self.host, self.port))}" + (f"/{self.db}" if self.db else "")


@attrs.frozen(slots=True)
class SentinelTopology:
    """The master called ``name`` that the Sentinels at ``sentinels`` watch.

    ``username``, ``password`` and ``db`` are for the master, the other two for the Sentinels; ``tls`` is for both.
    """

    shared: ClassVar[bool] = True
    system: ClassVar[str] = "redis"
    sentinels: tuple[Address, ...]
    name: str
    tls: bool = False
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0
    sentinel_username: str | None = None
    sentinel_password: str | None = attrs.field(default=None, repr=False)

    def describe(self) -> str:
        """The URL without passwords, for logs."""
        hosts = ",".join(map(shown, self.sentinels))
        scheme = "rediss" if self.tls else "redis"
        user = _user(self.username, self.password)
        return f"{scheme}+sentinel://{user}{hosts}/{self.name}" + (f"/{self.db}" if self.db else "")

    def master(self, address: Address = ("", 0)) -> RedisTopology:
        """How to log in to the server at ``address``."""
        return RedisTopology(
            *address,
            tls=self.tls,
            username=self.username,
            password=self.password,
            db=self.db,
            master_of=self.describe(),
        )

    def sentinel(self, address: Address) -> RedisTopology:
        """How to log in to the Sentinel at ``address``."""
        return RedisTopology(*address, tls=self.tls, username=self.sentinel_username, password=self.sentinel_password)


@attrs.frozen(slots=True)
class ClusterTopology:
    """A Redis Cluster, of which ``seeds`` are some nodes; the login is the same at all of them."""

    shared: ClassVar[bool] = True
    system: ClassVar[str] = "redis"
    seeds: tuple[Address, ...]
    tls: bool = False
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)

    def describe(self) -> str:
        """The URL without the password, for logs."""
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}+cluster://{_user(self.username, self.password)}{','.join(map(shown, self.seeds))}"

    def node(self, address: Address) -> RedisTopology:
        """How to log in to the node at ``address``."""
        return RedisTopology(*address, tls=self.tls, username=self.username, password=self.password)


Topology = MemoryTopology | RedisTopology | SentinelTopology | ClusterTopology


def _user(username: str | None, password: str | None) -> str:
    return f"{username or ''}:***@" if password is not None else ""
