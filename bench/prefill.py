"""Filling Redis faster than a proxy could, and timing what the admin endpoint does with it."""

from __future__ import annotations

import json
import socket
import urllib.request

from bench.servers import BenchError, Server

BATCH = 5_000


def fill_redis(port: int, path: str, count: int) -> None:
    """``count`` keys below ``path``, each a hash with one small field, as the proxy's keys are."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        replies = connection.makefile("rb")
        for start in range(0, count, BATCH):
            some = range(start, min(start + BATCH, count))
            connection.sendall(b"".join(_hset(f"cache:GET:anonymous:{path}{number}".encode()) for number in some))
            for _ in some:
                if not replies.readline().startswith(b":"):
                    raise BenchError("Redis did not take a key")


def _hset(key: bytes) -> bytes:
    return b"*4\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n$1\r\nv\r\n$1\r\nx\r\n" % (len(key), key)


def invalidate(proxy: Server, pattern: str, expected: int) -> None:
    """One invalidation through the admin endpoint, which must remove ``expected`` keys."""
    body = json.dumps({"pattern": pattern}).encode()
    request = urllib.request.Request(proxy.url("/invalidate"), body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        removed = json.load(answer)["deletedCount"]
    if removed != expected:
        raise BenchError(f"{removed} keys were removed, not {expected}")
