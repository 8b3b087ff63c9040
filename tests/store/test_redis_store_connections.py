"""How the store on Redis reaches its server: the pool, logging in, TLS, and what a server does to connections."""

from __future__ import annotations

import pytest
import pytest_twisted
from support.redis_server import RedisServer
from support.redis_stores import EDITOR, HOUR, PLAIN, built
from support.walks import walked
from twisted.internet.defer import gatherResults

from caching_proxy.interfaces import AnswerLost, StoreError
from caching_proxy.store.build import StoreConfig
from caching_proxy.store.redis.store import RedisStore
from caching_proxy.transport.tls import TLSConfig, load_certificates


async def works(url: str, config: StoreConfig | None = None) -> None:
    made = built(url, config)
    await made.start()
    try:
        await made.put(PLAIN, b"f", b"v", HOUR)
        stored = await made.lookup(PLAIN)
        assert dict(stored.variants) == {b"f": b"v"}
    finally:
        await made.stop()


@pytest_twisted.ensureDeferred
async def test_many_calls_grow_the_pool(store: RedisStore) -> None:
    await gatherResults([store.put(b"cache:GET:anonymous:/%d" % n, b"", b"x" * 1000, HOUR) for n in range(900)])
    assert 1 < store.pool.size <= 4
    assert store.pool.pending == store.pool.in_use == store.pool.waiting == 0
    assert len(await walked(store)) == 900


@pytest_twisted.ensureDeferred
async def test_connections_closed_by_the_server_cost_lookups_nothing(
    store: RedisStore, redis_server: RedisServer
) -> None:
    await store.put(PLAIN, b"f", b"v", HOUR)
    redis_server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await store.lookup(PLAIN) is not None


@pytest_twisted.ensureDeferred
async def test_database_number(redis_server: RedisServer) -> None:
    await works(redis_server.url + "/3")
    assert redis_server.cli("DBSIZE") == 0
    await works(redis_server.unix_url + "?db=3")
    with pytest.raises(StoreError, match="DB index is out of range"):
        await works(redis_server.url + "/99")


@pytest_twisted.ensureDeferred
async def test_password() -> None:
    with RedisServer(requirepass="pa:ss/wörd%") as server:
        right = "pa%3Ass%2Fw%C3%B6rd%25"
        await works(f"redis://:{right}@127.0.0.1:{server.port}/1")
        await works(f"unix://:{right}@{server.socket_path}")
        await works(f"redis://default:{right}@127.0.0.1:{server.port}")
        with pytest.raises(StoreError, match="WRONGPASS"):
            await works(f"redis://:wrong@127.0.0.1:{server.port}")
        with pytest.raises(StoreError, match="NOAUTH"):
            await works(f"redis://127.0.0.1:{server.port}")


@pytest_twisted.ensureDeferred
async def test_user_and_password_with_narrow_rights() -> None:
    with RedisServer() as server:
        hashes = "hmget hget hgetall hset hdel hkeys hstrlen"
        others = "pttl pexpire time type unlink zadd zremrangebyscore zscore zpopmin scan ping evalsha eval auth select"
        rights = ["+" + command for command in f"{hashes} {others}".split()]
        server.cli("ACL", "SETUSER", "proxy", "on", ">s3cret", "~cache:*", "~cacheindex:*", *rights)
        made = built(f"redis://proxy:s3cret@127.0.0.1:{server.port}")
        await made.start()
        for key in (PLAIN, EDITOR):
            for field in (b"-", b"f", b"g"):
                await made.put(key, field, b"v", HOUR)
            assert await made.discard(key, b"g")
            assert len((await made.lookup(key, [b"f"])).outlines) == 2
            assert await made.lookup(key) is not None
        assert sorted(await walked(made)) == sorted([PLAIN, EDITOR])
        assert await made.delete_target(b"/x") == {PLAIN, EDITOR}
        await made.ping()
        await made.stop()
        with pytest.raises(StoreError, match="WRONGPASS"):
            await works(f"redis://proxy:wrong@127.0.0.1:{server.port}")


@pytest_twisted.ensureDeferred
async def test_tls_is_verified() -> None:
    with RedisServer(tls=True, user=("proxy", "s3cret")) as server:
        await works(server.url, StoreConfig(tls=TLSConfig(load_certificates(server.ca_path.read_bytes()))))
        with pytest.raises(StoreError, match="certificate"):
            await works(server.url)


@pytest.mark.parametrize("key", [PLAIN, EDITOR])
@pytest_twisted.ensureDeferred
async def test_what_the_server_refuses_to_send_is_forgotten(
    store: RedisStore, redis_server: RedisServer, request: pytest.FixtureRequest, key: bytes
) -> None:
    redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "normal 200000 0 0")
    request.addfinalizer(lambda: redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"))
    await store.put(key, b"-", b"x" * 3_000_000, HOUR)
    await store.put(b"cache:GET:anonymous:/small", b"-", b"x", HOUR)
    with pytest.raises(AnswerLost):
        await store.lookup(key, [b"-"])
    assert await store.lookup(key, [b"-"]) is None
    await store.put(key, b"-", b"x" * 3_000_000, HOUR)
    assert await store.lookup(key, [b"-"]) is None, "it is not stored again"
    await store.put(key, b"-", b"x" * 1000, HOUR)
    assert await store.lookup(key, [b"-"]) is not None
    assert await store.lookup(b"cache:GET:anonymous:/small", [b"-"]) is not None
