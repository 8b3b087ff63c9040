"""From CACHE_URL to a store."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.internet.task import Clock

from caching_proxy.store.build import StoreConfig, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.memory import MemoryStore
from caching_proxy.store.redis.store import RedisStore


def test_memory() -> None:
    assert isinstance(build_store(Clock(), "memory:"), MemoryStore)


def test_redis_is_guarded_and_not_contacted_before_start() -> None:
    clock = Clock()
    store = build_store(clock, "unix:///run/s", StoreConfig(breaker_threshold=7, breaker_recovery=9))
    assert isinstance(store, CircuitBreakerStore)
    assert isinstance(store.store, RedisStore)
    assert (store.breaker.threshold, store.breaker.recovery) == (7, 9)
    assert store.store.bulk is not store.store.pool
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("url", ["", "redis://", "redis+cluster://h:1/1"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis"):
        build_store(Clock(), url)


@pytest.mark.slow
def test_importing_the_builder_chooses_no_reactor() -> None:
    code = """
import sys
from twisted.internet.task import Clock
import caching_proxy.app.compose
from caching_proxy.store.build import build_store
build_store(Clock(), "memory:")
sys.exit("twisted.internet.reactor" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.slow
def test_importing_the_composition_root_chooses_no_reactor() -> None:
    code = "import sys; import caching_proxy.app.compose; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
