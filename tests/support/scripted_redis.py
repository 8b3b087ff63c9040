"""The whole composed proxy on a Redis in memory that keeps one variant a key and answers at once."""

from __future__ import annotations

from unittest import mock

from support.redis_in_memory import Command, Server
from support.whole_proxy import Script, WholeProxy, cacheable
from twisted.internet.task import Clock


class ScriptedRedis(Server):
    """Answers lookups and writes of entries as Redis would, for keys that have one variant each."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[bytes, tuple[bytes, bytes, bytes]] = {}  # field, value, milliseconds
        self.special = self._answer

    def _answer(self, command: Command) -> bytes | None:
        name = command[0]
        if name == b"HMGET":
            field, value, _ = self.entries.get(command[1], (b"", b"", b""))
            found = [_bulk(value if asked == field else None) for asked in command[2:]]
            return b"*%d\r\n%b" % (len(found), b"".join(found))
        if name == b"PTTL":
            return b":%b\r\n" % self.entries[command[1]][2] if command[1] in self.entries else b":-2\r\n"
        if name in (b"EVALSHA", b"EVAL"):
            keys = int(command[2])
            if command[3].startswith(b"cache:"):  # of a write: these three follow the keys
                field, value, ttl = command[3 + keys : 6 + keys]
                self.entries[command[3]] = (field, value, ttl)
                return b":0\r\n"
            return b"*3\r\n:0\r\n*0\r\n*0\r\n"  # of dropping a target: no roles, no keys, no mark
        return None


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


class ProxyOnRedis(WholeProxy):
    """A :class:`WholeProxy` whose store is ``redis``, which other proxies may use as well."""

    def __init__(self, redis: ScriptedRedis, script: Script = cacheable, **environment: str) -> None:
        def endpoint(reactor: Clock, *_: object) -> ScriptedRedis:
            redis.clock = reactor
            return redis

        with mock.patch("caching_proxy.store.build.endpoint_for", endpoint):
            super().__init__(script, CACHE_URL="redis://redis.test", **environment)
        self.pump()
